r"""Finite differences of order 2, 4, 6 or 8 on uniform Cartesian grids.

$$\partial_x f \approx \frac{1}{h} \sum_j w_j f_{i+j}, \qquad \nabla^2 f \approx \sum_a \frac{1}{h_a^2} \sum_j w^{(2)}_j f_{i + j e_a},$$

centred inside and on periodic axes, one-sided with the same order of error at open ends where nothing is imposed. With a boundary the centred
formula goes on into ghost cells (`ghost_cells`), filled from the polynomial through d + p - 1 points and the condition at the wall, for a
derivative of order d and an accuracy of p. Laplacians use the compact second derivative, which sees the shortest wave, and not the
difference of a difference. References: Fornberg (1988); LeVeque (2007).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

from torch import Tensor

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.boundary import Boundary
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Flux, Operators, Vector
from physdiff.operators.stencils import Stencil, TimeDifference, check_field
from physdiff.operators.walls import Walls

__all__ = ["FiniteDifference"]

_ORDERS = (2, 4, 6, 8)


class FiniteDifference(Operators):
    """Derivatives of fields (..., *S) by differences of neighbours.

    Conditions hold for fields. Before `of`, a boundary that names no fields is taken to hold for every tensor; from then on (in every law)
    for the law's fields only, and for the fluxes of a law in conservation form through the fields' values at the wall. Other derived tensors
    (products, gradients) are differenced one-sided, for a value of c says nothing about v c.

    Diffusion is stable with every order and condition (eigenvalues in the left half-plane). Advection alone, from an inflow to an Outflow, is
    stable with orders 2 and 4; with 6 and 8 it needs some diffusion.

    Args:
        grid: A CartesianGrid with uniform axes, each periodic or open.
        dt: Time between frames, for `dt` on fields (..., T, *S).
        order: Order of the error, 2, 4, 6 or 8.
        boundary: Conditions at the ends of open axes, half a cell beyond the last points: one for all, by axis, or by field. Their values
            are numbers, Tensors () or (B,), or functions of (x, [y, [z,]] t) on the wall. An Outflow goes on as the parabola through the
            last three points. None, and axes left out: one-sided.

    Raises:
        UnsupportedOperator: If an axis is not uniform.
        InputError: If the order is none of these, an axis is too short for it, or the boundary names no open axis.
    """

    def __init__(self, grid: Grid, dt: float | None = None, order: int = 2, *, boundary: Boundary | None = None) -> None:
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
        self._walls = None if boundary is None else Walls(grid, boundary, "FiniteDifference")
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

    def of(self, u: Mapping[str, Tensor], t: float | Tensor) -> Self:
        """A copy that knows which tensor is which field and the time; itself without a boundary.

        Raises:
            InputError: If the boundary is given by field and a field is missing, or one tensor stands for two fields of different conditions.
        """
        if self._walls is None:
            return self
        told = copy.copy(self)
        told._walls = self._walls.told(u, t)
        return told

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
        if order < 1:
            raise InputError(f"FiniteDifference.partial order: expected 1 or more, got {order}")
        stencil = self._stencils.get(order) or self._stencil(order)
        axis = self.grid.ndim - 1 - direction
        along = f.ndim - 1 - direction
        h = self.grid.spacing[axis] ** order
        if self.grid.periodic[axis]:
            return stencil.periodic(f, along) / h
        ghosts = None if self._walls is None else self._walls.extended(f, direction, reach=stencil.reach, points=order + self.order - 1)
        return (stencil.open(f, along) if ghosts is None else stencil.inner(ghosts, along)) / h

    def div_flux(self, flux: Flux, u: Fields) -> dict[str, Tensor]:
        """Divergence of the fluxes of fields u: at walls the flux is that of the fields' values there.

        Where all fields have an Outflow the fluxes go on as they are inside.
        """
        inside = {name: self.check_vector(v, "div_flux") for name, v in flux(u, self).items()}
        slopes = [self._flux_slopes(flux, u, {name: v[i] for name, v in inside.items()}, i) for i in range(self.ndim)]
        return {name: sum((s[name] for s in slopes[1:]), slopes[0][name]) for name in inside}

    def _flux_slopes(self, flux: Flux, u: Fields, inside: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
        """Derivative of one component of the fluxes along its direction."""
        walls = self._walls
        if walls is None or not walls.bounds(u, i):
            return {name: self.partial(f, i) for name, f in inside.items()}
        met = [walls.fields_at_wall(u, i, side, points=self.order) for side in (0, 1)]
        at_walls = [flux(fields, points) if fields else None for fields, points in met]
        stencil, h = self._stencils[1], self.grid.spacing[self.grid.ndim - 1 - i]
        out = {}
        for name, f in inside.items():
            ends = [None if found is None else found[name][i] for found in at_walls]
            wide = walls.extended_flux(f, i, (ends[0], ends[1]), reach=stencil.reach, points=self.order)
            out[name] = stencil.inner(wide, f.ndim - 1 - i) / h
        return out
