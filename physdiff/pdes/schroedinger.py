r"""The nonlinear Schroedinger equation: the envelope of a packet of waves that focuses or spreads itself.

$$i\,\partial_t h + d\,\Delta h + g\,|h|^2 h = 0, \qquad h = a + ib$$

as two real fields, $\partial_t a = -(d\,\Delta b + g|h|^2b)$ and $\partial_t b = d\,\Delta a + g|h|^2a$. Dispersion mixes them, so all of it is
nonstiff: `RungeKutta` advances it with steps below $2.8/(d k_{max}^2)$, where the two-thirds rule cuts $k_{max}$.

On a periodic box $\langle|h|^2\rangle$ (mass), $\langle d|\nabla h|^2 - \tfrac g2|h|^4\rangle$ (energy) and $\langle a\nabla b - b\nabla a\rangle$
(momentum) are kept. g > 0 focuses: solitons in one dimension (`exact_waves.schroedinger_soliton`, `schroedinger_breather`), collapse in more.
With d = 1/2, g = 1 and $2\operatorname{sech}x$ on [-5, 5] it is a benchmark of physics-informed networks (Raissi et al., 2019). Zakharov and
Shabat, 1972.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean
from physdiff.pdes.squared_slope import squared_slope

__all__ = ["NonlinearSchroedinger"]


@dataclass(frozen=True, eq=False)
class NonlinearSchroedinger(PDE):
    """The envelope of a wave packet, `real` and `imaginary`, in one to three dimensions; the boundary condition is that of the operators.

    Args:
        dispersion: d, length squared per time; a number or a Tensor () or (B,).
        nonlinearity: g, per time and square of the field's unit; above zero it focuses (with d > 0); likewise.

    Raises:
        InputError: If a parameter is not finite.
    """

    dispersion: Parameter = 0.5
    nonlinearity: Parameter = 1.0

    fields: ClassVar[tuple[str, ...]] = ("real", "imaginary")

    def __post_init__(self) -> None:
        check_parameter(self.dispersion, "NonlinearSchroedinger dispersion")
        check_parameter(self.nonlinearity, "NonlinearSchroedinger nonlinearity")

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """All of it: dispersion and self-focusing."""
        a, b = u["real"], u["imaginary"]
        turn = self.nonlinearity * (a**2 + b**2)
        return {"real": -(self.dispersion * D.lap(b) + turn * b), "imaginary": self.dispersion * D.lap(a) + turn * a}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of |h|^2 (`mass`) and, on a periodic box, the `energy` of the module's docstring."""
        a, b = u["real"], u["imaginary"]
        law = self.bound(a.ndim - 1, like=a)
        square, of_a, of_b = a**2 + b**2, squared_slope(a, grid), squared_slope(b, grid)
        out = {"mass": space_mean(square, grid)}
        if of_a is not None and of_b is not None:
            out["energy"] = space_mean(law.dispersion * (of_a + of_b) - law.nonlinearity * square**2 / 2, grid)
        return out

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Zero: both are kept."""
        nothing = torch.zeros_like(space_mean(u["real"], grid))
        return {"mass": nothing, "energy": nothing}
