r"""Diffusion of a solute that the ground takes up, after Freundlich: fast where much is dissolved, slow where little is.

$$R(u)\,\partial_t u = D\,\Delta u, \qquad R(u) = 1 + \frac{1 - \phi}{\phi}\,\rho_s\,k_f\,n_f\,u^{n_f - 1}$$

with the dissolved concentration u, the porosity $\phi$, the density $\rho_s$ of the solid, and Freundlich's $k_f$, $n_f$. For $n_f < 1$ the
retardation R grows without bound where u falls to zero, so that fronts are sharp and nothing moves where nothing is dissolved; the law is
not written for u below zero, where its right-hand side is zero. On a periodic box and between walls without flux
$\langle u + \tfrac{1 - \phi}{\phi}\rho_s k_f u^{n_f}\rangle$, what is dissolved and what is bound, is kept. $n_f = 1$ is plain diffusion with D/R.

The defaults are those of the diffusion-sorption set of PDEBench (Takamoto et al., 2022) on [0, 1]: u = 1 at the lower end (`Dirichlet(1.0)`), and at
the upper one what arrives is washed away, $u + D\,\partial_n u = 0$ (`Robin(1.0, D)`). Limousin et al., Sorption isotherms, 2007.
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

__all__ = ["DiffusionSorption"]


@dataclass(frozen=True, eq=False)
class DiffusionSorption(PDE):
    r"""A dissolved concentration `u` in porous ground.

    Args:
        diffusivity: D, at least zero, length squared per time; a number or a Tensor () or (B,).
        porosity: phi, above 0 and at most 1; likewise.
        density: rho_s of the solid, at least zero, mass per volume; likewise.
        coefficient: k_f, at least zero, in units that make rho_s k_f u^n a concentration; likewise.
        exponent: n_f, above 0 and at most 1.

    Raises:
        InputError: If a parameter has the wrong sign, is not finite or is out of its bounds.
    """

    diffusivity: Parameter = 5e-4
    porosity: Parameter = 0.29
    density: Parameter = 2880.0
    coefficient: Parameter = 3.5e-4
    exponent: float = 0.874

    fields: ClassVar[tuple[str, ...]] = ("u",)
    positive: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        for name, sign in (("diffusivity", -1), ("porosity", 1), ("density", -1), ("coefficient", -1)):
            check_parameter(getattr(self, name), f"DiffusionSorption {name}", sign=sign)
        if bool((torch.as_tensor(self.porosity) > 1).any()):
            raise InputError(f"DiffusionSorption porosity: expected a share of the volume, at most 1, got {self.porosity!r}")
        if isinstance(self.exponent, bool) or not isinstance(self.exponent, int | float) or not 0 < self.exponent <= 1:
            raise InputError(f"DiffusionSorption exponent: expected a number above 0 and at most 1, got {self.exponent!r}")

    @property
    def _uptake(self) -> Parameter:
        """What is bound for one unit of u^n dissolved."""
        return (1 - self.porosity) / self.porosity * self.density * self.coefficient

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """A solution, half as strong as the one that PDEBench lets in."""
        return {"u": (0.5, 0.2)}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Diffusion, slowed by the retardation."""
        # not zero: the power's slope there is infinite; u^(1-n) is left of both parts of 1/R, which is then zero and not 0/0
        c = u["u"].clamp_min(torch.finfo(u["u"].dtype).tiny)
        free = c ** (1 - self.exponent)
        share = free / (free + self._uptake * self.exponent)
        share = torch.where(u["u"] > 0, share, torch.zeros_like(share))
        return {"u": self.diffusivity * share * D.lap(u["u"])}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of what is there (`total`) and of what of it is dissolved (`dissolved`)."""
        law = self.bound(u["u"].ndim - 1, like=u["u"])
        bound = law._uptake * u["u"].clamp_min(0) ** self.exponent
        return {"total": space_mean(u["u"] + bound, grid), "dissolved": space_mean(u["u"], grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Total zero; dissolved by what is bound."""
        dissolved = space_mean(self.rhs(u, D, t)["u"], grid)
        return {"total": torch.zeros_like(dissolved), "dissolved": dissolved}
