r"""Which noise levels a sampler visits, u = sigma/alpha falling from u_max to u_min.

    uniform_lam:     lam = -log u equally spaced (u geometric): the smallest worst error over the modes of a red spectrum
    edm:             u^{1/rho} equally spaced; rho = 7 as published, rho to infinity is uniform_lam
    arctan:          arctan(u/c) equally spaced; the best for DDIM on data of standard deviation c
    angle:           the mean of arctan(u/(kappa s_i)) equally spaced, s_i the scales of a covariance (see `exact_linear`)
    spectral:        spaced by the density sqrt(sum_k S_k/(S_k + u^2)^2), S_k the variances of a covariance: the best mean error of DDIM
    uniform_t, quadratic_t:   t, or sqrt t, equally spaced between the ends
    trailing:        t = 1, 1 - 1/N, ..., 1/N: the whole of the schedule, u_min what it has at 1/N

A grid of N steps is N noisy times and 0: it starts at t = 1. Most samplers take x <- D in the last step, the posterior mean at the last noisy time.
That mean lacks the variance of every mode with variance below u_min^2, so `smallest` must be small against what shall survive. References: Karras
et al., 2022, equation 5; Nichol and Dhariwal, 2021; Lin et al., Common diffusion noise schedules and sample steps are flawed, 2024 (trailing).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError
from physdiff.diffusion.covariance import Covariance
from physdiff.diffusion.schedule import Schedule

__all__ = ["angle_scales", "mean_angle", "timesteps"]

_KINDS = ("uniform_lam", "edm", "arctan", "angle", "spectral", "uniform_t", "quadratic_t", "trailing")
# Schedules of the variance-exploding kind end at finite noise: their last noisy time must still differ from 0.
_FIRST_TIME = 1e-5
_SCALES = 8
_FLOOR = 1e-12  # share of the largest variance below which an eigenvalue is rounding


def timesteps(
    schedule: Schedule,
    steps: int,
    kind: str = "uniform_lam",
    *,
    smallest: float = 0.002,
    largest: float = 200.0,
    rho: float = 7.0,
    scale: float = 1.0,
    covariance: Covariance | None = None,
) -> Tensor:
    """Decreasing times from 1 to 0.

    Args:
        schedule: The schedule.
        steps: Number of steps N, one or more.
        kind: See the module's table.
        smallest: Noise-to-signal ratio u of the last noisy time, raised to what the schedule has; in units of the data's std. "angle" and
            "trailing" do without it.
        largest: Where the schedule begins at a larger u (or an infinite one), the grid is laid out from here, and its first time moved to 1; its
            square should be 1000 times the largest spectral variance.
        rho: Exponent of "edm".
        scale: The c of "arctan", the kappa of "angle".
        covariance: Covariance of the data, for "angle" and "spectral".

    Returns:
        Times (steps + 1,), float64, strictly decreasing, on the CPU.

    Raises:
        InputError: If there are no steps, the kind is unknown, smallest >= largest, or a covariance is needed and none given.
    """
    check_one_of(kind, _KINDS, "timesteps.kind")
    for value, name in ((smallest, "smallest"), (largest, "largest"), (rho, "rho"), (scale, "scale")):
        check_positive(value, f"timesteps.{name}")
    if steps < 1:
        raise InputError(f"timesteps: expected one step or more, got {steps}")
    if kind == "trailing":
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    low = max(float(schedule.lam(1.0)), -math.log(largest))
    high = min(float(schedule.lam(_FIRST_TIME)), math.inf if kind == "angle" else -math.log(smallest))
    if low >= high:
        raise InputError(f"timesteps: expected smallest < largest within the schedule, got u from {math.exp(-high):g} to {math.exp(-low):g}")
    if kind in ("angle", "spectral") and covariance is None:
        raise InputError(f"timesteps: expected covariance= with kind={kind!r}, got None; give the data's, or take uniform_lam")
    if kind.endswith("_t"):
        times = _in_time(schedule, steps, low=low, high=high, root=kind == "quadratic_t")
    elif kind == "angle" and covariance is not None:
        times = schedule.time_of(_angle(steps, scale * angle_scales(covariance), low=low, high=high))
    else:
        times = schedule.time_of(_in_lam(steps, kind, low=low, high=high, rho=rho, scale=scale, covariance=covariance))
    times[0] = 1.0
    return torch.cat([times, times.new_zeros(1)])


def angle_scales(covariance: Covariance) -> Tensor:
    """Eight standard deviations that stand for a spectrum, (8,), float64 on the CPU: quantiles of the modes', each counted by its size.

    Raises:
        InputError: If the covariance is zero.
    """
    variances = covariance.mode_variances().cpu()
    std = variances[variances > _FLOOR * variances.max()].sqrt().sort(descending=True).values
    if not len(std):
        raise InputError("angle_scales: expected a covariance with some variance, got zero")
    share = std.cumsum(0) / std.sum()
    places = (torch.arange(_SCALES, dtype=torch.float64) + 0.5) / _SCALES
    return std[torch.searchsorted(share, places).clamp_max(len(std) - 1)]


def mean_angle(u: Tensor, scales: Tensor) -> Tensor:
    """The mean of arctan(u/scale) over the scales, shape of u; 0 without noise, pi/2 at infinite noise."""
    return torch.atan(u[..., None] / scales).mean(-1)


def _in_time(schedule: Schedule, steps: int, *, low: float, high: float, root: bool) -> Tensor:
    ends = schedule.time_of(torch.tensor([low, high], dtype=torch.float64))
    if root:
        return torch.linspace(float(ends[0].sqrt()), float(ends[1].sqrt()), steps, dtype=torch.float64) ** 2
    return torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64)


def _in_lam(steps: int, kind: str, *, low: float, high: float, rho: float, scale: float, covariance: Covariance | None) -> Tensor:
    if kind == "uniform_lam":
        return torch.linspace(low, high, steps, dtype=torch.float64)
    if kind == "edm":
        return -rho * torch.log(torch.linspace(math.exp(-low / rho), math.exp(-high / rho), steps, dtype=torch.float64))
    if kind == "arctan":
        ends = (math.atan(math.exp(-low) / scale), math.atan(math.exp(-high) / scale))
        return -torch.log(scale * torch.tan(torch.linspace(*ends, steps, dtype=torch.float64)))
    fine = torch.linspace(low, high, 2001, dtype=torch.float64)
    square = torch.exp(-2 * fine)[:, None]
    density = torch.cat([_spectral_density(part, covariance) for part in square.split(64)])  # of u; times u: of lam
    length = torch.cumulative_trapezoid(density * square[:, 0].sqrt(), fine)
    length = torch.cat([length.new_zeros(1), length])
    wanted = torch.linspace(0, float(length[-1]), steps, dtype=torch.float64)
    right = torch.searchsorted(length, wanted).clamp(1, 2000)
    share = (wanted - length[right - 1]) / (length[right] - length[right - 1])
    return fine[right - 1] + share * (fine[right] - fine[right - 1])


def _spectral_density(square: Tensor, covariance: Covariance | None) -> Tensor:
    variances = covariance.mode_variances().cpu() if covariance is not None else torch.ones(1, dtype=torch.float64)
    return (variances / (variances + square) ** 2).sum(1).sqrt()


def _angle(steps: int, scales: Tensor, *, low: float, high: float) -> Tensor:
    """Levels with equal steps of the mean angle down to no noise, which is the step after the last of these."""

    def angle(lam: Tensor) -> Tensor:
        return mean_angle(torch.exp(-lam), scales)

    first, last = (angle(torch.tensor(end, dtype=torch.float64)) for end in (low, high))
    wanted = torch.linspace(float(first), max(float(first) / steps, float(last)), steps, dtype=torch.float64)
    return _falling_root(angle, wanted, low=low, high=high)


def _falling_root(f: Callable[[Tensor], Tensor], wanted: Tensor, *, low: float, high: float) -> Tensor:
    """Where a falling function has the wanted values, by bisection to rounding."""
    left, right = torch.full_like(wanted, low), torch.full_like(wanted, high)
    for _ in range(80):
        middle = (left + right) / 2
        above = f(middle) > wanted
        left, right = torch.where(above, middle, left), torch.where(above, right, middle)
    return (left + right) / 2
