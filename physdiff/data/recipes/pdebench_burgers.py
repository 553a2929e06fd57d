r"""Burgers' equation of PDEBench (Takamoto et al., 2022).

$$u_t + u u_x = (\nu / \pi)\,u_{xx} \text{ on the periodic } [0, 1]$$

The published values of nu (which is pi times the viscosity) are 1, 2 and 4 times 0.001, 0.01, 0.1 and 1; 1024 points, 201 frames to t = 2, 10
000 samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.rng import Rng
from physdiff.data.generate import marched
from physdiff.data.recipes.recipe import DataRecipe, check_at_least
from physdiff.data.stream import Tick
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.sine_sum import SineSum

__all__ = ["PDEBenchBurgers"]


@dataclass(frozen=True)
class PDEBenchBurgers(DataRecipe):
    """Sums of sines that steepen to shocks and decay.

    Differences from the original: Fourier modes with the two-thirds rule and ETDRK4 on a grid `refine` times as fine, so that a shock of thickness
    4 viscosity / jump has points on it, instead of a second-order upwind scheme on the kept grid, which smears it; wave lengths divide the box unless
    `periodic_waves` is turned off; points at i / N; independent random numbers; the mean varies from sample to sample as there.

    Args:
        nu: Pi times the viscosity, as in the names of the published files.
        resolution: Points kept.
        horizon: Last time.
        interval: Time between frames.
        periodic_waves: Whether wave lengths divide the box.
        refine: Points solved on for each one kept; if 0 the least power of two with two points within viscosity times one unit of time and speed.
        step: Longest solver step; if 0, such that a speed of 4 crosses 0.8 points.
    """

    nu: float = 0.01
    resolution: int = 1024
    horizon: float = 2.0
    interval: float = 0.01
    periodic_waves: bool = True
    refine: int = 0
    step: float = 0.0

    names: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        for name in ("nu", "horizon", "interval"):
            check_positive(getattr(self, name), f"PDEBenchBurgers {name}")
        check_positive(self.step, "PDEBenchBurgers step", zero=True)
        check_at_least(self.refine, 0, "PDEBenchBurgers refine")
        check_at_least(self.resolution, 8, "PDEBenchBurgers resolution")
        check_at_least(round(self.horizon / self.interval), 1, "PDEBenchBurgers horizon over interval")

    @property
    def viscosity(self) -> float:
        """Nu over pi."""
        return self.nu / math.pi

    @property
    def grid(self) -> CartesianGrid:
        """The periodic unit interval."""
        return CartesianGrid(self.resolution, 1.0, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to the horizon."""
        return self.interval * torch.arange(round(self.horizon / self.interval) + 1, dtype=torch.float64)

    @property
    def factor(self) -> int:
        """Points solved on for each one kept."""
        return self.refine or 2 ** max(0, math.ceil(math.log2(2 / (self.resolution * self.viscosity))))

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Field `u` (count, T, x)."""
        initial = SineSum(periodic_waves=self.periodic_waves)
        fine = CartesianGrid(self.resolution * self.factor, 1.0, length_unit="1")
        stretch = initial.stretch(self.resolution)
        u = initial.draw(count, rng.child("u"), start=start).at(fine.axes()[0], stretch=stretch).to(self.like)
        step = self.step or 0.2 / fine.shape[0]
        stepper = ETDRK4(Burgers(self.viscosity), Spectral(fine))
        solved = marched(stepper, {"u": u}, self.times, tick=tick, substeps=math.ceil(self.interval / step - 1e-9))["u"]
        return {"u": solved[..., :: self.factor]}
