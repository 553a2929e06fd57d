r"""Finite differences of order 2, 4, 6 or 8 on uniform Cartesian grids.

$$\partial_x f \approx \frac{1}{h} \sum_j w_j f_{i+j}, \qquad \nabla^2 f \approx \sum_a \frac{1}{h_a^2} \sum_j w^{(2)}_j f_{i + j e_a},$$

centred inside and on periodic axes, one-sided with the same order of error at open ends. Laplacians use the
compact second derivative, which sees the shortest wave, and not the difference of a difference. Reference:
Fornberg (1988).
"""

from __future__ import annotations

from torch import Tensor

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.operators.stencils import Stencil, TimeDifference, check_field

__all__ = ["FiniteDifference"]

_ORDERS = (2, 4, 6, 8)


class FiniteDifference(Operators):
    """Derivatives of fields (..., *S) by differences of neighbours.

    Args:
        grid: A CartesianGrid with uniform axes, each periodic or open.
        dt: Time between frames, for `dt` on fields (..., T, *S).
        order: Order of the error, 2, 4, 6 or 8.

    Raises:
        UnsupportedOperator: If an axis is not uniform.
        InputError: If the order is none of these, or an axis is too short for it.
    """

    def __init__(self, grid: Grid, dt: float | None = None, order: int = 2) -> None:
        if order not in _ORDERS:
            raise InputError(f"FiniteDifference order: expected one of {_ORDERS}, got {order!r}")
        if not isinstance(grid, CartesianGrid) or not grid.uniform:
            raise UnsupportedOperator(
                "grad",
                "FiniteDifference",
                f"it needs uniform axes, got {grid.summary()}; use Sphere on the sphere, or regrid",
            )
        self.grid, self.order = grid, order
        self._time = TimeDifference(dt, "FiniteDifference")
        self._coordinates = grid.coordinates()
        self._stencils = {d: self._stencil(d) for d in (2, 1)}

    def _stencil(self, derivative: int) -> Stencil:
        stencil = Stencil(derivative, self.order)
        for name, n in zip(self.grid.dims, self.grid.shape, strict=True):
            if n < stencil.smallest:
                raise InputError(
                    f"FiniteDifference of order {self.order}: expected at least {stencil.smallest} points along {name}, got {n}; "
                    "take a lower order or a larger grid"
                )
        return stencil

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return self.grid.ndim

    @property
    def coordinates(self) -> Vector:
        """Coordinates x, y, z, each of the grid's shape, float64, in the grid's unit of length."""
        return self._coordinates

    def dt(self, f: Tensor) -> Tensor:
        """Time derivative of (..., T, *S): fourth order from five frames on, second order below, one-sided at both ends."""
        return self._time(f, self.grid)

    def grad(self, f: Tensor) -> Vector:
        """Derivatives along x, y, z of (..., *S)."""
        return tuple(self.partial(f, i) for i in range(self.ndim))

    def div(self, v: Vector) -> Tensor:
        """Divergence of components of shape (..., *S)."""
        terms = [self.partial(c, i) for i, c in enumerate(self.check_vector(v, "div"))]
        return sum(terms[1:], terms[0])

    def lap(self, f: Tensor) -> Tensor:
        """Laplacian of (..., *S)."""
        terms = [self.partial(f, i, 2) for i in range(self.ndim)]
        return sum(terms[1:], terms[0])

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """Derivative of given order along one direction (0, 1, 2 for x, y, z) of (..., *S)."""
        check_field(f, self.grid, "FiniteDifference")
        stencil = self._stencils.get(order) or self._stencil(order)
        axis = self.grid.ndim - 1 - direction
        along = f.ndim - 1 - direction
        result = stencil.periodic(f, along) if self.grid.periodic[axis] else stencil.open(f, along)
        return result / self.grid.spacing[axis] ** order
