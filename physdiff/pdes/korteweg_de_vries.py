r"""The Korteweg-de Vries equation: waves that steepen and disperse, and the solitons in between.

$$\partial_t u + a\,u\,\partial_x u + b\,\partial_x^3 u = 0$$

On a periodic line $\langle u\rangle$ (mass), $\tfrac12\langle u^2\rangle$ (momentum) and $\langle\tfrac{a}{6}u^3 - \tfrac{b}{2}u_x^2\rangle$ (energy)
are kept. Solitons are $\tfrac{3c}{a}\operatorname{sech}^2\!\big(\tfrac12\sqrt{c/b}\,(x - ct)\big)$, periodic waves their sums
(`exact_waves.korteweg_soliton`, `exact_waves.cnoidal_wave`). Usual forms are a = 6, b = 1, and a = 1, b = 0.022^2 from $\cos\pi x$ on
[-1, 1] (Zabusky and Kruskal, Interaction of "solitons" in a collisionless plasma and the recurrence of initial states, 1965). Korteweg and
de Vries, 1895.
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
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean
from physdiff.pdes.squared_slope import squared_slope

__all__ = ["KortewegDeVries"]


@dataclass(frozen=True, eq=False)
class KortewegDeVries(PDE):
    """Weakly nonlinear dispersive waves of a scalar `u` on a line; the boundary condition is that of the operators.

    Args:
        nonlinearity: a, per time and unit of u times length; a number or a Tensor () or (B,).
        dispersion: b, length cubed per time; likewise.

    Raises:
        InputError: If a parameter is not finite, or the operators have more than one dimension.
    """

    nonlinearity: Parameter = 6.0
    dispersion: Parameter = 1.0

    fields: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_parameter(self.nonlinearity, "KortewegDeVries nonlinearity")
        check_parameter(self.dispersion, "KortewegDeVries dispersion")

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Dispersion."""
        if D.ndim != 1:
            raise InputError(f"KortewegDeVries: expected a line, got operators of {D.ndim} dimensions; give the grid one size")
        return {"u": -self.dispersion * D.lap(D.grad(u["u"])[0])}

    def flux(self, u: Fields, D: Operators, t: float | Tensor) -> Mapping[str, Vector]:
        """Half of a u squared; dispersion, which is stiff, apart."""
        return {"u": (0.5 * self.nonlinearity * u["u"] ** 2,)}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of u (`mass`), of half its square (`momentum`) and, on a periodic line, the `energy` of the module's docstring."""
        f = u["u"]
        law = self.bound(f.ndim - 1, like=f)
        out, slope = {"mass": space_mean(f, grid), "momentum": space_mean(f**2 / 2, grid)}, squared_slope(f, grid)
        if slope is not None:
            out["energy"] = space_mean(law.nonlinearity * f**3 / 6 - law.dispersion * slope / 2, grid)
        return out

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Zero: all three are kept."""
        nothing = torch.zeros_like(space_mean(u["u"], grid))
        return {"mass": nothing, "momentum": nothing, "energy": nothing}
