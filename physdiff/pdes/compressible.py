r"""Compressible flow of an ideal gas, without and with viscosity and conduction.

$$\partial_t\rho + \nabla\cdot(\rho u) = 0,\qquad
\partial_t(\rho u) + \nabla\cdot(\rho u\otimes u + pI) = \nabla\cdot\tau,\qquad
\partial_t E + \nabla\cdot((E + p)u) = \nabla\cdot(\tau u + \lambda\nabla T)$$

with $\tau = \eta(\nabla u + \nabla u^T - \tfrac23\nabla\cdot u\,I) + \zeta\,\nabla\cdot u\,I$ (the 2/3 of three dimensions in all), $p$ and $T$ as in
`ideal_gas`. On a periodic box mass, momentum and energy are kept, and the entropy grows by
$\langle\tau\!:\!\nabla u / T\rangle + \langle\lambda|\nabla T|^2/T^2\rangle$; without viscosity it grows at shocks only.
Exact solutions: `exact_compressible`, `exact_riemann`. Landau and Lifshitz, Fluid Mechanics, 1987.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.pdes.ideal_gas import IdealGas
from physdiff.pdes.pde import Parameter, check_parameter, space_mean

__all__ = ["CompressibleNavierStokes", "Euler"]


@dataclass(frozen=True, eq=False)
class Euler(IdealGas):
    """A gas without friction. Its shocks need `FiniteVolume`.

    Args:
        heat_ratio: gamma, above one; a number or a Tensor () or (B,).
        ndim: Number of directions.

    Raises:
        InputError: If the heat ratio is not above one, or ndim not 1, 2 or 3.
    """

    heat_ratio: Parameter = 1.4
    ndim: int = 1

    def __post_init__(self) -> None:
        self._check_gas()

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Zero for all, where the flow is smooth; entropy grows at shocks."""
        return {name: torch.zeros_like(value) for name, value in self.invariants(u, grid).items()}


@dataclass(frozen=True, eq=False)
class CompressibleNavierStokes(IdealGas):
    """A gas with friction and conduction of heat.

    Args:
        viscosity: eta, at least zero, mass per length and time; a number or a Tensor () or (B,).
        bulk_viscosity: zeta, at least zero, likewise.
        conductivity: lambda, at least zero, in units in which the gas constant is one; eta gamma / ((gamma - 1) Pr) for a Prandtl number Pr.
        heat_ratio: gamma, above one.
        ndim: Number of directions.

    Raises:
        InputError: If a coefficient is negative, the heat ratio is not above one, or ndim not 1, 2 or 3.
    """

    viscosity: Parameter
    bulk_viscosity: Parameter = 0.0
    conductivity: Parameter = 0.0
    heat_ratio: Parameter = 1.4
    ndim: int = 1

    def __post_init__(self) -> None:
        self._check_gas()
        for name in ("viscosity", "bulk_viscosity", "conductivity"):
            value = getattr(self, name)
            check_parameter(value, f"CompressibleNavierStokes {name}", sign=-1)
            if callable(value) and not isinstance(value, Tensor):
                raise InputError(f"CompressibleNavierStokes {name}: expected a number or a Tensor () or (B,), got a function")

    def production(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Divergence of the stress, and of its work and the heat flux."""
        velocity = self.velocity(u)
        stress = self._stress(velocity, D)[0]
        heat = D.grad(self.temperature(u))
        work = tuple(sum((s * v for s, v in zip(row, velocity, strict=True)), self.conductivity * q) for row, q in zip(stress, heat, strict=True))
        made = {f"momentum_{x}": D.div(row) for x, row in zip("xyz", stress, strict=False)}
        return {"density": torch.zeros_like(u["density"]), **made, "energy": D.div(work)}

    def _stress(self, velocity: tuple[Tensor, ...], D: Operators) -> tuple[tuple[tuple[Tensor, ...], ...], tuple[tuple[Tensor, ...], ...]]:
        """The stress and the gradient of the velocity, both [i][j] with the derivative of component i along j."""
        slopes = tuple(D.grad(v) for v in velocity)
        growth = sum((slopes[i][i] for i in range(1, self.ndim)), slopes[0][0])
        swelling = (self.bulk_viscosity - 2 / 3 * self.viscosity) * growth
        rows = range(self.ndim)
        shear = [[self.viscosity * (slopes[i][j] + slopes[j][i]) for j in rows] for i in rows]
        return tuple(tuple(shear[i][j] + swelling if i == j else shear[i][j] for j in rows) for i in rows), slopes

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Zero but for the entropy, which viscosity and conduction make."""
        law, f = self._at(u["density"]), u["density"]
        stress, slopes = law._stress(law.velocity(u), D)
        temperature = law.temperature(u)
        heating = sum((s * g for row, slope in zip(stress, slopes, strict=True) for s, g in zip(row, slope, strict=True)), torch.zeros_like(f))
        spread = law.conductivity * sum((q**2 for q in D.grad(temperature)), torch.zeros_like(f))
        made = space_mean(heating / temperature + spread / temperature**2, grid)
        return {name: made if name == "entropy" else torch.zeros_like(value) for name, value in self.invariants(u, grid).items()}
