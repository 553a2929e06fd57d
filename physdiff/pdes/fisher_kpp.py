r"""The Fisher-KPP equation: what grows, spreads and fills its room.

$$\partial_t u = \kappa\,\Delta u + r\,u(1 - u)$$

u = 0 is unstable and is invaded by u = 1, in the end at the speed $2\sqrt{r\kappa}$; the front of speed $5\sqrt{r\kappa/6}$ is known exactly
(`exact_waves.fisher_front`), and so is the growth where nothing varies in space (`exact_waves.logistic`). Values within [0, 1] stay there; below
zero they run away. It is the gradient flow of $E = \langle\tfrac\kappa2|\nabla u|^2 - r(\tfrac12u^2 - \tfrac13u^3)\rangle$: on a periodic box,
and between walls without flux, $\dot E = -\langle(\partial_t u)^2\rangle$, and $\tfrac{d}{dt}\langle u\rangle = r\langle u(1 - u)\rangle$.
Periodic on a line it is the reaction-diffusion set of PDEBench (Takamoto et al., 2022). Fisher, The wave of
advance of advantageous genes, 1937; Kolmogorov, Petrovsky and Piskunov, 1937.
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

__all__ = ["FisherKPP"]


@dataclass(frozen=True, eq=False)
class FisherKPP(PDE):
    r"""Growth of a share `u` up to one, in one to three dimensions; the boundary condition is that of the operators.

    Args:
        diffusivity: kappa, at least zero, length squared per time; a number or a Tensor () or (B,).
        rate: r, at least zero, per time; likewise.

    Raises:
        InputError: If a parameter is negative or not finite.
    """

    diffusivity: Parameter
    rate: Parameter = 1.0

    fields: ClassVar[tuple[str, ...]] = ("u",)
    positive: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        check_parameter(self.diffusivity, "FisherKPP diffusivity", sign=-1)
        check_parameter(self.rate, "FisherKPP rate", sign=-1)

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """A share that still grows."""
        return {"u": (0.3, 0.2)}

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Diffusion. Growth is left to the rest, or waves that are cut from it would grow unchecked."""
        return {"u": self.diffusivity * D.lap(u["u"])}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Logistic growth."""
        return {"u": self.rate * u["u"] * (1 - u["u"])}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of u (`mass`) and, on a periodic box, the `energy` E of the module's docstring."""
        f = u["u"]
        law = self.bound(f.ndim - 1, like=f)
        out, slope = {"mass": space_mean(f, grid)}, squared_slope(f, grid)
        if slope is not None:
            out["energy"] = space_mean(law.diffusivity * slope / 2 - law.rate * (f**2 / 2 - f**3 / 3), grid)
        return out

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass r <u (1 - u)>, energy -<(dt u)^2>."""
        law = self.bound(u["u"].ndim - 1, like=u["u"])
        return {"mass": space_mean(law.nonstiff(u, D, t)["u"], grid), "energy": -space_mean(law.rhs(u, D, t)["u"] ** 2, grid)}
