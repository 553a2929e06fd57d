r"""Advection with adsorption: gas chromatography and other flows through a packed column, mobile and bound.

$$\partial_t c + \partial_x(v c) = \kappa\,\partial_x^2 c - \beta\,\partial_t q, \qquad
\partial_t q = k_a\,c\,(1 - q/q_m) - k_d\,q$$

with the mobile concentration c, the bound one q (each per volume of its phase), $\beta$ the volume of the solid over that of the void, rates of
adsorption and desorption $k_a$ and $k_d$, and a capacity $q_m$ (Thomas, 1944; infinite for dilute mixtures, whose components then do not know of
each other). In more than one dimension $\partial_x$ is the divergence.

$\langle c + \beta q\rangle$, the inventory, is kept on a periodic column, and else changes by what flows in and out. An inlet that feeds $v c_{in}$
is `Robin(v, kappa, v * c_in)` at the lower end, `Dirichlet(c_in)` if $\kappa = 0$; the outlet is `Outflow`. What is in equilibrium,
$q = (k_a/k_d)c$, moves at $v/(1 + \beta k_a/k_d)$. Exact solutions: exact_adsorption.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE, Coefficient, Parameter, check_parameter, space_mean, value_of

__all__ = ["AdvectionAdsorption"]


@dataclass(frozen=True, eq=False)
class AdvectionAdsorption(PDE):
    """A mobile concentration `c` that is carried, spread and bound, and the bound one `q` that stays where it is.

    Args:
        velocity: Components x, y, z of the mobile phase, length per time: numbers, Tensors () or (B,), or functions of (x, ..., t).
        adsorption: k_a, at least zero, per time (and concentration over concentration); a number or a Tensor () or (B,).
        desorption: k_d, at least zero, per time; likewise.
        ratio: beta, solid over void volume, at least zero; likewise.
        diffusivity: kappa of the mobile phase, at least zero, length squared per time; likewise.
        capacity: q_m, above zero, in units of q; None for as much as comes.

    Raises:
        InputError: If a parameter has the wrong sign or is not finite, or the velocity is no tuple of components.
    """

    velocity: tuple[Coefficient, ...]
    adsorption: Parameter
    desorption: Parameter
    ratio: Parameter = 1.0
    diffusivity: Parameter = 0.0
    capacity: Parameter | None = None

    fields: ClassVar[tuple[str, ...]] = ("c", "q")

    def __post_init__(self) -> None:
        if not isinstance(self.velocity, tuple) or not 1 <= len(self.velocity) <= 3:
            raise InputError(f"AdvectionAdsorption velocity: expected a tuple of 1 to 3 components (x, y, z order), got {self.velocity!r}")
        for name, v in zip("xyz", self.velocity, strict=False):
            check_parameter(v, f"AdvectionAdsorption velocity along {name}")
        for name in ("adsorption", "desorption", "ratio", "diffusivity"):
            check_parameter(getattr(self, name), f"AdvectionAdsorption {name}", sign=-1)
        if self.capacity is not None:
            check_parameter(self.capacity, "AdvectionAdsorption capacity", sign=1)

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Diffusion of the mobile phase. The exchange stays in one piece, so that what one phase loses the other gets, to rounding."""
        if len(self.velocity) != D.ndim:
            raise ShapeError(f"AdvectionAdsorption velocity: expected {D.ndim} components, as many as there are directions, got {len(self.velocity)}")
        return {"c": self.diffusivity * D.lap(u["c"]), "q": torch.zeros_like(u["q"])}

    def flux(self, u: Fields, D: Operators, t: float | Tensor) -> Mapping[str, Vector]:
        """The velocity times c; none for q."""
        c, still = u["c"], torch.zeros_like(u["q"])
        return {"c": tuple(value_of(v, D, t, like=c) * c for v in self.velocity), "q": (still,) * len(self.velocity)}

    def production(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """What is bound and freed."""
        c, q = u["c"], u["q"]
        free = c if self.capacity is None else c * (1 - q / self.capacity)
        bound = self.adsorption * free - self.desorption * q
        return {"c": -self.ratio * bound, "q": bound}

    def speeds(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """The size of the velocity along each direction."""
        return tuple((torch.zeros_like(u["c"]) + value_of(v, D, t, like=u["c"])).abs() for v in self.velocity)

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of c + beta q (`inventory`), of c (`mobile`) and of q (`bound`)."""
        law = self.bound(u["c"].ndim - 1, like=u["c"])
        mean = {"mobile": space_mean(u["c"], grid), "bound": space_mean(u["q"], grid)}
        return {"inventory": space_mean(u["c"] + law.ratio * u["q"], grid), **mean}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Inventory zero; mobile and bound by their exchange."""
        law = self.bound(u["c"].ndim - 1, like=u["c"])
        gain = {name: space_mean(value, grid) for name, value in law.production(u, D, t).items()}
        return {"inventory": torch.zeros_like(gain["c"]), "mobile": gain["c"], "bound": gain["q"]}
