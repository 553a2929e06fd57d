r"""Buoyant flow: a fluid carries a scalar, and the scalar lifts the fluid (Boussinesq; smoke).

$$\partial_t u + (u\cdot\nabla)u = -\nabla p + \nu\Delta u + B\,b\,e, \quad \nabla\cdot u = 0, \qquad
\partial_t b + u\cdot\nabla b = \kappa\Delta b - G\,u\cdot e + s$$

with e upwards, the lift B (or any field of accelerations in place of B e), a source s (smoke from a fire, heat) and, where b is what departs from a
uniform stratification, its slope G (G < 0: heavy above light). With w = u . e
and periodic sides, $\tfrac{d}{dt}\langle b\rangle = -G\langle w\rangle$ and
$\tfrac{d}{dt}\tfrac12\langle|u|^2\rangle = -\nu\langle|\nabla u|^2\rangle + B\langle w b\rangle$. Between free surfaces a distance H apart a
wave number k becomes unstable where $Ra = -B G H^4/(\nu\kappa)$ exceeds $(\pi^2 + k^2H^2)^3/(k^2H^2)$, at
least $27\pi^4/4 = 657.5$ (Rayleigh, 1916).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.pdes.incompressible import acceleration, check_space, dissipation, velocity_names
from physdiff.pdes.pde import PDE, Coefficient, Parameter, check_parameter, space_mean, value_of

__all__ = ["BuoyantFlow", "free_fall_units"]


@dataclass(frozen=True, eq=False)
class BuoyantFlow(PDE):
    """Velocity of the fluid and the scalar `buoyancy` that it carries; the pressure is diagnosed.

    Args:
        viscosity: At least zero, length squared per time; a number or a Tensor () or (B,).
        diffusivity: Of the scalar, at least zero, length squared per time.
        lift: Upward acceleration per unit of the scalar, 1 where the scalar is a buoyancy itself; or a tuple with the acceleration along each
            direction (x, y, z order), each a number, a Tensor () or (B,), or a function of (x, y, [z,] t).
        stratification: Slope along the upward direction of a uniform background that the scalar is counted from, per length.
        source: Of the scalar, per time: a number, a Tensor () or (B,), or a function of (x, y, [z,] t).
        ndim: 2 or 3.
        up: Upward direction, "x", "y" or "z"; the last one if None.

    Raises:
        InputError: If the viscosity or the diffusivity is negative, the direction is none of the space, or a lift in parts has
            not one for each direction.
    """

    viscosity: Parameter
    diffusivity: Parameter
    lift: Parameter | tuple[Coefficient, ...] = 1.0
    stratification: Parameter = 0.0
    source: Coefficient = 0.0
    ndim: int = 2
    up: str | None = None

    diagnostics: ClassVar[tuple[str, ...]] = ("pressure",)

    def __post_init__(self) -> None:
        check_space(self.ndim, "BuoyantFlow")
        for name in ("viscosity", "diffusivity"):
            check_parameter(getattr(self, name), f"BuoyantFlow {name}", sign=-1)
        if isinstance(self.lift, tuple) and len(self.lift) != self.ndim:
            raise InputError(f"BuoyantFlow lift: expected one number or a tuple of {self.ndim} parts (x, y, z order), got {len(self.lift)} parts")
        for part in self.lift if isinstance(self.lift, tuple) else (self.lift,):
            check_parameter(part, "BuoyantFlow lift")
        for name in ("stratification", "source"):
            check_parameter(getattr(self, name), f"BuoyantFlow {name}")
        if self.up is not None and self.up not in tuple("xyz"[: self.ndim]):
            raise InputError(f"BuoyantFlow up: expected one of {', '.join('xyz'[: self.ndim])}, got {self.up!r}")

    @property
    def fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """The components of the velocity and `buoyancy`."""
        return (*velocity_names(self.ndim), "buoyancy")

    @property
    def upward(self) -> str:
        """Name of the upward component of the velocity."""
        return f"velocity_{self.up or 'xyz'[self.ndim - 1]}"

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """A slow flow that a buoyancy of one is about to drive."""
        return {**dict.fromkeys(velocity_names(self.ndim), (0.0, 0.1)), "buoyancy": (0.0, 1.0)}

    def initial(self, w: Fields, D: Operators, *, grid: Grid) -> Fields:
        """The part of the velocity that has no divergence, and the scalar; see IncompressibleFlow.initial."""
        names = velocity_names(self.ndim)
        return {**dict(zip(names, D.project(tuple(w[name] for name in names)), strict=True)), "buoyancy": w["buoyancy"]}

    def lift_along(self, name: str) -> Coefficient:
        """Acceleration of one component of the velocity per unit of the scalar; 0.0 where there is none."""
        if isinstance(self.lift, tuple):
            return self.lift[velocity_names(self.ndim).index(name)]
        return self.lift if name == self.upward else 0.0

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Viscosity and diffusion."""
        moved = {name: self.viscosity * D.lap(u[name]) for name in velocity_names(self.ndim)}
        return {**moved, "buoyancy": self.diffusivity * D.lap(u["buoyancy"])}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Advection, lift and pressure; see IncompressibleFlow.nonstiff for what is done with the pressure."""
        names = velocity_names(self.ndim)
        v = tuple(u[name] for name in names)
        g = tuple(c + f for c, f in zip(acceleration(v, D), self._lifted(u["buoyancy"], D, t), strict=True))
        g = tuple(c - slope for c, slope in zip(g, D.grad(u["pressure"]), strict=True)) if "pressure" in u else D.project(g)
        carried = -D.advect(v, u["buoyancy"]) - self.stratification * u[self.upward] + value_of(self.source, D, t, like=u["buoyancy"])
        return {**dict(zip(names, g, strict=True)), "buoyancy": carried}

    def _lifted(self, b: Tensor, D: Operators, t: float | Tensor) -> list[float | Tensor]:
        parts = [self.lift_along(name) for name in velocity_names(self.ndim)]
        return [0.0 if isinstance(part, float) and part == 0.0 else value_of(part, D, t, like=b) * b for part in parts]

    def constraints(self, u: Fields, D: Operators) -> Fields:
        """The divergence of the velocity, under the name of the pressure."""
        return {"pressure": D.div(tuple(u[name] for name in velocity_names(self.ndim)))}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of the scalar (`mass`), half its mean square (`variance`) and that of the velocity (`kinetic_energy`)."""
        square = sum((u[name] ** 2 for name in velocity_names(self.ndim)), torch.zeros_like(u["buoyancy"]))
        b = u["buoyancy"]
        return {"mass": space_mean(b, grid), "variance": space_mean(b**2 / 2, grid), "kinetic_energy": space_mean(square / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """The budgets of the module's docstring; variance -kappa <|grad b|^2> - G <w b>; plus <s> and <s b> with a source."""
        b = u["buoyancy"]
        law = self.bound(b.ndim - 1, like=b)
        w = u[law.upward]
        v = tuple(u[name] for name in velocity_names(law.ndim))
        gain = value_of(law.source, D, t, like=b) - law.stratification * w
        work = sum((c * f for c, f in zip(v, law._lifted(b, D, t), strict=True)), -law.viscosity * dissipation(v, D))
        return {
            "mass": space_mean(gain, grid),
            "variance": space_mean(gain * b - law.diffusivity * dissipation((b,), D), grid),
            "kinetic_energy": space_mean(work, grid),
        }


def free_fall_units(rayleigh: float, prandtl: float) -> tuple[float, float]:
    """Viscosity (Ra / Pr)^(-1/2) and diffusivity (Ra Pr)^(-1/2) in units of the height and of the time of free fall through it.

    Raises:
        InputError: If one of the numbers is not positive.
    """
    ra, pr = check_positive(rayleigh, "free_fall_units rayleigh"), check_positive(prandtl, "free_fall_units prandtl")
    return math.sqrt(pr / ra), 1 / math.sqrt(ra * pr)
