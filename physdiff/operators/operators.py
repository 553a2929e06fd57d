r"""How a derivative is taken: the abstract operators a law is written in.

A law gets named scalar fields of equal shape and an `Operators` object `D`; a velocity is a tuple of scalars
in the order x, y, z. It never sees an axis, so the same text runs on grids, on scattered points (autograd)
and on Fourier symbols:

$$\partial_t c = -\,\mathtt{D.advect}(v, c) + \kappa\,\mathtt{D.lap}(c).$$
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn, final

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError, UnsupportedOperator

__all__ = ["Flux", "Operators", "PoissonOperators", "Vector"]

Vector = tuple[Tensor, ...]
"""Components in the order x, y, z (sphere: east, north), each of the fields' shape."""
Flux = Callable[[Mapping[str, Tensor], "Operators"], Mapping[str, Vector]]
"""Flux of each field from the fields at the operators' points."""


_NONLOCAL = "use Spectral on a periodic CartesianGrid, or let the law state it as one of its `constraints`"


_OFFERED = ("dt", "grad", "div", "lap", "partial", "advect", "inv_lap", "project", "dealias", "coordinates_as")


class Operators(ABC):
    """Abstract derivatives of scalar fields (..., [T,] *S), or (points,) for scattered points.

    A backend that cannot give one of them raises UnsupportedOperator, which names the operator, the backend
    and what to do instead.
    """

    if not TYPE_CHECKING:  # a checker would take every name for known

        def __getattr__(self, name: str) -> NoReturn:
            """A name that no backend has: those that a law may use."""
            offered = ", ".join(_OFFERED)
            raise AttributeError(f"expected one of {offered}, got {type(self).__name__}.{name}; D.lap(f) is a Laplacian, D.partial(f, 0, 3) f_xxx")

    @property
    @abstractmethod
    def ndim(self) -> int:
        """Number of directions of space."""

    @property
    @abstractmethod
    def coordinates(self) -> tuple[Tensor, ...]:
        """Coordinates in the order x, y, z: each of the grid's shape, float64, CPU; or the scattered points themselves.

        A law that multiplies them with fields asks for `coordinates_as`.
        """

    def coordinates_as(self, like: Tensor) -> tuple[Tensor, ...]:
        """The coordinates with the dtype and the device of `like`."""
        return tuple(c.to(like) for c in self.coordinates)

    def steady(self, function: Callable[..., Tensor], t: float | Tensor, like: Tensor) -> Tensor:
        """Values of a function of the coordinates that does not depend on time; backends may keep them."""
        return function(*self.coordinates_as(like), t)

    def slopes(self, function: Callable[..., Tensor], t: float | Tensor, *, like: Tensor) -> Vector:
        """Gradient of a given function of (x, [y, [z,]] t), such as the height of the ground; each of the shape of `like`.

        The default differentiates its values at the coordinates. Finite volumes take the difference over each cell, from face to face, which
        is what balances their fluxes.
        """
        return self.grad(function(*self.coordinates_as(like), t) + torch.zeros_like(like))

    def of(self, u: Mapping[str, Tensor], t: float | Tensor) -> Operators:
        """These operators, told which tensor is which field and what time it is; a law's final methods call it before each evaluation.

        Backends whose boundary conditions differ by field or change in time return a copy that knows; the default has no use for it.
        """
        return self

    @abstractmethod
    def dt(self, f: Tensor) -> Tensor:
        """Derivative in time, along the last axis before space (backends built with `dt=`), or by autograd in t."""

    @abstractmethod
    def grad(self, f: Tensor) -> Vector:
        """Derivatives along x, y, z (sphere: east, north), per unit of length; each of f's shape."""

    @abstractmethod
    def div(self, v: Vector) -> Tensor:
        """Sum of the derivatives of v_x along x, v_y along y, v_z along z (with metric terms on the sphere)."""

    @abstractmethod
    def lap(self, f: Tensor) -> Tensor:
        """Laplacian of a scalar."""

    def div_flux(self, flux: Flux, u: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Divergence of the flux of each field; backends with walls take the flux at the walls too, from the fields there."""
        return {name: self.div(v) for name, v in flux(u, self).items()}

    @final
    def advect(self, v: Vector, f: Tensor) -> Tensor:
        """Advection of a scalar, sum over i of v_i (grad f)_i, a plain pointwise product (see `dealias`)."""
        products = [a * b for a, b in zip(self.check_vector(v, "advect"), self.grad(f), strict=True)]
        return sum(products[1:], products[0])

    def advect_vorticity(self, v: Vector, vorticity: Tensor) -> Tensor:
        """Advection of the vorticity of a plane flow by the flow itself: `advect(v, vorticity)`.

        That v has no divergence and vorticity is its curl allows cheaper forms, which backends may take where they are the same.
        """
        return self.advect(v, vorticity)

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """The derivative of given order along one direction (0, 1, 2 for x, y, z), for laws like Korteweg-de Vries.

        Raises:
            UnsupportedOperator: If the backend has only grad, div and lap.
        """
        raise UnsupportedOperator("partial", type(self).__name__, "write the law with grad, div and lap")

    def shift(self, f: Tensor, cells: int) -> Tensor:
        """The field whose value at site i is that of f at site i + cells; only `Lattice` has it, for laws whose places are sites.

        Raises:
            UnsupportedOperator: If the backend has derivatives instead.
        """
        raise UnsupportedOperator("shift", type(self).__name__, "use Lattice on a periodic CartesianGrid with one point for each site")

    def inv_lap(self, f: Tensor) -> Tensor:
        """The g of zero mean with lap g = f - mean(f); only PoissonOperators have it.

        Raises:
            UnsupportedOperator: If the backend cannot solve Poisson's equation.
        """
        raise UnsupportedOperator("inv_lap", type(self).__name__, _NONLOCAL)

    def project(self, v: Vector) -> Vector:
        """The part of v without divergence; only PoissonOperators have it.

        Raises:
            UnsupportedOperator: If the backend cannot solve Poisson's equation.
        """
        raise UnsupportedOperator("project", type(self).__name__, _NONLOCAL)

    def dealias(self, f: Tensor) -> Tensor:
        """Cut from f the modes that would make products alias; f itself where aliasing is no concern (default).

        The two-thirds rule without a change of any law's text: who advances a law passes the initial state
        and every result of the law's nonlinear part through this. Then all quadratic terms are free of
        aliasing, whether written as `advect`, `div` or as a plain product, and fields which have nothing to
        cut (resolved ones) pass unchanged to rounding.
        """
        return f

    @final
    def check_vector(self, v: Vector, what: str) -> Vector:
        """Return `v` if it has one component per direction, else raise ShapeError."""
        if len(v) != self.ndim:
            raise ShapeError(f"{type(self).__name__}.{what}: expected {self.ndim} components (x, y, z order), got {len(v)}")
        return v


class PoissonOperators(Operators):
    """Operators of a grid on which Poisson's equation can be solved at once."""

    @abstractmethod
    def inv_lap(self, f: Tensor) -> Tensor:
        """The g of zero mean with lap g = f - mean(f)."""

    @abstractmethod
    def project(self, v: Vector) -> Vector:
        """The part of v without divergence, v - grad inv_lap div v (Leray projection); a constant flow stays."""
