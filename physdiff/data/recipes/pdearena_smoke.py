r"""Rising smoke of PDEArena (Gupta and Brandstetter, 2022): smoke that lifts the fluid of a closed box.

$$u_t + (u\cdot\nabla)u = -\nabla p + \nu\Delta u + B\,d\,e_y, \quad \nabla\cdot u = 0, \qquad d_t + u\cdot\nabla d = 0 \text{ on } [0, 32]^2$$

with u = 0 on the walls, $\nu = 0.01$ and B = 0.5, from rest and smoke that is the absolute value of smooth noise (scale 11, smoothness 6): 128 x 128
cells, 56 frames 1.5 apart after 8 that are thrown away. In the conditioned set B differs from sample to sample.
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
from physdiff.data.recipes.smooth_noise import smooth_noise
from physdiff.data.stream import Tick
from physdiff.grids.boundary import Dirichlet, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.solvers.staggered import StaggeredFlow

__all__ = ["PDEArenaSmoke"]


@dataclass(frozen=True)
class PDEArenaSmoke(DataRecipe):
    """Smoke that rises in a closed box; `lift` is B of the sample, the same everywhere.

    Differences from the original: velocities on faces carried with limited slopes, free of divergence to rounding, in steps of `step`, in place of
    one semi-Lagrangian step of 1.5 per frame, which crosses several cells and loses smoke; here the smoke in the box stays to rounding.
    Velocities are kept at centres (there on lower faces). Times are those since the start, 13.5 to 96; the original files say 18 to 102 for the
    same 56 frames. The range of B of the conditioned set is from memory, not from the publication's text. Random numbers differ.

    Args:
        resolution: Cells along each side.
        frames: Kept after `dropped` ones.
        dropped: Frames at the beginning that are thrown away.
        interval: Time between frames.
        viscosity: nu.
        lift_low: Least B.
        lift_high: Largest B; drawn uniformly in between.
        step: Longest solver step.
    """

    resolution: int = 128
    frames: int = 56
    dropped: int = 8
    interval: float = 1.5
    viscosity: float = 0.01
    lift_low: float = 0.5
    lift_high: float = 0.5
    step: float = 0.03

    names: ClassVar[tuple[str, ...]] = ("smoke", "velocity_x", "velocity_y", "lift")
    precision: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        for name in ("interval", "step"):
            check_positive(getattr(self, name), f"PDEArenaSmoke {name}")
        check_positive(self.viscosity, "PDEArenaSmoke viscosity", zero=True)
        check_at_least(self.resolution, 8, "PDEArenaSmoke resolution")
        check_at_least(self.frames, 2, "PDEArenaSmoke frames")
        check_at_least(self.dropped, 0, "PDEArenaSmoke dropped")
        if self.lift_high < self.lift_low:
            raise InputError(f"PDEArenaSmoke lift_high: expected at least lift_low = {self.lift_low:g}, got {self.lift_high:g}")

    @property
    def grid(self) -> CartesianGrid:
        """The square of side 32 between walls."""
        return CartesianGrid((self.resolution, self.resolution), 32.0, periodic=False, length_unit="1")

    @property
    def times(self) -> Tensor:
        """Of the frames kept, since the start: the first is the one after `dropped` frames."""
        return self.interval * (self.dropped + 1 + torch.arange(self.frames, dtype=torch.float64))

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `smoke`, `velocity_x`, `velocity_y` and `lift` (count, T, y, x)."""
        indices = range(start, start + count)
        shares = torch.stack([rng.child("lift", i).uniform(like=self.like.double()) for i in indices])
        lift = (self.lift_low + (self.lift_high - self.lift_low) * shares).to(self.like)
        still = {"velocity_x": Dirichlet(), "velocity_y": Dirichlet(), "buoyancy": Reflecting()}
        stepper = StaggeredFlow(BuoyantFlow(self.viscosity, 0.0, lift=lift), self.grid, still, limited=True)
        smoke = smooth_noise(self.grid, indices, rng.child("smoke"), scale=11.0, smoothness=6.0, like=self.like).abs()
        rest = {name: torch.zeros_like(smoke) for name in self.names[1:3]}
        substeps = math.ceil(self.interval / self.step - 1e-9)
        spin_up = float(self.times[0])
        solved = marched(stepper, {**rest, "buoyancy": smoke}, self.times, tick=tick, substeps=substeps, spin_up=spin_up)
        frames = [stepper.at_centres({name: f[:, k] for name, f in solved.items()}) for k in range(self.frames)]
        made = {name: torch.stack([f[name] for f in frames], 1) for name in stepper.pde.fields}
        return {"smoke": made.pop("buoyancy"), **made, "lift": lift.reshape(-1, 1, 1, 1).expand_as(solved["buoyancy"])}
