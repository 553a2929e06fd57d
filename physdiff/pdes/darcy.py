r"""Darcy: the pressure of a fluid that seeps steadily through a porous medium.

$$-\nabla\cdot(a\nabla p) = f$$

with the permeability (over the viscosity) a > 0 and sources f. There is no time in it. As a law of this package the medium is what would evolve
and does not ($\partial_t a = 0$), and the pressure is its diagnostic: it follows from a at each time, by the constraint
$-\nabla\cdot(a\nabla p) - f = 0$. So `constraints` is the residual of the steady equation, on grids as on points, and `residual` has it too.

What flows through the walls is what comes up inside, $\oint a\,\partial_n p = -\int f$, and with p = 0 at the walls the work is dissipated,
$\int a|\nabla p|^2 = \int f p$. Reference: Darcy, Les fontaines publiques de la ville de Dijon, 1856. Solver: `solve_darcy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE, Coefficient, check_parameter, value_of

__all__ = ["Darcy"]


@dataclass(frozen=True, eq=False)
class Darcy(PDE):
    """A `permeability` that stays and the `pressure` that goes with it.

    The derivatives of the operators are taken through jumps as if the fields were smooth: where the permeability is discontinuous, judge data by
    the balance of cells, ``TwoPointFlux.divergence``, not by this residual.

    Args:
        source: Volume that comes up per volume and time: a number, a Tensor () or (B,), or a function of (x, ..., t).

    Raises:
        InputError: If the source is not finite.
        ShapeError: If it is a Tensor of more than one axis.
    """

    source: Coefficient = 1.0

    fields: ClassVar[tuple[str, ...]] = ("permeability",)
    positive: ClassVar[tuple[str, ...]] = ("permeability",)
    diagnostics: ClassVar[tuple[str, ...]] = ("pressure",)

    def __post_init__(self) -> None:
        check_parameter(self.source, "Darcy source")

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """A medium through which something flows everywhere."""
        return {"permeability": (1.0, 0.5)}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Zero: the medium stays as it is."""
        return {"permeability": torch.zeros_like(u["permeability"])}

    def velocity(self, u: Fields, D: Operators) -> Vector:
        """Volume per area and time, -a grad p, components x, y, z."""
        return tuple(-u["permeability"] * g for g in D.grad(u["pressure"]))

    def constraints(self, u: Fields, D: Operators) -> Fields:
        """The residual of the steady equation, under the name of the pressure: -div(a grad p) - f."""
        law, p = self.bound(u["pressure"].ndim - 1, like=u["pressure"]), u["pressure"]
        # a source that is a function gets the time zero: the equation has none
        return {"pressure": D.div(law.velocity(u, D)) - value_of(law.source, D, 0.0, like=p)}
