r"""Burgers' equation, the law of steepening and viscosity: of a scalar, and of a velocity in the plane.

$$\partial_t u + \sum_i \partial_i \tfrac{u^2}{2} = \nu\,\Delta u + f, \qquad
\partial_t \mathbf u + (\mathbf u\cdot\nabla)\mathbf u = \nu\,\Delta\mathbf u + \mathbf f$$

In one dimension both are $u_t + u u_x = \nu u_{xx} + f$. In more the first, `Burgers`, is the scalar law with the same flux in every direction,
in conservation form; the second, `VectorBurgers`, is not conservative in general. Budgets of the scalar on a periodic box: $\langle u\rangle$ is
kept, $\tfrac{d}{dt}\tfrac12\langle u^2\rangle = -\nu\langle|\nabla u|^2\rangle$ (both plus the work of $f$); a shock of height $\Delta u$ takes
$\Delta u^3/12$ per time whatever the viscosity. Those of the velocity gain $\langle u_i\,\nabla\cdot\mathbf u\rangle$ and
$\tfrac12\langle|\mathbf u|^2\,\nabla\cdot\mathbf u\rangle$. Waves break at $t = -1/\min u_0'$ if $\nu = 0$, shocks move at $(u_l + u_r)/2$ and are
$4\nu/\Delta u$ wide. Ends: periodic, `Dirichlet` where it flows in, `Outflow` where it leaves. Exact solutions: exact_burgers.py and
`exact.cole_hopf_waves`, `exact.cole_hopf_sine`. Burgers, A mathematical model illustrating the theory of turbulence, 1948.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean, value_of

__all__ = ["Burgers", "VectorBurgers"]


@dataclass(frozen=True, eq=False)
class Burgers(PDE):
    """A scalar `u` that carries itself, in conservation form.

    Args:
        viscosity: At least zero, length squared per time; a number or a Tensor () or (B,).
        forcing: Function of (x, ..., t), per time; None for none.

    Raises:
        InputError: If the viscosity is negative or not finite.
    """

    viscosity: Parameter
    forcing: Callable[..., Tensor] | None = None

    fields: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_parameter(self.viscosity, "Burgers viscosity", sign=-1)

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Viscosity."""
        return {"u": self.viscosity * D.lap(u["u"])}

    def flux(self, u: Fields, D: Operators, t: float | Tensor) -> Mapping[str, Vector]:
        """Half the square of u, along every direction."""
        return {"u": (0.5 * u["u"] ** 2,) * D.ndim}

    def production(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The forcing."""
        zero = torch.zeros_like(u["u"])
        return {"u": zero if self.forcing is None else zero + value_of(self.forcing, D, t, like=zero)}

    def speeds(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """The size of u, along every direction."""
        return (u["u"].abs(),) * D.ndim

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of u (`mass`) and of u squared over two (`energy`)."""
        return {"mass": space_mean(u["u"], grid), "energy": space_mean(u["u"] ** 2 / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass <f>, energy -nu <|grad u|^2> + <u f>."""
        law = self.bound(u["u"].ndim - 1, like=u["u"])
        f = torch.zeros_like(u["u"])
        if law.forcing is not None:
            f = f + value_of(law.forcing, D, t, like=f)
        loss = law.viscosity * sum((slope**2 for slope in D.grad(u["u"])), torch.zeros_like(f))
        return {"mass": space_mean(f, grid), "energy": space_mean(u["u"] * f - loss, grid)}


@dataclass(frozen=True, eq=False)
class VectorBurgers(PDE):
    """A velocity (`velocity_x`, `velocity_y`) in the plane that carries itself, without pressure.

    Args:
        viscosity: At least zero, length squared per time; a number or a Tensor () or (B,).
        forcing: Accelerations along x and y as functions of (x, y, t); None for none.

    Raises:
        InputError: If the viscosity is negative or not finite, or the forcing has not two components.
    """

    viscosity: Parameter
    forcing: tuple[Callable[..., Tensor], Callable[..., Tensor]] | None = None

    fields: ClassVar[tuple[str, ...]] = ("velocity_x", "velocity_y")

    def __post_init__(self) -> None:
        check_parameter(self.viscosity, "VectorBurgers viscosity", sign=-1)
        if self.forcing is not None and not (isinstance(self.forcing, tuple) and len(self.forcing) == 2 and all(map(callable, self.forcing))):
            raise InputError(f"VectorBurgers forcing: expected two functions of (x, y, t), along x and along y, got {self.forcing!r}")

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Viscosity."""
        if D.ndim != 2:
            raise ShapeError(f"VectorBurgers: expected a plane, got operators of {D.ndim} dimensions; take Burgers on a line")
        return {name: self.viscosity * D.lap(u[name]) for name in self.fields}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Advection of the velocity by itself, and the forcing."""
        wind, force = self._wind(u), self._force(u, D, t)
        return {name: f - D.advect(wind, u[name]) for name, f in zip(self.fields, force, strict=True)}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of both components (`momentum_x`, `momentum_y`) and of half the square of the velocity (`energy`)."""
        a, b = self._wind(u)
        return {"momentum_x": space_mean(a, grid), "momentum_y": space_mean(b, grid), "energy": space_mean((a**2 + b**2) / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Momentum <u_i div u> + <f_i>, energy <|u|^2 div u> / 2 - nu <|grad u|^2> + <u . f>."""
        law = self.bound(u["velocity_x"].ndim - 1, like=u["velocity_x"])
        (a, b), (along_x, along_y) = law._wind(u), law._force(u, D, t)
        made = D.div((a, b))
        loss = law.viscosity * sum((slope**2 for f in (a, b) for slope in D.grad(f)), torch.zeros_like(a))
        return {
            "momentum_x": space_mean(a * made + along_x, grid),
            "momentum_y": space_mean(b * made + along_y, grid),
            "energy": space_mean((a**2 + b**2) * made / 2 - loss + a * along_x + b * along_y, grid),
        }

    def _wind(self, u: Fields) -> tuple[Tensor, Tensor]:
        return u["velocity_x"], u["velocity_y"]

    def _force(self, u: Fields, D: Operators, t: float | Tensor) -> tuple[Tensor, Tensor]:
        zero = torch.zeros_like(u["velocity_x"])
        if self.forcing is None:
            return zero, zero
        along_x, along_y = (zero + value_of(f, D, t, like=zero) for f in self.forcing)
        return along_x, along_y
