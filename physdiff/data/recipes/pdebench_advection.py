r"""Advection of PDEBench (Takamoto et al., 2022): sums of sines carried at one speed.

$$u_t + \beta u_x = 0 \text{ on the periodic } [0, 1], \qquad u(x, t) = u_0(x - \beta t)$$

The published speeds are 0.1, 0.2, 0.4, 1, 2, 4 and 7; 1024 points, 201 frames to t = 2, 10 000 samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.recipe import DataRecipe, check_at_least
from physdiff.data.stream import Tick
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.sine_sum import SineSum

__all__ = ["PDEBenchAdvection"]


@dataclass(frozen=True)
class PDEBenchAdvection(DataRecipe):
    """A sum of sines carried at the speed `velocity`.

    Differences from the original: the exact solution at the points instead of a second-order upwind scheme, which flattens peaks; wave lengths
    divide the box (the original's miss it by one cell in 1024, so that its fields jump where the axis closes), unless `periodic_waves` is turned
    off; the points stand at i / N instead of the middles of cells; every random number is drawn independently (the original uses one key for
    several draws). As there, modes that are not drawn stay in the sum as constants, so the mean varies from sample to sample.

    Args:
        velocity: beta.
        resolution: Points.
        horizon: Last time.
        interval: Time between frames.
        periodic_waves: Whether wave lengths divide the box.
    """

    velocity: float = 0.4
    resolution: int = 1024
    horizon: float = 2.0
    interval: float = 0.01
    periodic_waves: bool = True

    names: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        if not math.isfinite(self.velocity):
            raise InputError(f"PDEBenchAdvection velocity: expected a finite number, got {self.velocity!r}")
        for name in ("horizon", "interval"):
            check_positive(getattr(self, name), f"PDEBenchAdvection {name}")
        check_at_least(self.resolution, 2, "PDEBenchAdvection resolution")
        check_at_least(round(self.horizon / self.interval), 1, "PDEBenchAdvection horizon over interval")

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
        initial = SineSum(periodic_waves=self.periodic_waves)
        x = self.grid.axes()[0]
        origin = torch.remainder(x[None, None] - self.velocity * self.times[None, :, None], 1.0)
        u = initial.draw(count, rng.child("u"), start=start).at(origin, stretch=initial.stretch(self.resolution))
        tick(count * self.times.numel())
        return {"u": u}
