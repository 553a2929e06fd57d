r"""The Allen-Cahn equation: two phases, u = 1 and u = -1, and the walls between them.

$$\partial_t u = \kappa\,\Delta u + r\,(u - u^3)$$

It is the gradient flow of $E = \langle\tfrac{\kappa}{2}|\nabla u|^2 + \tfrac{r}{4}(1 - u^2)^2\rangle$, so that on a periodic box (and between
walls without flux) $\dot E = -\langle(\partial_t u)^2\rangle$; the mean is not kept, $\tfrac{d}{dt}\langle u\rangle = r\langle u - u^3\rangle$.
Values within [-1, 1] stay there. Walls are $\tanh(x\sqrt{r/2\kappa})$ and move by their curvature, a circle by
$R^2 = R_0^2 - 2(d-1)\kappa t$ where its wall is thin; the unstable u = 0 is invaded at the speed $3\sqrt{r\kappa/2}$ (`exact_waves.bistable_front`).
With $\kappa = 10^{-4}$, r = 5 and $x^2\cos\pi x$ on [-1, 1] it is the benchmark of physics-informed networks. Allen and Cahn, A microscopic
theory for antiphase boundary motion, 1979.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean
from physdiff.pdes.squared_slope import squared_slope

__all__ = ["AllenCahn"]


@dataclass(frozen=True, eq=False)
class AllenCahn(PDE):
    r"""Two phases of a scalar `u`, in one to three dimensions.

    A wall is $\sqrt{2\kappa/r}$ wide; a grid should have three points there. The boundary condition is that of the operators. The cubic term
    aliases beyond half of the shortest wave: where walls are hardly resolved, keep all waves with ``Spectral(grid, dealias=False)``.

    Args:
        diffusivity: At least zero, length squared per time; a number or a Tensor () or (B,).
        rate: Of growth from u = 0, at least zero, per time; a number or a Tensor () or (B,).

    Raises:
        InputError: If a parameter is negative or not finite.
    """

    diffusivity: Parameter
    rate: Parameter = 1.0

    fields: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_parameter(self.diffusivity, "AllenCahn diffusivity", sign=-1)
        check_parameter(self.rate, "AllenCahn rate", sign=-1)

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Diffusion. Growth is left to the rest, or waves that are cut from it would grow unchecked."""
        return {"u": self.diffusivity * D.lap(u["u"])}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Growth away from zero towards one of the phases."""
        return {"u": self.rate * (u["u"] - u["u"] ** 3)}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of u (`mass`) and, on a periodic box, the `energy` E of the module's docstring."""
        f = u["u"]
        law = self.bound(f.ndim - 1, like=f)
        out, slope = {"mass": space_mean(f, grid)}, squared_slope(f, grid)
        if slope is not None:
            out["energy"] = space_mean(law.diffusivity * slope / 2 + law.rate * (1 - f**2) ** 2 / 4, grid)
        return out

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass r <u - u^3>, energy -<(dt u)^2>."""
        law = self.bound(u["u"].ndim - 1, like=u["u"])
        return {"mass": space_mean(law.nonstiff(u, D, t)["u"], grid), "energy": -space_mean(law.rhs(u, D, t)["u"] ** 2, grid)}
