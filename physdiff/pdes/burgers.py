r"""Burgers' equation, the scalar law of steepening and viscosity.

$$\partial_t u + \sum_i \partial_i \tfrac{u^2}{2} = \nu\,\Delta u + f$$

In one dimension this is $u_t + u u_x = \nu u_{xx} + f$ in conservation form; in more dimensions it is the scalar law with the same flux in
every direction. Budgets on a periodic box: $\langle u\rangle$ is kept, $\tfrac{d}{dt}\tfrac12\langle u^2\rangle = -\nu\langle|\nabla u|^2\rangle$
(both plus the work of $f$). Waves break at $t = -1/\min u_0'$ if $\nu = 0$. Burgers, A mathematical model illustrating the theory of
turbulence, 1948.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean, value_of

__all__ = ["Burgers"]


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
