r"""Differences on cells, for what a law has besides its flux.

As `FiniteDifference`, but the slope of a given function (the ground under water) is its difference between the faces of each cell, as the fluxes are:
$(b_{i+1/2} - b_{i-1/2})/h$. So water at rest over any ground stays at rest to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.operators import Operators, Vector

__all__ = ["CellOperators"]


class CellOperators(Operators):
    """Derivatives of cell values (..., *S).

    Args:
        grid: A uniform CartesianGrid.
        order: Order of the differences, 2, 4, 6 or 8.
    """

    def __init__(self, grid: CartesianGrid, order: int = 2) -> None:
        self.grid = grid
        self._differences = FiniteDifference(grid, order=order)

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return self.grid.ndim

    @property
    def coordinates(self) -> Vector:
        """Centres of the cells, x, y, z."""
        return self._differences.coordinates

    def slopes(self, function: Callable[..., Tensor], t: float | Tensor, *, like: Tensor) -> Vector:
        """From face to face; see Operators.slopes."""
        places, made = self.coordinates_as(like), []
        for i, h in enumerate(reversed(self.grid.spacing)):
            upper, lower = (function(*(x + s * h / 2 if j == i else x for j, x in enumerate(places)), t) for s in (1, -1))
            made.append((upper - lower) / h + torch.zeros_like(like))
        return tuple(made)

    def dt(self, f: Tensor) -> Tensor:
        """Refused: cells have no time axis."""
        return self._differences.dt(f)

    def grad(self, f: Tensor) -> Vector:
        """Centred differences."""
        return self._differences.grad(f)

    def div(self, v: Vector) -> Tensor:
        """Sum of centred differences."""
        return self._differences.div(v)

    def lap(self, f: Tensor) -> Tensor:
        """Compact second differences."""
        return self._differences.lap(f)

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """Centred difference of any order."""
        return self._differences.partial(f, direction, order)
