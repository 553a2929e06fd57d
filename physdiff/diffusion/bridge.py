r"""Bridges to a known state, and processes that revert to a known mean, as diffusion of what is left.

A bridge of a base schedule to X at its end (u_T), and the Brownian bridge:

    x_t = a X + b x_0 + c eps,   a = (alpha/alpha_T) w,   b = alpha (1 - w),   c = sigma sqrt(1 - w),   w = u^2/u_T^2      (base schedule)
                                 a = t,                   b = 1 - t,           c = scale sqrt(t (1 - t))                  (Brownian)

Since x_t - a X = b x_0 + c eps is the Gaussian path with alpha = b, sigma = c, a bridge is a `Schedule`, and every sampler serves it: DDIM(eta) on
it is DBIM(eta), multistep methods are its higher orders. The walk begins at t < 1 with one draw, x = a X + b D(X, 1) + c z: at the end itself
b = c = 0. A mean-reverting process x_t = mu + alpha (x_0 - mu) + sigma eps, sigma = spread sqrt(1 - alpha^2), is diffusion of x - mu likewise. In
physics X or mu is a coarse field, a forecast, or the state now. References: Zhou et al., Denoising diffusion bridge models, 2024; Zheng et al.,
Diffusion bridge implicit models, 2025; Luo et al., Image restoration with mean-reverting stochastic differential equations, 2023.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.interpolant import Drift, ends_of
from physdiff.diffusion.interpolant_sampler import DriftSampler
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.schedule import Schedule, per_sample

__all__ = ["Bridge", "BridgeSampler", "BridgeSchedule", "BrownianBridge", "DriftDenoiser", "MeanRevertingSchedule", "walk_bridge", "walk_to_mean"]


class Bridge(Schedule):
    """A schedule (b, c) of what is left of a bridge when its end's share is taken away; abstract. alpha and sigma are both 0 at t = 1."""

    @abstractmethod
    def share(self, t: Tensor | float) -> Tensor:
        """The factor a(t) on the known end, float64."""


class BridgeSchedule(Bridge):
    """The bridge of a base schedule to its state at time 1.

    Args:
        base: A schedule with finite u at t = 1.

    Raises:
        InputError: If u is infinite there.
    """

    def __init__(self, base: Schedule) -> None:
        self.base, self._last = base, float(base.noise_ratio(1.0))
        if not math.isfinite(self._last):
            got = type(base).__name__
            raise InputError(f"BridgeSchedule: expected a schedule with finite noise at t = 1, got {got}; take VPSchedule or EDMSchedule")

    def _left(self, t: Tensor | float) -> Tensor:
        """1 - w, with all digits near the end."""
        return -torch.expm1(-2 * (self.base.lam(t) - self.base.lam(1.0)))

    def share(self, t: Tensor | float) -> Tensor:
        """The factor on the known end."""
        return self.base.alpha(t) / self.base.alpha(1.0) * torch.exp(-2 * (self.base.lam(t) - self.base.lam(1.0)))

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of b."""
        return self.base.log_alpha(t) + torch.log(self._left(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        """The noise c."""
        return self.base.sigma(t) * torch.sqrt(self._left(t))

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which log(b/c) = `lam`: u^-2 = e^(2 lam) + u_T^-2."""
        value = torch.as_tensor(lam, dtype=torch.float64)
        return self.base.time_of(0.5 * torch.logaddexp(2 * value, torch.full_like(value, -2 * math.log(self._last))))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (db/dt, dc/dt)."""
        (alpha, sigma), (da, ds), left = self.base(t), self.base.rates(t), self._left(t)
        dw = 2 * (1 - left) * (ds / sigma - da / alpha)
        return da * left - alpha * dw, ds * left.sqrt() - 0.5 * sigma * dw / left.sqrt()


class BrownianBridge(Bridge):
    """The Brownian bridge; at time t the linear `Interpolant` with brownian gamma at 1 - t.

    Args:
        scale: Standard deviation of the noise is scale sqrt(t (1 - t)).
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = check_positive(scale, "BrownianBridge.scale")

    def share(self, t: Tensor | float) -> Tensor:
        """The factor on the known end, t."""
        return torch.as_tensor(t, dtype=torch.float64).clone()

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of 1 - t."""
        return torch.log1p(-torch.as_tensor(t, dtype=torch.float64))

    def sigma(self, t: Tensor | float) -> Tensor:
        """The noise."""
        time = torch.as_tensor(t, dtype=torch.float64)
        return self.scale * torch.sqrt(time * (1 - time))

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        return torch.sigmoid(-2 * (torch.as_tensor(lam, dtype=torch.float64) + math.log(self.scale)))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (db/dt, dc/dt)."""
        time = torch.as_tensor(t, dtype=torch.float64)
        return -torch.ones_like(time), self.scale * (1 - 2 * time) / (2 * torch.sqrt(time * (1 - time)))


