r"""Coefficients that depend on the place alone, $g(x)$, so that solvers may keep their values from one evaluation to the next.

A law's coefficient is a function of the coordinates and the time; nothing tells a function that ignores the time from one that does not, so
it is evaluated again and again. `Steady` says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from physdiff.base.saved import Saved

__all__ = ["Steady", "SteadyFunction"]


class SteadyFunction(ABC):
    """Abstract function of (x, [y, [z,]] t) whose values do not depend on t."""

    @abstractmethod
    def __call__(self, *coordinates_and_time: Any) -> Tensor:  # noqa: ANN401 - subclasses name their coordinates
        """Values at the points."""


@dataclass(frozen=True, eq=False)
class Steady(SteadyFunction, Saved):
    """A function of the coordinates (x, [y, [z]]) as a coefficient that does not change in time.

    Args:
        function: Values at coordinates of equal shape; of their shape.
    """

    function: Callable[..., Tensor]

    def __call__(self, *coordinates_and_time: Any) -> Tensor:  # noqa: ANN401 - as above
        """Values at the points; the time, which comes last, is ignored."""
        return self.function(*coordinates_and_time[:-1])
