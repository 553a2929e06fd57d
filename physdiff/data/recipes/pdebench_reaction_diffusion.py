r"""Reaction and diffusion of PDEBench on a line (Takamoto et al., 2022): Fisher's law.

$$u_t = \nu u_{xx} + \rho u(1 - u) \text{ on the periodic } [0, 1], \qquad 0 \le u_0 \le 1$$

with nu of 0.5, 1, 2, 5 and rho of 1, 2, 5, 10. 1024 points, 101 frames to t = 1 and 10 000 samples are from memory, not from the publication's
text.
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
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.sine_sum import SineSum

__all__ = ["PDEBenchReactionDiffusion"]


@dataclass(frozen=True)
class PDEBenchReactionDiffusion(DataRecipe):
    """What grows and spreads, from absolute values of sums of sines with a maximum of one.

    Differences from the original: Fourier modes and ETDRK4 instead of a second-order scheme split into diffusion and an exact logistic step; wave
    lengths divide the box unless `periodic_waves` is turned off; points at i / N; independent random numbers.

    Args:
        nu: Diffusivity.
        rho: Rate of growth.
        resolution: Points.
        horizon: Last time.
        interval: Time between frames.
        periodic_waves: Whether wave lengths divide the box.
        step: Longest solver step.
    """

    nu: float = 0.5
    rho: float = 1.0
    resolution: int = 1024
    horizon: float = 1.0
    interval: float = 0.01
    periodic_waves: bool = True
    step: float = 1e-3

    names: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        for name in ("nu", "rho", "horizon", "interval", "step"):
            check_positive(getattr(self, name), f"PDEBenchReactionDiffusion {name}")
        check_at_least(self.resolution, 8, "PDEBenchReactionDiffusion resolution")
        check_at_least(round(self.horizon / self.interval), 1, "PDEBenchReactionDiffusion horizon over interval")

    @property
    def grid(self) -> CartesianGrid:
        """The periodic unit interval."""
        return CartesianGrid(self.resolution, 1.0, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to the horizon."""
        return self.interval * torch.arange(round(self.horizon / self.interval) + 1, dtype=torch.float64)

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Field `u` (count, T, x)."""
        drawn = SineSum(periodic_waves=self.periodic_waves).sample(self.grid, count, rng.child("u"), start=start, like=self.like).abs()
        initial = drawn / drawn.amax(-1, keepdim=True)
        stepper = ETDRK4(FisherKPP(self.nu, self.rho), Spectral(self.grid))
        return marched(stepper, {"u": initial}, self.times, tick=tick, substeps=math.ceil(self.interval / self.step - 1e-9))
