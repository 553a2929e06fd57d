r"""Ensemble Kalman inversion: an ensemble carried from prior to posterior by tempered analyses.

The likelihood enters in powers $0 = t_0 < \dots < t_K = 1$; step k is the deterministic ensemble Kalman analysis with noise variance $R / h_k$,
$h_k = t_{k+1} - t_k$, so that for a linear operator and a Gaussian prior the K steps together are the one analysis with R, whatever K, and the limit
of many members is the posterior. For other operators the ensemble is linearised anew at every step, where it then stands: better than one step, not
exact. Steps follow from the misfits $\Phi_j = \frac12 |R^{-1/2}(y - G(x_j))|^2$ of the m readings,

$$ h_k = \min\big(\max\big(m / 2\langle\Phi\rangle, \sqrt{m / 2\mathrm{Var}\,\Phi}\big), 1 - t_k\big). $$

References: Iglesias, Law and Stuart, Ensemble Kalman methods for inverse problems, 2013; Iglesias and Yang, Adaptive regularisation for ensemble
Kalman inversion, 2021 (the steps).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.inference.ensemble_kalman import etkf

__all__ = ["eki"]

Analysis = Callable[[Tensor, Tensor, Tensor], Tensor]


def eki(
    members: Tensor,
    forward: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    std: float | Tensor,
    rng: Rng | None = None,
    most: int = 100,
    analysis: Analysis | None = None,
) -> tuple[Tensor, Tensor]:
    """Carry an ensemble from the prior to the readings.

    Args:
        members: Draws of the prior (N, ...), N of at least 2.
        forward: From members to their readings (N, m); called once a step, no gradient asked for.
        y: Readings (m,).
        std: Standard deviation of their independent noise, a number or (m,).
        rng: Turns the anomalies at random in every step, see `etkf`; None: not.
        most: Largest number of steps; the last one takes what is left of the exponent.
        analysis: From (members, predicted, std (m,)) to members, where it shall not be `etkf`, as a local one.

    Returns:
        The members after the last step, and the steps h (K,), float64, of sum 1.

    Raises:
        InputError: If there is no step, or as `etkf` says.
        Diverged: If `forward` gives numbers that are not finite.
    """
    if most < 1:
        raise InputError(f"eki: expected most >= 1 steps, got {most}")
    root = torch.as_tensor(std, dtype=torch.float64, device=members.device).expand(y.numel())
    steps: list[float] = []
    left = 1.0
    while left > 0:
        predicted = forward(members)
        if not bool(predicted.isfinite().all()):
            raise Diverged("reading", float(len(steps)), f"{_bad(predicted)} of {len(predicted)} members at step {len(steps) + 1}; narrow the prior")
        h = left if len(steps) == most - 1 else min(_step(predicted, y, root), left)
        # what is left after a step to the end is a rounding, not a step
        left = left - h if left - h > 1e-12 else 0.0
        steps.append(h if left else 1.0 - sum(steps))
        key = None if rng is None else rng.child("step", len(steps))
        wide = root / steps[-1] ** 0.5
        members = etkf(members, predicted, y, std=wide, rng=key) if analysis is None else analysis(members, predicted, wide)
    return members, torch.tensor(steps, dtype=torch.float64)


def _step(predicted: Tensor, y: Tensor, std: Tensor) -> float:
    misfit = 0.5 * ((y.double() - predicted.double()) / std).square().sum(1)
    tiny = torch.finfo(torch.float64).tiny
    half = 0.5 * y.numel()
    return float(torch.maximum(half / misfit.mean().clamp_min(tiny), (half / misfit.var().clamp_min(tiny)).sqrt()))


def _bad(predicted: Tensor) -> int:
    return int((~predicted.isfinite()).flatten(1).any(1).sum())
