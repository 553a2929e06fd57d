r"""Which noise levels a sampler visits.

    uniform_lam:  lam_i equally spaced (u geometric)             the smallest worst error over the modes of a
        red spectrum
    edm:          u_i = (u_max^{1/7} + i/(N-1) (u_min^{1/7} - u_max^{1/7}))^7

A grid of N steps is N noisy times and 0: it starts at t = 1 and its last step takes x <- D, the posterior
mean at the last noisy time. That mean lacks the variance of every mode with variance below u_min^2, so
`smallest` must be small against what shall survive. Reference: Karras et al., 2022, equation 5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError
from physdiff.diffusion.schedule import Schedule

__all__ = ["timesteps"]

_RHO = 7.0
# Schedules of the variance-exploding kind end at finite noise: their last noisy time must still differ from
# 0.
_FIRST_TIME = 1e-5


def timesteps(
    schedule: Schedule,
    steps: int,
    kind: str = "uniform_lam",
    *,
    smallest: float = 0.002,
    largest: float = 200.0,
) -> Tensor:
    """Decreasing times from 1 to 0.

    Args:
        schedule: The schedule.
        steps: Number of steps N, one or more.
        kind: "uniform_lam" or "edm".
        smallest: Noise-to-signal ratio u of the last noisy time, raised to what the schedule has; in units of
            the data's std.
        largest: Where the schedule begins at a larger u (or an infinite one), the grid is laid out from here,
            and its first time moved to 1; its square should be 1000 times the largest spectral variance.

    Returns:
        Times (steps + 1,), float64, strictly decreasing, on the CPU.

    Raises:
        InputError: If there are no steps, the kind is unknown, or smallest >= largest.
    """
    check_one_of(kind, ("uniform_lam", "edm"), "timesteps.kind")
    check_positive(smallest, "timesteps.smallest")
    check_positive(largest, "timesteps.largest")
    if steps < 1:
        raise InputError(f"timesteps: expected one step or more, got {steps}")
    low = max(float(schedule.lam(1.0)), -math.log(largest))
    high = min(float(schedule.lam(_FIRST_TIME)), -math.log(smallest))
    if low >= high:
        raise InputError(f"timesteps: expected smallest < largest within the schedule, got u from {math.exp(-high):g} to {math.exp(-low):g}")
    if kind == "uniform_lam":
        lam = torch.linspace(low, high, steps, dtype=torch.float64)
    else:
        ends = (math.exp(-low / _RHO), math.exp(-high / _RHO))
        lam = -_RHO * torch.log(torch.linspace(*ends, steps, dtype=torch.float64))
    times = schedule.time_of(lam)
    times[0] = 1.0
    return torch.cat([times, times.new_zeros(1)])
