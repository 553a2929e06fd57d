r"""Burgers' equation of the Fourier neural operator (Li et al., 2021): two problems go by that name.

$$u_t + u u_x = \nu u_{xx} \text{ on the periodic } [0, 1], \qquad u_0 \sim N\big(0, \sigma^2(-\Delta + \tau^2)^{-\alpha}\big)$$

The paper has sigma = 25, tau = 5, alpha = 2, nu = 0.1, the map from t = 0 to t = 1, 8192 points; the program published with it sigma = 49, tau = 7,
alpha = 2.5, nu = 0.001, 1024 points, 200 intervals. Errors reported for one say nothing about the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.rng import Rng
from physdiff.data.generate import marched
from physdiff.data.recipes.recipe import DataRecipe, check_at_least, check_divides
from physdiff.data.stream import Tick
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.whittle import WhittleField

__all__ = ["FNOBurgers"]


@dataclass(frozen=True)
class FNOBurgers(DataRecipe):
    """Burgers' equation from Gaussian random fields; the defaults are the paper's.

    Differences from the originals: ETDRK4 with the two-thirds rule in float64 instead of a first-order exponential step of 1e-4; random numbers
    differ.

    Args:
        viscosity: nu.
        sigma: Scale of the initial field.
        tau: Inverse length of the initial field.
        alpha: Power of its covariance.
        solved: Points solved on.
        resolution: Points kept, a divisor of `solved`.
        intervals: Between frames, from 0 to 1.
        step: Longest solver step.
    """

    viscosity: float = 0.1
    sigma: float = 25.0
    tau: float = 5.0
    alpha: float = 2.0
    solved: int = 8192
    resolution: int = 8192
    intervals: int = 1
    step: float = 0.0025

    names: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        for name in ("viscosity", "sigma", "tau", "alpha", "step"):
            check_positive(getattr(self, name), f"FNOBurgers {name}")
        check_at_least(self.intervals, 1, "FNOBurgers intervals")
        check_divides(self.resolution, self.solved, "FNOBurgers")

    @property
    def grid(self) -> CartesianGrid:
        """The periodic unit interval."""
        return CartesianGrid(self.resolution, 1.0, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to 1."""
        return torch.linspace(0, 1, self.intervals + 1, dtype=torch.float64)

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Field `u` (count, T, x)."""
        fine = CartesianGrid(self.solved, 1.0, length_unit="1")
        initial = WhittleField(self.sigma, self.tau, self.alpha).sample(fine, count, rng.child("u"), start=start, like=self.like)
        stepper, substeps = ETDRK4(Burgers(self.viscosity), Spectral(fine)), max(1, round(1 / (self.intervals * self.step)))
        u = marched(stepper, {"u": initial}, self.times, tick=tick, substeps=substeps)["u"]
        return {"u": u[..., :: self.solved // self.resolution]}
