r"""Denoisers in closed form: Gaussian and Gaussian-mixture data.

For $x_0 \sim N(m, C)$:  $D(x_t) = m + \alpha C(\alpha^2 C + \sigma^2)^{-1}(x_t - \alpha m)$ and
$\mathrm{Cov}[x_0 | x_t] = (C^{-1} + u^{-2})^{-1}$, the same for every $x_t$. They serve as truth in tests, as
priors of their own, and as the linear part of a learnt denoiser. Reference: Anderson and Moore, Optimal
filtering, 1979; Karras et al., 2022, appendix B.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.diffusion.covariance import Covariance, LowRankCovariance, dense_covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.schedule import Schedule, per_sample

__all__ = ["GaussianDenoiser", "MixtureDenoiser", "given_entries"]

_TINY = torch.finfo(torch.float64).tiny
_MOST_DENSE = 2048  # entries up to which a mixture's covariance is held as a matrix


class GaussianDenoiser(Denoiser):
    """The exact posterior mean for x_0 given cond ~ N(mean + gain cond, covariance).

    Args:
        schedule: The noise schedule.
        mean: Mean (C, T, *S).
        covariance: Covariance over the same entries.
        gain: Matrix (d, q) by which the flattened condition moves the flattened mean; None if the law does
            not depend on it (a condition is then ignored).
    """

    mean: Tensor
    gain: Tensor | None

    def __init__(self, schedule: Schedule, mean: Tensor, covariance: Covariance, *, gain: Tensor | None = None) -> None:
        super().__init__()
        if gain is not None and (gain.ndim != 2 or gain.shape[0] != mean.numel()):
            raise ShapeError(f"GaussianDenoiser: expected gain ({mean.numel()}, q), got {tuple(gain.shape)}")
        self.schedule = schedule
        self.covariance = covariance
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("gain", gain, persistent=False)

    def prior_mean(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """The mean given the condition, (B or 1, C, T, *S), dtype of `x`.

        Raises:
            InputError: If the law depends on a condition and none is given.
        """
        mean = self.mean.to(x.dtype)[None]
        if self.gain is None:
            return mean
        if cond is None:
            raise InputError("GaussianDenoiser: expected a condition, since the mean depends on it, got None; pass cond=")
        with torch.autocast(x.device.type, enabled=False):
            return mean + (cond.to(x.dtype).flatten(1) @ self.gain.to(x.dtype).T).reshape(-1, *mean.shape[1:])

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[x_0 given x_t], (B, C, T, *S)."""
        alpha, sigma = self._levels(t)
        mean, scale = self.prior_mean(x_t, cond), per_sample(alpha, x_t)
        off = x_t - scale * mean
        # sigma = 0 with a variance of 0 is 0/0: x_t then equals the mean there, and any factor will do
        shrink = self.covariance.apply_function(lambda c: alpha * c / (alpha**2 * c + sigma**2).clamp_min(_TINY), off)
        return mean + shrink

    def posterior_variance(self, t: Tensor) -> Tensor:
        """Mean over the entries of Var[x_0 given x_t], float64, shape of t."""
        return self.covariance.mean_function(self._posterior(t)).reshape(t.shape)

    def covariance_given(self, t: Tensor) -> Callable[[Tensor], Tensor]:
        """The map v -> Cov[x_0 given x_t] v = (C^-1 + u^-2 I)^-1 v on vectors (B, C, T, *S)."""
        f = self._posterior(t)
        return lambda v: self.covariance.apply_function(f, v)

    def noisy(self, noise: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Draw x_t ~ N(alpha m, alpha^2 C + sigma^2 I) exactly from standard normal `noise` (B, C, T, *S).

        Starting a reverse process here rather than from N(0, sigma^2) removes the error of a final
        signal-to-noise ratio above zero.
        """
        alpha, sigma = self._levels(t)
        spread = self.covariance.apply_function(lambda c: torch.sqrt(alpha**2 * c + sigma**2), noise)
        return per_sample(alpha, noise) * self.prior_mean(noise, cond) + spread

    def _levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and sigma, (B or 1, 1), where the covariance is."""
        alpha, sigma = (c.to(self.mean.device).reshape(-1, 1) for c in self.schedule(t))
        return alpha, sigma

    def _posterior(self, t: Tensor) -> Callable[[Tensor], Tensor]:
        alpha, sigma = self._levels(t)
        return lambda c: sigma**2 * c / (alpha**2 * c + sigma**2).clamp_min(_TINY)


class MixtureDenoiser(Denoiser):
    r"""The exact posterior mean for a mixture $\sum_k w_k N(m_k, \mathrm{diag}\, c_k^2)$, in float64.

    With $v_k = \alpha^2 c_k^2 + \sigma^2$ and $r_k$ the posterior probability of component k,
    $D = \sum_k r_k [m_k + \alpha c_k^2 (x - \alpha m_k)/v_k]$.

    Args:
        schedule: The noise schedule.
        weights: Weights (K,), normalised here.
        means: Means (K, C, T, *S).
        stds: Standard deviations (K,) or (K, C, T, *S); zero makes a component a point.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor

    def __init__(self, schedule: Schedule, weights: Tensor, means: Tensor, *, stds: Tensor) -> None:
        super().__init__()
        if weights.ndim != 1 or means.shape[:1] != weights.shape or stds.shape not in (weights.shape, means.shape):
            raise ShapeError(
                "MixtureDenoiser: expected weights (K,), means (K, *shape), stds (K,) or (K, *shape), "
                f"got {tuple(weights.shape)}, {tuple(means.shape)}, {tuple(stds.shape)}"
            )
        self.schedule = schedule
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("means", means, persistent=False)
        self.register_buffer("stds", stds, persistent=False)

    def _components(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = (c.to(self.means.device).reshape(-1, *([1] * self.means.ndim)) for c in self.schedule(t))
        means = self.means.double()[None]
        spread = self.stds.double().reshape(1, *self.stds.shape, *([1] * (self.means.ndim - self.stds.ndim)))
        v = (alpha**2 * spread**2 + sigma**2).clamp_min(_TINY)
        off = x_t.double()[:, None] - alpha * means
        parts = means + alpha * spread**2 * off / v
        log_density = -0.5 * (off**2 / v + torch.log(2 * math.pi * v)).flatten(2).sum(2)
        weights = self.weights.double()
        return parts, off, log_density + torch.log(weights / weights.sum())

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[x_0 given x_t], (B, C, T, *S)."""
        parts, _, joint = self._components(x_t, t)
        share = torch.softmax(joint, 1).reshape(*joint.shape, *([1] * (x_t.ndim - 1)))
        return (share * parts).sum(1).to(x_t.dtype)

    def log_prob(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Log density of x_t, (B,), float64."""
        return torch.logsumexp(self._components(x_t, t)[2], 1)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each entry of the clean data, (C, T, *S), float64."""
        means = self.means.double()
        ones = [1] * (means.ndim - 1)
        weights = (self.weights.double() / self.weights.double().sum()).reshape(-1, *ones)
        second = means**2 + self.stds.double().reshape(*self.stds.shape, *([1] * (means.ndim - self.stds.ndim))) ** 2
        mean = (weights * means).sum(0)
        return mean, (weights * second).sum(0) - mean**2

    def covariance(self) -> Covariance:
        """Covariance of the clean data, in float64.

        Exact up to 2048 entries and, beyond, where all entries have one variance about the components' means; else that variance is averaged.
        """
        weights, means = self.weights.double() / self.weights.double().sum(), self.means.double().flatten(1)
        about = self.stds.double().reshape(len(weights), -1).expand_as(means) ** 2
        between = weights.sqrt()[:, None] * (means - weights @ means)
        within = weights @ about
        if len(within) <= _MOST_DENSE:
            return dense_covariance(between.T @ between + torch.diag(within))
        _, spread, directions = torch.linalg.svd(between, full_matrices=False)
        rest = float(within.mean())
        return LowRankCovariance(directions.contiguous(), spread**2 + rest, rest)


def given_entries(mean: Tensor, covariance: Tensor, known: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    r"""The law of a Gaussian vector given some entries: $x | y \sim N(a + G y, S)$ with $y = x[known]$.

    Args:
        mean: Mean (d,).
        covariance: Covariance matrix (d, d), regular on the known entries.
        known: Indices of the known entries.

    Returns:
        Offset a (d,), gain G (d, len(known)) and covariance S (d, d), which is zero on the known entries.
    """
    index = list(known)
    gain = torch.linalg.solve(covariance[index][:, index], covariance[index]).T
    rest = covariance - gain @ covariance[index]
    offset = mean - gain @ mean[index]
    # exact by definition, but not to the last digit in floating point
    rest[index], rest[:, index], offset[index] = 0.0, 0.0, 0.0
    gain[index] = torch.eye(len(index), dtype=gain.dtype, device=gain.device)
    return offset, gain, 0.5 * (rest + rest.T)
