r"""Second-order differences in a box with impermeable walls, and the projection of a flow there.

$$P v = v - \overline{\delta\,\phi}, \qquad \Delta_h\phi = \delta\cdot\overline v.$$

Velocities live at centres. They are averaged to faces (nothing passes a wall), the pressure takes the divergence from the face velocities to
rounding (`face_divergence` of `project_faces`), and its face differences are averaged back. The velocities at centres keep a divergence of
second order (an approximate projection; its eigenvalues lie between zero and one, so that repeating it amplifies nothing). Reference: Almgren,
Bell and Szymczak, A numerical method for the incompressible Navier-Stokes equations based on an approximate projection (1996).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.boundary import Boundary, Dirichlet, Reflecting, ends_of
from physdiff.grids.grid import Grid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.operators import Flux, PoissonOperators, Vector
from physdiff.operators.wall_poisson import WallPoisson

__all__ = ["WallOperators"]


class WallOperators(PoissonOperators):
    """FiniteDifference of order 2 that also solves for the pressure, between impermeable walls and on periodic axes.

    Args:
        grid: A CartesianGrid with uniform axes.
        dt: Time between frames, for `dt` on fields (..., T, *S).
        boundary: Conditions as for FiniteDifference; each velocity component is zero on the walls that it would cross.

    Raises:
        InputError: If a velocity component is not zero on the walls that it would cross.
        UnsupportedOperator: If an axis is not uniform.
    """

    def __init__(self, grid: Grid, dt: float | None = None, *, boundary: Boundary | None = None) -> None:
        self.grid = grid
        self.differences = FiniteDifference(grid, dt, boundary=boundary)
        self._poisson = WallPoisson(grid)
        if not all(grid.periodic):
            self._check_still(boundary)

    def _check_still(self, boundary: Boundary | None) -> None:
        """Nothing may pass a wall; a boundary by field that names no velocity is for scalars alone."""
        if boundary is None:
            raise InputError("WallOperators: expected a boundary for the open axes, got none; say what holds at the walls")
        by_field = isinstance(boundary, Mapping) and not any(key in self.grid.dims for key in boundary)
        if by_field and not any(str(key).startswith("velocity_") for key in boundary):  # type: ignore[union-attr]
            return
        for name, closed in zip(self.grid.dims, self.grid.periodic, strict=True):
            if closed:
                continue
            ends = ends_of(boundary, self.grid, f"velocity_{name}").get(name, (None, None))
            for end in ends:
                if not (isinstance(end, Reflecting) or (isinstance(end, Dirichlet) and isinstance(end.value, int | float) and end.value == 0)):
                    raise InputError(
                        f"WallOperators: expected velocity_{name} zero (Dirichlet or Reflecting) on walls across {name}, which nothing passes; "
                        f"got {end!r}"
                    )

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return self.grid.ndim

    @property
    def coordinates(self) -> Vector:
        """Coordinates x, y, z, each of the grid's shape, float64, in the grid's unit of length."""
        return self.differences.coordinates

    def of(self, u: Mapping[str, Tensor], t: float | Tensor) -> Self:
        """A copy that knows which tensor is which field and the time; see FiniteDifference.of."""
        told = copy.copy(self)
        told.differences = self.differences.of(u, t)
        return told

    def dt(self, f: Tensor) -> Tensor:
        """Time derivative of (..., T, *S)."""
        return self.differences.dt(f)

    def grad(self, f: Tensor) -> Vector:
        """Derivatives along x, y, z of (..., *S)."""
        return self.differences.grad(f)

    def div(self, v: Vector) -> Tensor:
        """Divergence of components of shape (..., *S)."""
        return self.differences.div(v)

    def lap(self, f: Tensor) -> Tensor:
        """Laplacian of (..., *S)."""
        return self.differences.lap(f)

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """Derivative of given order along one direction of (..., *S)."""
        return self.differences.partial(f, direction, order)

    def div_flux(self, flux: Flux, u: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Divergence of the fluxes of fields u; see FiniteDifference.div_flux."""
        return self.differences.div_flux(flux, u)

    def inv_lap(self, f: Tensor) -> Tensor:
        """The g of zero mean with lap g = f - mean(f), for the second-order Laplacian of fields without slope at walls."""
        return self._poisson.solve(f)

    def project(self, v: Vector) -> Vector:
        """The part of v without divergence, at centres, to second order; a uniform flow along periodic axes stays."""
        phi = self._potential(self._faces(v))
        return tuple(c - self._centred(self._difference(phi, i), i) for i, c in enumerate(v))

    def project_faces(self, v: Vector) -> Vector:
        """Velocities on the upper face of each cell, whose `face_divergence` is zero to rounding."""
        faces = self._faces(v)
        phi = self._potential(faces)
        return tuple(f - self._difference(phi, i) for i, f in enumerate(faces))

    def face_divergence(self, faces: Vector) -> Tensor:
        """Divergence at centres of velocities on upper faces (those of walls are zero)."""
        terms = [self._outflow(f, i) for i, f in enumerate(faces)]
        return sum(terms[1:], terms[0])

    def _potential(self, faces: Vector) -> Tensor:
        return self._poisson.solve(self.face_divergence(faces))

    def _faces(self, v: Vector) -> Vector:
        return tuple(self._masked((c + self._next(c, i)) / 2, i) for i, c in enumerate(self.check_vector(v, "project")))

    def _difference(self, f: Tensor, i: int) -> Tensor:
        return self._masked((self._next(f, i) - f) / self._spacing(i), i)

    def _outflow(self, f: Tensor, i: int) -> Tensor:
        return (f - torch.roll(f, 1, self._along(f, i))) / self._spacing(i)

    def _centred(self, f: Tensor, i: int) -> Tensor:
        return (f + torch.roll(f, 1, self._along(f, i))) / 2

    def _next(self, f: Tensor, i: int) -> Tensor:
        return torch.roll(f, -1, self._along(f, i))

    def _masked(self, f: Tensor, i: int) -> Tensor:
        """Zero on the last face of an open axis, the wall; rolled round, it is the first wall too."""
        axis = self._along(f, i)
        if self.grid.periodic[self.grid.ndim - 1 - i]:
            return f
        return torch.cat([f.narrow(axis, 0, f.shape[axis] - 1), torch.zeros_like(f.narrow(axis, 0, 1))], axis)

    def _along(self, f: Tensor, i: int) -> int:
        return f.ndim - 1 - i

    def _spacing(self, i: int) -> float:
        return float(self.grid.spacing[self.grid.ndim - 1 - i])  # type: ignore[attr-defined]
