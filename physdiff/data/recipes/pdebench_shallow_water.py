r"""Radial dam breaks of PDEBench (Takamoto et al., 2022): shallow water that is let go inside a circle.

$$h_t + \nabla\cdot(h u) = 0, \qquad (h u)_t + \nabla\cdot\big(h\,u\otimes u + \tfrac12 g h^2 I\big) = 0 \text{ on } [-2.5, 2.5]^2$$

with g = 1, h = 2 within a radius r and 1 outside, at rest; 128 x 128 points, 101 frames to t = 1, whatever arrives at the edge leaves. r ~ U(0.3,
0.7) and 1000 samples are from memory, not from the publication's text; its program has r = 0.5.
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
from physdiff.data.generate import marched
from physdiff.data.recipes.recipe import DataRecipe, check_at_least
from physdiff.data.stream import Tick
from physdiff.grids.boundary import Outflow
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.shallow_water import ShallowWater
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.reconstruction import MUSCL, mc
from physdiff.solvers.riemann import HLL

__all__ = ["PDEBenchShallowWater"]


@dataclass(frozen=True)
class PDEBenchShallowWater(DataRecipe):
    """Depth and momentum of a wave that runs outwards from a circle.

    Differences from the original: HLL fluxes with MUSCL (the same limiter, MC) and Runge-Kutta steps of order 3 instead of Roe's solver with
    limited waves; the momentum is kept too. As there, a cell is inside if its middle is.

    Args:
        resolution: Cells along each side.
        horizon: Last time.
        interval: Time between frames.
        inner: Depth inside the circle.
        outer: Depth outside.
        smallest: Radius.
        largest: Radius; at most 2.5.
    """

    resolution: int = 128
    horizon: float = 1.0
    interval: float = 0.01
    inner: float = 2.0
    outer: float = 1.0
    smallest: float = 0.3
    largest: float = 0.7

    names: ClassVar[tuple[str, ...]] = ("depth", "momentum_x", "momentum_y")

    def __post_init__(self) -> None:
        for name in ("horizon", "interval", "inner", "outer", "smallest", "largest"):
            check_positive(getattr(self, name), f"PDEBenchShallowWater {name}")
        if not self.smallest <= self.largest <= 2.5:
            raise InputError(f"PDEBenchShallowWater: expected smallest <= largest <= 2.5, got {self.smallest!r} and {self.largest!r}")
        check_at_least(self.resolution, 8, "PDEBenchShallowWater resolution")
        check_at_least(round(self.horizon / self.interval), 1, "PDEBenchShallowWater horizon over interval")

    @property
    def grid(self) -> CartesianGrid:
        """The square from -2.5 to 2.5."""
        return CartesianGrid((self.resolution, self.resolution), 5.0, -2.5, periodic=False, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to the horizon."""
        return self.interval * torch.arange(round(self.horizon / self.interval) + 1, dtype=torch.float64)

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `depth`, `momentum_x` and `momentum_y` (count, T, y, x)."""
        shares = [float(rng.child("radius", i).generator().random()) for i in range(start, start + count)]
        radius = self.smallest + (self.largest - self.smallest) * torch.tensor(shares, dtype=self.precision)[:, None, None]
        x, y = self.grid.coordinates()
        depth = torch.where(x**2 + y**2 <= radius**2, self.inner, self.outer).to(self.like)
        rest = torch.zeros_like(depth)
        stepper = FiniteVolume(ShallowWater(gravity=1.0), self.grid, reconstruction=MUSCL(mc), riemann=HLL(), boundary=Outflow())
        # water runs no faster than 2 sqrt(h) into what lies before it, plus its waves: three roots of the depth bound all speeds
        fastest = 3 * math.sqrt(max(self.inner, self.outer))
        substeps = math.ceil(self.interval * 2 * fastest * self.resolution / 5.0 / 0.8)
        return marched(stepper, {"depth": depth, "momentum_x": rest, "momentum_y": rest}, self.times, tick=tick, substeps=substeps)
