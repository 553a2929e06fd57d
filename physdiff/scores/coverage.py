r"""How often the truth lies in the central interval of an ensemble.

The interval at level c from m members leaves $h = \tfrac{1-c}{2}(m+1)$ ranks outside on either side (plotting
positions p(m+1)). For exchangeable members and truth every rank 0..m has probability 1/(m+1), so for an
integer h the interval between the h-th lowest and the h-th highest member covers exactly c. For h = k + f
between integers, `coverage` counts (1-f) times the k-th and f times the (k+1)-th interval: it expects exactly
c for a perfect ensemble of ANY size and any continuous law. The interpolated bounds of `central_interval`
(for pictures) cover a little more in between: 0.908 instead of 0.9 for 32 Gaussian members, 0.9 for 19 or
39. Below m = 2/(1-c) - 1 the interval would need values beyond the outermost members; usual quantiles hide
that and cover 0.80 of 90 % with 16. References: Makkonen (2006), "Plotting positions in extreme value
analysis"; Hyndman and Fan (1996), type 6.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.scores.rank_histogram import rank_bounds
from physdiff.scores.reduce import check_case, reduced

__all__ = ["central_interval", "coverage", "members_needed", "sharpness"]


def members_needed(level: float) -> int:
    """Smallest number of members with a central interval at `level`.

    It is 2/(1-level) - 1 rounded up: 19 for 0.9, 39 for 0.95.

    Raises:
        InputError: If level is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, as in 0.9, got {level!r}")
    # 2 / (1 - 0.9) - 1 is 19.000000000000004 in floating point
    return max(1, math.ceil(2 / (1 - level) - 1 - 1e-9))


def coverage(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, level: float = 0.9) -> Tensor:
    """Share of the truth inside the central interval; a perfect ensemble expects `level`.

    Args:
        members: (m, *batch, *S), m >= 2/(1-level) - 1.
        truth: (*batch, *S). One equal to members counts with the share of its possible ranks that lie inside.
        weights: (*S) for the weighted mean, None for the map (1 inside, 0 outside, a fraction between two
            intervals or at ties).
        level: Probability of the interval.

    Raises:
        ShapeError: If shapes do not fit or there are too few members for the level.
        InputError: If level is not strictly between 0 and 1.
    """
    members, truth = check_case(members, truth, weights, what="coverage")
    count = members.shape[0]
    whole, rest = _position(count, level)
    low, high = rank_bounds(members, truth)

    def inside(k: int) -> Tensor:
        overlap = high.clamp(max=count - k) - low.clamp(min=k) + 1
        return overlap.clamp(min=0) / (high - low + 1)

    return reduced((1 - rest) * inside(whole) + rest * inside(whole + 1), weights)


def sharpness(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, level: float = 0.9) -> Tensor:
    """Width of the members' central interval, in the field's units: smaller is better among forecasts whose `coverage` is right.

    Args:
        members: (m, *batch, *S), m >= 2/(1-level) - 1.
        truth: (*batch, *S); only its missing cells matter, which have no width.
        weights: (*S) for the weighted mean, None for the map.
        level: Probability of the interval.

    Raises:
        ShapeError: If shapes do not fit or there are too few members for the level.
        InputError: If level is not strictly between 0 and 1.
    """
    members, truth = check_case(members, truth, weights, what="sharpness")
    lower, upper = central_interval(members, level=level)
    return reduced((upper - lower).masked_fill(truth.isnan(), float("nan")), weights)


def central_interval(members: Tensor, *, level: float = 0.9) -> tuple[Tensor, Tensor]:
    """Lower and upper bound by linear interpolation between order statistics at h and m+1-h.

    Args:
        members: (m, ...), m >= 2/(1-level) - 1.
        level: Probability of the interval.

    Returns:
        Two tensors (...), in the field's units; NaN where any member is missing.

    Raises:
        ShapeError: If there are too few members for the level.
        InputError: If level is not strictly between 0 and 1.
    """
    count = members.shape[0]
    whole, rest = _position(count, level)
    ordered = members.sort(0).values
    upper_next = max(count - 1 - whole, 0)
    lower = torch.lerp(ordered[whole - 1], ordered[min(whole, count - 1)], rest)
    upper = torch.lerp(ordered[count - whole], ordered[upper_next], rest)
    missing = members.isnan().any(0)
    return lower.masked_fill(missing, float("nan")), upper.masked_fill(missing, float("nan"))


def _position(count: int, level: float) -> tuple[int, float]:
    """Whole and fractional part of h = (1-level)/2 (m+1), after refusing too few members."""
    needed = members_needed(level)
    if count < needed:
        raise ShapeError(
            f"coverage: expected at least {needed} members for a {100 * level:g} % interval, got {count}; "
            f"draw {needed} or lower the level to {(count - 1) / (count + 1):.3g}"
        )
    position = (1 - level) / 2 * (count + 1)
    whole = math.floor(position + 1e-9)
    return whole, max(0.0, position - whole)
