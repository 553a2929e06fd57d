r"""Incompressible flow in velocity and pressure, in the plane and in space.

$$\partial_t u + (u\cdot\nabla)u = -\tfrac1\rho\nabla p + \nu\Delta u + f, \qquad \nabla\cdot u = 0$$

with viscosity $\nu$, density $\rho$ and a force f per mass. The pressure is a diagnostic: with $g = f - (u\cdot\nabla)u$ it solves
$\Delta p = \rho\,\nabla\cdot g$ (without f: $-\rho\,\partial_i u_j\,\partial_j u_i$), so that $g - \nabla p/\rho$ has no divergence. Grids project g,
points carry the pressure as one more unknown and $\nabla\cdot u$ as one more residual. Budgets per unit volume of a periodic box:
$\tfrac{d}{dt}\langle u\rangle = \langle f\rangle$ and
$\tfrac{d}{dt}\tfrac12\langle|u|^2\rangle = -\nu\langle|\nabla u|^2\rangle + \langle u\cdot f\rangle$; in space without viscosity and force
the helicity $\langle u\cdot\omega\rangle$ stays. Reference: Batchelor, An Introduction to Fluid Dynamics (1967).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE, Coefficient, Parameter, check_parameter, space_mean, value_of

__all__ = ["IncompressibleFlow", "acceleration", "check_space", "curl", "dissipation", "velocity_names"]


@dataclass(frozen=True, eq=False)
class IncompressibleFlow(PDE):
    """Velocity of a fluid of constant density; the pressure is diagnosed.

    On Spectral operators the initial velocity must have no divergence (`D.project` makes it so); the law keeps it that way.

    Args:
        viscosity: Kinematic, at least zero, length squared per time; a number or a Tensor () or (B,).
        forcing: Force per mass, one number, Tensor or function of (x, y, [z,] t) per direction; None for none.
        density: Above zero; scales the pressure alone.
        ndim: 2 or 3; fields velocity_x, velocity_y and in space velocity_z.

    Raises:
        InputError: If the viscosity is negative, the density not positive, or the force has not one part per direction.
    """

    viscosity: Parameter
    forcing: tuple[Coefficient, ...] | None = None
    density: Parameter = 1.0
    ndim: int = 2

    diagnostics: ClassVar[tuple[str, ...]] = ("pressure",)

    def __post_init__(self) -> None:
        check_space(self.ndim, "IncompressibleFlow")
        check_parameter(self.viscosity, "IncompressibleFlow viscosity", sign=-1)
        check_parameter(self.density, "IncompressibleFlow density", sign=1)
        if self.forcing is not None:
            if not isinstance(self.forcing, tuple) or len(self.forcing) != self.ndim:
                raise InputError(f"IncompressibleFlow forcing: expected a tuple of {self.ndim} parts (x, y, z order), got {self.forcing!r}")
            for part in self.forcing:
                check_parameter(part, "IncompressibleFlow forcing")

    @property
    def fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """velocity_x, velocity_y, and in space velocity_z."""
        return velocity_names(self.ndim)

    def initial(self, w: Fields, D: Operators, *, grid: Grid) -> Fields:
        """The part of a velocity that has no divergence.

        Raises:
            UnsupportedOperator: If the operators cannot solve Poisson's equation.
        """
        return dict(zip(self.fields, D.project(tuple(w[name] for name in self.fields)), strict=True))

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Viscosity."""
        return {name: self.viscosity * D.lap(u[name]) for name in self.fields}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Advection, force and pressure: less the gradient of the pressure if given (points, data), else their part without divergence.

        Raises:
            UnsupportedOperator: If no pressure is given and the operators cannot solve Poisson's equation.
        """
        g = self._accelerations(u, D, t)
        if "pressure" in u:
            g = tuple(c - slope / self.density for c, slope in zip(g, D.grad(u["pressure"]), strict=True))
        else:
            g = D.project(g)
        return dict(zip(self.fields, g, strict=True))

    def pressure(self, u: Fields, D: Operators, t: float | Tensor) -> Tensor:
        """The pressure of zero mean at time t, from the velocity; `diagnose` leaves it out, for forces depend on the time.

        Raises:
            UnsupportedOperator: If the operators cannot solve Poisson's equation.
        """
        first = u[self.fields[0]]
        law = self.bound(first.ndim - 1, like=first)
        return law.density * D.inv_lap(D.div(law._accelerations(u, D, t)))

    def constraints(self, u: Fields, D: Operators) -> Fields:
        """The divergence of the velocity, under the name of the pressure."""
        return {"pressure": D.div(tuple(u[name] for name in self.fields))}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of each component (`momentum_x`, ...) and half the mean square of the velocity (`kinetic_energy`)."""
        v = [u[name] for name in self.fields]
        square = sum((c**2 for c in v), torch.zeros_like(v[0]))
        return {**{f"momentum_{a}": space_mean(c, grid) for a, c in zip("xyz", v, strict=False)}, "kinetic_energy": space_mean(square / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """The budgets of the module's docstring."""
        first = u[self.fields[0]]
        law = self.bound(first.ndim - 1, like=first)
        v = tuple(u[name] for name in self.fields)
        force = law._force(first, D, t)
        work = sum((c * f for c, f in zip(v, force, strict=True)), -law.viscosity * dissipation(v, D))
        momentum = {f"momentum_{a}": space_mean(f, grid) for a, f in zip("xyz", force, strict=False)}
        return {**momentum, "kinetic_energy": space_mean(work, grid)}

    def helicity(self, u: Fields, D: Operators, grid: Grid) -> Tensor:
        """Mean of velocity times vorticity in space, (B, [T]).

        Raises:
            InputError: If the flow is plane, where it is zero.
        """
        if self.ndim != 3:
            raise InputError("IncompressibleFlow helicity: expected a flow in space (ndim=3), got a plane one, whose helicity is zero")
        v = tuple(u[name] for name in self.fields)
        return space_mean(sum((a * b for a, b in zip(v, curl(v, D), strict=True)), torch.zeros_like(v[0])), grid)

    def _force(self, like: Tensor, D: Operators, t: float | Tensor) -> Vector:
        parts = (0.0,) * self.ndim if self.forcing is None else self.forcing
        return tuple(torch.zeros_like(like) + value_of(part, D, t, like=like) for part in parts)

    def _accelerations(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        v = tuple(u[name] for name in self.fields)
        moved = acceleration(v, D)
        return moved if self.forcing is None else tuple(a + f for a, f in zip(moved, self._force(v[0], D, t), strict=True))


def velocity_names(ndim: int) -> tuple[str, ...]:
    """velocity_x, velocity_y, and in space velocity_z."""
    return tuple(f"velocity_{a}" for a in "xyz"[:ndim])


def check_space(ndim: int, what: str) -> None:
    """Raise InputError unless ndim is 2 or 3."""
    if ndim not in (2, 3):
        raise InputError(f"{what} ndim: expected 2 or 3, got {ndim!r}; on a line a flow without divergence is uniform")


def acceleration(v: Vector, D: Operators) -> Vector:
    """Minus (v . grad) v, component by component."""
    if D.ndim != len(v):
        raise InputError(f"incompressible flow: expected a grid of {len(v)} dimensions, got {D.ndim}; give the law ndim={D.ndim}")
    return tuple(-D.advect(v, c) for c in v)


def curl(v: Vector, D: Operators) -> Vector:
    """Vorticity of a velocity in space (three components), of a plane one (one component)."""
    slopes = [D.grad(c) for c in v]
    across = slopes[1][0] - slopes[0][1]
    return (across,) if len(v) == 2 else (slopes[2][1] - slopes[1][2], slopes[0][2] - slopes[2][0], across)


def dissipation(v: Vector, D: Operators) -> Tensor:
    """The squared gradient of all components, summed."""
    return sum((slope**2 for c in v for slope in D.grad(c)), torch.zeros_like(v[0]))