class MeanRevertingSchedule(Schedule):
    """alpha of a variance-preserving base, sigma = spread sqrt(1 - alpha^2): the process left to itself has standard deviation `spread`.

    Args:
        base: A schedule with alpha^2 + sigma^2 = 1.
        spread: Standard deviation in the end, a fifth of that of the data or so.
    """

    def __init__(self, base: Schedule, spread: float) -> None:
        alpha, sigma = base(0.5)
        if abs(float(alpha**2 + sigma**2) - 1) > 1e-9:
            raise InputError(f"MeanRevertingSchedule: expected a base with alpha^2 + sigma^2 = 1, got {type(base).__name__}; take VPSchedule")
        self.base, self.spread = base, check_positive(spread, "MeanRevertingSchedule.spread")

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """That of the base."""
        return self.base.log_alpha(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        """The noise."""
        return self.spread * self.base.sigma(t)

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        return self.base.time_of(torch.as_tensor(lam, dtype=torch.float64) + math.log(self.spread))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives."""
        da, ds = self.base.rates(t)
        return da, self.spread * ds


class _Moved(Denoiser):
    """A denoiser of x seen from coordinates x - share(t) centre, giving the mean of x_0 - offset."""

    def __init__(self, inner: Denoiser, centre: Tensor, *, mean: bool) -> None:
        super().__init__()
        self.inner, self.schedule, self.centre, self.mean = inner, inner.schedule, centre, mean

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.mean:
            return self.inner(x_t + self.centre, t, cond) - self.centre
        assert isinstance(self.schedule, Bridge)
        return self.inner(x_t + per_sample(self.schedule.share(t), x_t) * self.centre, t, cond)


class DriftDenoiser(Denoiser):
    """What a trained drift on the linear path with brownian gamma says of the data, E[x_1 | x_t], as a denoiser on the Brownian bridge.

    So an interpolant from a known base is walked by every sampler of diffusion.

    Args:
        drift: The drift.

    Raises:
        InputError: If its path is another one.
    """

    def __init__(self, drift: Drift) -> None:
        super().__init__()
        path = drift.interpolant
        if (path.path, path.gamma) != ("linear", "brownian"):
            raise InputError(f"DriftDenoiser: expected the linear path with brownian gamma, got {path.path} and {path.gamma}")
        self.drift, self.schedule = drift, BrownianBridge(path.scale)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[x_1 given x_t], x_t on the bridge."""
        when = 1 - t
        return ends_of(self.drift(x_t, when, cond), x_t, self.drift.interpolant(when))[1]


class BridgeSampler(DriftSampler):
    """Walks a trained interpolant (linear, brownian) as a bridge by any sampler of diffusion.

    Args:
        sampler: DDIM(eta) is DBIM(eta); one with fresh noise mends errors of the network.
        steps: Its steps, equal in log(b/c).
        cut: The walk begins at this distance from the known end.
    """

    def __init__(self, sampler: Sampler, steps: int = 20, *, cut: float = 1e-3) -> None:
        if steps < sampler.least_steps():
            raise InputError(f"BridgeSampler: expected at least {sampler.least_steps()} steps for {type(sampler).__name__}, got {steps}; give more")
        self.sampler, self.steps, self.cut = sampler, steps, cut

    def evaluations(self) -> int:
        """Those of the sampler, and one at the known end."""
        return self.sampler.evaluations(self.steps) + 1

    def run(self, drift: Drift, x: Tensor, *, cond: Tensor | None = None, rng: Rng, first: Tensor | None = None) -> Tensor:
        """Carry x from the known end to data, see `DriftSampler.run` and `walk_bridge`."""
        return walk_bridge(DriftDenoiser(drift), x, self.sampler, steps=self.steps, cond=cond, rng=rng, cut=self.cut, first=first)


def walk_bridge(
    denoiser: Denoiser,
    end: Tensor,
    sampler: Sampler,
    *,
    steps: int = 20,
    cond: Tensor | None = None,
    rng: Rng,
    cut: float = 1e-3,
    first: Tensor | None = None,
) -> Tensor:
    """From the known end of a bridge to x_0.

    Args:
        denoiser: E[x_0 | x_t] at states of the bridge, its schedule a `Bridge`; the end goes in with `cond` if it does not follow from it.
        end: The known state X, (B, C, T, *S).
        sampler: Any sampler; DDIM(eta) is DBIM(eta). A deterministic one is random through its first draw alone.
        steps: Steps, equal in log(b/c).
        cond: Encoded condition.
        rng: Randomness.
        cut: The walk begins at t = 1 - cut.
        first: Standard normal numbers for the beginning, shape of the end; drawn from `rng` if None.

    Raises:
        InputError: If the schedule is no bridge or the cut is not inside (0, 1).
    """
    schedule = denoiser.schedule
    if not isinstance(schedule, Bridge) or not 0 < cut < 1:
        raise InputError(f"walk_bridge: expected a Bridge and 0 < cut < 1, got {type(schedule).__name__} and {cut}")
    begin = torch.tensor(1 - cut, dtype=torch.float64)
    high = float(schedule.lam(1e-5))
    lam = torch.linspace(float(schedule.lam(begin)), min(high, float(-math.log(0.002))), steps, dtype=torch.float64)
    times = torch.cat([begin[None], schedule.time_of(lam)[1:], torch.zeros(1, dtype=torch.float64)])
    guess = denoiser(end, torch.ones((), dtype=torch.float64, device=end.device), cond)
    noise = rng.child("begin").normal_each(range(len(end)), end.shape[1:], like=end) if first is None else first.to(end)
    alpha, sigma = schedule(begin)
    left = per_sample(alpha, end) * guess + per_sample(sigma, end) * noise
    return sampler.run(_Moved(denoiser, end, mean=False), left, times, cond=cond, rng=rng.child("path"))


def walk_to_mean(denoiser: Denoiser, mu: Tensor, sampler: Sampler, *, times: Tensor, cond: Tensor | None = None, rng: Rng) -> Tensor:
    """A sample of a mean-reverting process: from mu and noise to x_0.

    Args:
        denoiser: E[x_0 | x_t] at states x_t of the process.
        mu: The mean (B, C, T, *S).
        sampler: Any sampler; it runs on x - mu.
        times: Decreasing times, as for `Sampler.run`.
        cond: Encoded condition.
        rng: Randomness.
    """
    noise = rng.child("begin").normal_each(range(len(mu)), mu.shape[1:], like=mu)
    left = per_sample(denoiser.schedule.sigma(times[0]), mu) * noise
    return mu + sampler.run(_Moved(denoiser, mu, mean=True), left, times, cond=cond, rng=rng.child("path"))
