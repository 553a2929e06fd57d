r"""Neighbours on a ring instead of derivatives: for laws whose places are sites, like those of Lorenz.

A site is a grid point and nothing lies between; $(\text{shift}_n f)_i = f_{i+n}$ with the ring closed. Derivatives along space do not exist here;
the one in time does.
"""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from physdiff.base.errors import UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.operators.stencils import TimeDifference, check_field

__all__ = ["Lattice"]


class Lattice(Operators):
    """Shifts of fields (..., n) on n sites that form a ring.

    Args:
        grid: A periodic line, ``CartesianGrid(n, extent=n)``: n sites a unit apart. One site is no ring but a point: shifts change nothing.
        dt: Time between frames, for `dt` on fields (..., T, n).

    Raises:
        UnsupportedOperator: If the grid is no periodic line.
    """

    def __init__(self, grid: Grid, dt: float | None = None) -> None:
        if not isinstance(grid, CartesianGrid) or grid.ndim != 1 or not grid.periodic[0]:
            raise UnsupportedOperator("shift", "Lattice", f"it needs a periodic line, got {grid.summary()}; take CartesianGrid(n, extent=n)")
        self.grid = grid
        self._time = TimeDifference(dt, "Lattice")
        self._coordinates = grid.coordinates()

    @property
    def ndim(self) -> int:
        """One."""
        return 1

    @property
    def coordinates(self) -> Vector:
        """Places of the sites."""
        return self._coordinates

    def dt(self, f: Tensor) -> Tensor:
        """Time derivative of (..., T, n): fourth order from five frames on, second order below, one-sided at both ends."""
        return self._time(f, self.grid)

    def shift(self, f: Tensor, cells: int) -> Tensor:
        """The field whose value at site i is that of f at site i + cells; the ring closes."""
        check_field(f, self.grid, "Lattice")
        return f.roll(-cells, -1)

    def grad(self, f: Tensor) -> Vector:
        """None on sites.

        Raises:
            UnsupportedOperator: Always.
        """
        return _refuse("grad")

    def div(self, v: Vector) -> Tensor:
        """None on sites; see `grad`."""
        return _refuse("div")

    def lap(self, f: Tensor) -> Tensor:
        """None on sites; see `grad`."""
        return _refuse("lap")


def _refuse(operator: str) -> NoReturn:
    raise UnsupportedOperator(operator, "Lattice", "sites have neighbours and no derivatives; use Spectral or FiniteDifference on the same grid")
