r"""Which draws of a diffusion sampler may lie between the modes of the data: those whose estimate of the end had not settled.

Along the last steps of the reverse process the denoiser's estimates $\hat x_0^{(t)}$ of a draw inside the support hardly move. Between modes, where a
smooth network interpolates, they do:

$$\mathrm{Hal}(x) = \frac1d \sum_{i=1}^d \mathrm{Var}_{t \in \text{window}}\, \hat x_{0,i}^{(t)} .$$

The largest are looked at or dropped; how many is a choice, no test. Reference: Aithal, Maini, Lipton and Kolter, Understanding hallucinations in
diffusion models through mode interpolation, 2024.
"""

from __future__ import annotations

from torch import Tensor

from physdiff.base.errors import InputError, ShapeError

__all__ = ["restless", "trajectory_variance"]


def trajectory_variance(estimates: Tensor, *, window: int = 10) -> Tensor:
    """Variance of the estimates over the last steps, mean over the components of a draw.

    Args:
        estimates: Denoised states in the order of the steps, (T, N, ...); keep them by a wrapper around the denoiser.
        window: Number of last steps, 2 at least.

    Returns:
        (N,), in squared units.

    Raises:
        ShapeError: If there are fewer steps than the window, or no draws.
        InputError: If the window is below 2.
    """
    if window < 2:
        raise InputError(f"trajectory_variance window: expected 2 steps at least, got {window}")
    if estimates.ndim < 2 or len(estimates) < window or not estimates.shape[1]:
        raise ShapeError(f"trajectory_variance: expected estimates (T, N, ...) of {window} steps at least, got {tuple(estimates.shape)}")
    found: Tensor = estimates[-window:].var(0, correction=0).flatten(1).mean(1) if estimates.ndim > 2 else estimates[-window:].var(0, correction=0)
    return found


def restless(variance: Tensor, *, share: float) -> Tensor:
    """The draws with the largest variances, boolean (N,): `share` of them, rounded up; a draw without a finite variance is always one.

    Args:
        variance: (N,).
        share: In [0, 1].

    Raises:
        ShapeError: If the variances are no vector.
        InputError: If the share is not in [0, 1].
    """
    if variance.ndim != 1:
        raise ShapeError(f"restless: expected variances (N,), got {tuple(variance.shape)}")
    if not 0 <= share <= 1:
        raise InputError(f"restless share: expected a number in [0, 1], got {share!r}")
    count = -int(-share * len(variance) // 1)
    order = variance.nan_to_num(nan=float("inf")).argsort(descending=True)
    found = ~variance.isfinite()
    found[order[:count]] = True
    return found
