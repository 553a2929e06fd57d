r"""Lorenz's models of weather: sites on a circle of latitude (1996), and three modes of convection (1963).

$$\dot x_i = (x_{i+1} - x_{i-2})\,x_{i-1} - x_i + F \qquad\qquad
\dot x = \sigma(y - x),\quad \dot y = x(\rho - z) - y,\quad \dot z = xy - \beta z$$

Both live on a `Lattice`: `Lorenz96` has one field `state` on n sites (n = 40, a step of 0.05 standing for six hours), `Lorenz63` three fields on
a grid of one point: x the `motion`, y the `contrast` of rising and sinking air, z the `distortion` of the profile. (Not `x`: that is a coordinate in
files.) Advection does no work: $\tfrac{d}{dt}\tfrac12\langle x^2\rangle = -\langle x^2\rangle + F\langle x\rangle$, so that
$\langle x^2\rangle = F\langle x\rangle$ on average over time. With F = 8, n = 40 errors grow at the rate 1.69, with $\sigma = 10$, $\rho = 28$,
$\beta = 8/3$ at 0.906 per unit time; $\dot x$ of 1963 contracts volumes at $\sigma + 1 + \beta$.

Some codes count sites the other way, $(x_{i-1} - x_{i+2})x_{i+1}$: the same law with the order of sites reversed (`mirrored=True`), whose waves
travel the other way. Do not mix data of both. Lorenz, Deterministic nonperiodic flow, 1963; Predictability: a problem partly solved, 1996.
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

__all__ = ["Lorenz63", "Lorenz96"]


@dataclass(frozen=True, eq=False)
class Lorenz96(PDE):
    """Weather, the `state` at sites on a circle of latitude; for `Lattice(CartesianGrid(n, extent=n))` with n of at least 4.

    Args:
        forcing: F; chaos from about 4 on, 8 as a rule; a number or a Tensor () or (B,).
        mirrored: Whether sites count the other way round, (x_{i-1} - x_{i+2}) x_{i+1}.

    Raises:
        InputError: If the forcing is not finite, or there are fewer than 4 sites.
    """

    forcing: Parameter = 8.0
    mirrored: bool = False

    fields: ClassVar[tuple[str, ...]] = ("state",)

    def __post_init__(self) -> None:
        check_parameter(self.forcing, "Lorenz96 forcing")

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """On the attractor for F = 8."""
        return {"state": (2.3, 3.6)}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Advection, damping and forcing."""
        x = u["state"]
        if x.shape[-1] < 4:
            raise InputError(f"Lorenz96: expected at least 4 sites, whose neighbours differ, got {x.shape[-1]}")
        way = -1 if self.mirrored else 1
        return {"state": (D.shift(x, way) - D.shift(x, -2 * way)) * D.shift(x, -way) - x + self.forcing}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of half of x squared (`energy`)."""
        return {"energy": space_mean(u["state"] ** 2 / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Energy F <x> - <x^2>."""
        x = u["state"]
        law = self.bound(x.ndim - 1, like=x)
        return {"energy": space_mean(law.forcing * x - x**2, grid)}


@dataclass(frozen=True, eq=False)
class Lorenz63(PDE):
    r"""Three modes of convection, `motion`, `contrast` and `distortion` (x, y, z of the formula); for a grid of one point, ``CartesianGrid(1)``.

    On a grid of more points each point has a system of its own.

    Args:
        prandtl: sigma, above zero; a number or a Tensor () or (B,).
        rayleigh: rho, Rayleigh's number over its critical value, at least zero; likewise.
        aspect: beta, of the shape of the rolls, above zero; likewise.

    Raises:
        InputError: If a parameter has the wrong sign or is not finite.
    """

    prandtl: Parameter = 10.0
    rayleigh: Parameter = 28.0
    aspect: Parameter = 8 / 3

    fields: ClassVar[tuple[str, ...]] = ("motion", "contrast", "distortion")

    def __post_init__(self) -> None:
        check_parameter(self.prandtl, "Lorenz63 prandtl", sign=1)
        check_parameter(self.rayleigh, "Lorenz63 rayleigh", sign=-1)
        check_parameter(self.aspect, "Lorenz63 aspect", sign=1)

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """On the attractor of Lorenz's parameters."""
        return {"motion": (0.0, 8.0), "contrast": (0.0, 9.0), "distortion": (23.5, 8.6)}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """All of it."""
        x, y, z = (u[name] for name in self.fields)
        return {"motion": self.prandtl * (y - x), "contrast": x * (self.rayleigh - z) - y, "distortion": x * y - self.aspect * z}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of half of x^2 + y^2 + (z - rho)^2 (`energy`), which stays bounded (Lorenz, 1963, with the z axis moved)."""
        x, y, z = (u[name] for name in self.fields)
        law = self.bound(x.ndim - 1, like=x)
        return {"energy": space_mean((x**2 + y**2 + (z - law.rayleigh) ** 2) / 2, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Energy <sigma x (y - x) - y^2 - beta z (z - rho)>: the products of three drop out."""
        x, y, z = (u[name] for name in self.fields)
        law = self.bound(x.ndim - 1, like=x)
        rate = law.prandtl * x * (y - x) - y**2 - law.aspect * z * (z - law.rayleigh)
        return {"energy": space_mean(rate + torch.zeros_like(x), grid)}
