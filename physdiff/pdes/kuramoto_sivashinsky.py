r"""The Kuramoto-Sivashinsky equation: long waves grow, short ones are damped, steepening hands energy from the former to the latter; chaos.

$$\partial_t u + a\,u\,\partial_x u + g\,\partial_x^2 u + d\,\partial_x^4 u = 0$$

on a line, or for the potential $\phi$ with $u = \partial_x\phi$, in any dimension,

$$\partial_t\phi + \tfrac{a}{2}|\nabla\phi|^2 + g\,\Delta\phi + d\,\Delta^2\phi = 0.$$

Waves with $0 < k < \sqrt{g/d}$ grow, fastest at $k = \sqrt{g/2d}$ with the rate $g^2/4d$. Budgets on a periodic box: $\langle u\rangle$ is kept,
$\tfrac{d}{dt}\tfrac12\langle u^2\rangle = g\langle u_x^2\rangle - d\langle u_{xx}^2\rangle$. With a = g = d = 1 on L = 22 the largest Lyapunov
exponent is 0.047 and the root mean square of u 1.185. A shock that travels is known in closed form (`exact_waves.kuramoto_shock`). Kuramoto, 1978;
Sivashinsky, 1977; Kassam and Trefethen, Fourth-order time-stepping for stiff PDEs, 2005.
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
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean

__all__ = ["KuramotoSivashinsky"]


@dataclass(frozen=True, eq=False)
class KuramotoSivashinsky(PDE):
    r"""Spatio-temporal chaos of a scalar `u`; the boundary condition is that of the operators.

    The grid must resolve the waves that grow: those which the two-thirds rule cuts feel the linear part alone, and would grow without end if
    their wave number were below $\sqrt{g/d}$.

    Args:
        nonlinearity: a, per time and unit of u times length (of the potential: length squared); a number or a Tensor () or (B,).
        growth: g, at least zero, length squared per time; likewise.
        damping: d, above zero, length to the fourth per time; likewise.
        potential: Whether `u` is the potential phi, in any dimension; if not, the derivative of it on a line.

    Raises:
        InputError: If a parameter has the wrong sign or is not finite, or the derivative form meets more than one dimension.
    """

    nonlinearity: Parameter = 1.0
    growth: Parameter = 1.0
    damping: Parameter = 1.0
    potential: bool = False

    fields: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_parameter(self.nonlinearity, "KuramotoSivashinsky nonlinearity")
        check_parameter(self.growth, "KuramotoSivashinsky growth", sign=-1)
        check_parameter(self.damping, "KuramotoSivashinsky damping", sign=1)

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Growth of long waves and damping of short ones."""
        bend = D.lap(u["u"])
        return {"u": -self.growth * bend - self.damping * D.lap(bend)}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Steepening: minus the derivative of a u^2 / 2, or minus a |grad phi|^2 / 2."""
        f = u["u"]
        if self.potential:
            return {"u": -0.5 * self.nonlinearity * _square(D, f)}
        if D.ndim != 1:
            raise InputError(f"KuramotoSivashinsky: expected a line, got operators of {D.ndim} dimensions; in more than one say potential=True")
        return {"u": -D.div((0.5 * self.nonlinearity * f**2,))}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of u (`mass`) and of half its square (`energy`); of phi if it is the potential."""
        return {"mass": space_mean(u["u"], grid), "energy": space_mean(u["u"] ** 2 / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass zero, energy g <|grad u|^2> - d <(lap u)^2>; the potential loses a <|grad phi|^2> / 2 and a <phi |grad phi|^2> / 2 besides."""
        f = u["u"]
        law = self.bound(f.ndim - 1, like=f)
        square = _square(D, f)
        work = law.growth * square - law.damping * D.lap(f) ** 2
        lost = 0.5 * law.nonlinearity * square if law.potential else torch.zeros_like(f)
        return {"mass": -space_mean(lost, grid), "energy": space_mean(work - f * lost, grid)}


def _square(D: Operators, f: Tensor) -> Tensor:
    """The squared slope of f."""
    return sum((slope**2 for slope in D.grad(f)), torch.zeros_like(f))
