r"""Two fields that react and diffuse: the Gray-Scott and the FitzHugh-Nagumo laws of pattern formation, in one to three dimensions.

Gray-Scott: u is fed at the rate F and eaten by v, which breeds on it (U + 2V -> 3V) and is washed out and dies at the rate k,

$$\partial_t u = D_u\Delta u - u v^2 + F(1 - u), \qquad \partial_t v = D_v\Delta v + u v^2 - (F + k)\,v.$$

Values not below zero stay so; $\tfrac{d}{dt}\langle u + v\rangle = F(1 - \langle u + v\rangle) - k\langle v\rangle$ on a periodic box. With
$D_u = D_v$ and k = 0, u + v = 1 is kept and v is a front (`exact_waves.bistable_front` of rate 1 with roots 0 and $\tfrac12(1 \mp \sqrt{1 - 4F})$).
Gray and Scott, 1984; Pearson, Complex patterns in a simple system, 1993.

FitzHugh-Nagumo: u excites itself, v follows at the rate $\varepsilon$ and holds it back,

$$\partial_t u = D_u\Delta u + u - u^3 - v - k, \qquad \partial_t v = D_v\Delta v + \varepsilon\,(u - \gamma v).$$

Nothing is kept; the exchange between both drops out of $\tfrac12\langle\varepsilon u^2 + v^2\rangle$. For $\varepsilon = \gamma = 1$, k = 0.005 it is
the diffusion-reaction set of PDEBench (there between walls without flux). FitzHugh, 1961; Nagumo, Arimoto and Yoshizawa, 1962; Takamoto et al., 2022.
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

__all__ = ["FitzHughNagumo", "GrayScott"]


@dataclass(frozen=True, eq=False)
class GrayScott(PDE):
    """Spots and stripes of two concentrations, `u` (food) and `v` (eater); the defaults are Pearson's on a box of 2.5.

    Args:
        diffusivity: Of u and of v, at least zero, length squared per time; numbers or Tensors () or (B,).
        feed: F, at least zero, per time; a number or a Tensor () or (B,).
        kill: k, at least zero, per time; likewise.

    Raises:
        InputError: If a parameter is negative or not finite, or there are not two diffusivities.
    """

    diffusivity: tuple[Parameter, Parameter] = (2e-5, 1e-5)
    feed: Parameter = 0.04
    kill: Parameter = 0.06

    fields: ClassVar[tuple[str, ...]] = ("u", "v")
    positive: ClassVar[tuple[str, ...]] = ("u", "v")

    def __post_init__(self) -> None:
        _check_pair(self.diffusivity, "GrayScott diffusivity")
        check_parameter(self.feed, "GrayScott feed", sign=-1)
        check_parameter(self.kill, "GrayScott kill", sign=-1)

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """Food with eaters all over."""
        return {"u": (0.6, 0.2), "v": (0.25, 0.1)}

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Diffusion, and what is washed out or dies."""
        of_u, of_v = self.diffusivity
        return {"u": of_u * D.lap(u["u"]) - self.feed * u["u"], "v": of_v * D.lap(u["v"]) - (self.feed + self.kill) * u["v"]}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The reaction, and the feed."""
        eaten = u["u"] * u["v"] ** 2
        return {"u": self.feed - eaten, "v": eaten}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of u + v (`mass`) and of each (`food`, `eater`)."""
        food, eater = space_mean(u["u"], grid), space_mean(u["v"], grid)
        return {"mass": food + eater, "food": food, "eater": eater}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Food F (1 - <u>) - <u v^2>, eater <u v^2> - (F + k) <v>, mass their sum."""
        law = self.bound(u["u"].ndim - 1, like=u["u"])
        eaten = u["u"] * u["v"] ** 2
        food = space_mean(law.feed * (1 - u["u"]) - eaten, grid)
        eater = space_mean(eaten - (law.feed + law.kill) * u["v"], grid)
        return {"mass": food + eater, "food": food, "eater": eater}


@dataclass(frozen=True, eq=False)
class FitzHughNagumo(PDE):
    r"""Excitable waves of `u` (excited) and `v` (recovering); the defaults are those of PDEBench on [-1, 1] in both directions.

    Args:
        diffusivity: Of u and of v, at least zero, length squared per time; numbers or Tensors () or (B,).
        offset: k, the constant pull on u, per time; a number or a Tensor () or (B,).
        rate: $\varepsilon$, how fast v follows, at least zero, per time; likewise.
        decay: $\gamma$, of v as a share of its rate, at least zero; likewise.

    Raises:
        InputError: If a parameter has the wrong sign or is not finite, or there are not two diffusivities.
    """

    diffusivity: tuple[Parameter, Parameter] = (1e-3, 5e-3)
    offset: Parameter = 5e-3
    rate: Parameter = 1.0
    decay: Parameter = 1.0

    fields: ClassVar[tuple[str, ...]] = ("u", "v")

    def __post_init__(self) -> None:
        _check_pair(self.diffusivity, "FitzHughNagumo diffusivity")
        check_parameter(self.offset, "FitzHughNagumo offset")
        check_parameter(self.rate, "FitzHughNagumo rate", sign=-1)
        check_parameter(self.decay, "FitzHughNagumo decay", sign=-1)

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Diffusion, and decay of v."""
        of_u, of_v = self.diffusivity
        return {"u": of_u * D.lap(u["u"]), "v": of_v * D.lap(u["v"]) - self.rate * self.decay * u["v"]}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Excitation, and how both fields act on one another."""
        return {"u": u["u"] - u["u"] ** 3 - u["v"] - self.offset, "v": self.rate * u["u"]}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of u (`excited`), of v (`recovering`) and of half of rate u^2 + v^2 (`energy`)."""
        law = self.bound(u["u"].ndim - 1, like=u["u"])
        energy = (law.rate * u["u"] ** 2 + u["v"] ** 2) / 2
        return {"excited": space_mean(u["u"], grid), "recovering": space_mean(u["v"], grid), "energy": space_mean(energy, grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Excited <u - u^3 - v - k>, recovering rate <u - decay v>, energy without exchange: growth, decay and dissipation of each."""
        a, b = u["u"], u["v"]
        law = self.bound(a.ndim - 1, like=a)
        of_u, of_v = law.diffusivity
        loss_u, loss_v = (kappa * sum((s**2 for s in D.grad(f)), torch.zeros_like(f)) for kappa, f in ((of_u, a), (of_v, b)))
        energy = law.rate * (a**2 - a**4 - law.offset * a - loss_u - law.decay * b**2) - loss_v
        excited, recovering = a - a**3 - b - law.offset, law.rate * (a - law.decay * b)
        return {"excited": space_mean(excited, grid), "recovering": space_mean(recovering, grid), "energy": space_mean(energy, grid)}


def _check_pair(values: object, what: str) -> None:
    if not isinstance(values, tuple) or len(values) != 2:
        raise InputError(f"{what}: expected a tuple of two, of u and of v, got {values!r}")
    for name, value in zip("uv", values, strict=True):
        check_parameter(value, f"{what} of {name}", sign=-1)
