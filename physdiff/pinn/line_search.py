r"""A step length along a line that satisfies the strong Wolfe conditions.

For $\phi(\alpha) = f(x + \alpha d)$: $\phi(\alpha) \le \phi(0) + c_1\alpha\phi'(0)$ and $|\phi'(\alpha)| \le c_2|\phi'(0)|$. The interval is widened
until it holds such a step and then narrowed by the minimum of a cubic. Nocedal and Wright, Numerical Optimization, 2006, algorithms 3.5 and 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Place", "strong_wolfe"]

_NARROW = 0.1
"""A cubic's minimum nearer to an end than this share of the interval is moved in, so that the interval shrinks."""


@dataclass(frozen=True)
class Place:
    """A point of the line: step, value, slope along it, and the whole gradient."""

    step: float
    value: float
    slope: float
    gradient: Tensor

    @property
    def finite(self) -> bool:
        """Whether value and slope are numbers."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


def strong_wolfe(
    at: Callable[[float], Place], start: Place, *, first: float = 1.0, decrease: float = 1e-4, curvature: float = 0.9, most: int = 25
) -> Place | None:
    """Find a step that satisfies the strong Wolfe conditions.

    Args:
        at: Evaluates the line; a step that leads to numbers that are not finite counts as too long.
        start: The line at step 0, of negative slope.
        first: Step tried first.
        decrease: c_1.
        curvature: c_2.
        most: Largest number of evaluations.

    Returns:
        The place found, the lowest one with enough decrease if evaluations run out, or None where none decreases enough.
    """
    low, step = start, first
    for tried in range(1, most + 1):
        place = at(step)
        enough = place.finite and place.value <= start.value + decrease * step * start.slope
        if not enough or (place.value >= low.value and tried > 1):
            return _zoom(at, (start, low, place), (decrease, curvature), most - tried)
        if abs(place.slope) <= -curvature * start.slope:
            return place
        if place.slope >= 0:
            return _zoom(at, (start, place, low), (decrease, curvature), most - tried)
        low, step = place, step * 2.5
    return low if low is not start else None


def _zoom(at: Callable[[float], Place], places: tuple[Place, Place, Place], constants: tuple[float, float], most: int) -> Place | None:
    """Narrow an interval whose lower end has enough decrease and slopes towards the other end."""
    start, low, high = places
    decrease, curvature = constants
    for _ in range(most):
        step = _cubic_minimum(low, high)
        if abs(high.step - low.step) <= 1e-14 * max(abs(low.step), abs(high.step)) or step in (low.step, high.step):
            break
        place = at(step)
        if not place.finite or place.value > start.value + decrease * step * start.slope or place.value >= low.value:
            high = place
            continue
        if abs(place.slope) <= -curvature * start.slope:
            return place
        if place.slope * (high.step - low.step) >= 0:
            high = low
        low = place
    return low if low.step != start.step else None


def _cubic_minimum(a: Place, b: Place) -> float:
    """Where the cubic through values and slopes of two places is least, kept inside; the middle where there is none."""
    width = b.step - a.step
    middle = a.step + 0.5 * width
    if not b.finite:
        return a.step + _NARROW * width
    d1 = a.slope + b.slope - 3 * (b.value - a.value) / width
    inside = d1 * d1 - a.slope * b.slope
    if not inside >= 0:
        return middle
    d2 = math.copysign(math.sqrt(inside), width)
    below = b.slope - a.slope + 2 * d2
    if below == 0:
        return middle
    share = 1 - (b.slope + d2 - d1) / below
    return a.step + width * min(max(share, _NARROW), 1 - _NARROW)
