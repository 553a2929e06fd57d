r"""Incompressible flow of PDEBench (Takamoto et al., 2022): particles that a steady field of accelerations pushes, in a closed box.

$$u_t + (u\cdot\nabla)u = -\nabla p + \nu\Delta u + c\,f(x), \quad \nabla\cdot u = 0, \qquad c_t + u\cdot\nabla c = 0 \text{ on } [0, 1]^2$$

with u = 0 on the walls and $\nu = 0.01$. Velocity, particles c and acceleration f are smooth noise of standard deviation one (scale 0.4 and
smoothness 1; for f 0.15 and 3); 256 x 256 cells, 1000 frames 0.005 apart.
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
from physdiff.data.recipes.smooth_noise import smooth_noise
from physdiff.data.stream import Tick
from physdiff.grids.boundary import Dirichlet, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.solvers.staggered import StaggeredFlow

__all__ = ["PDEBenchIncompressible"]


@dataclass(frozen=True)
class PDEBenchIncompressible(DataRecipe):
    """Particles pushed by a steady field; `force_x` and `force_y` are the accelerations, kept at all frames.

    Differences from the original: velocities on faces carried with limited slopes, free of divergence to rounding (there conjugate gradients to
    1e-3), particles kept to rounding, Runge-Kutta steps of order three in place of 1e5 semi-Lagrangian ones of 5e-5. The box has side 1 as the
    original's settings say; a version of its script builds a box as long as it has cells, where nu would be that much smaller. Vectors are kept at
    centres. Noise is another one with other numbers of cells. Random numbers differ.

    Args:
        resolution: Cells along each side.
        frames: Number of frames, the initial one among them.
        interval: Time between frames.
        viscosity: nu.
        scale: Of the noise of velocity and particles.
        smoothness: Of the same.
        force_scale: Of the noise of the acceleration.
        force_smoothness: Of the same.
        step: Longest solver step; at most about 0.2 h^2 / nu.
    """

    resolution: int = 256
    frames: int = 1000
    interval: float = 0.005
    viscosity: float = 0.01
    scale: float = 0.4
    smoothness: float = 1.0
    force_scale: float = 0.15
    force_smoothness: float = 3.0
    step: float = 0.00025

    names: ClassVar[tuple[str, ...]] = ("particles", "velocity_x", "velocity_y", "force_x", "force_y")
    precision: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        for name in ("interval", "step", "scale", "force_scale"):
            check_positive(getattr(self, name), f"PDEBenchIncompressible {name}")
        for name in ("viscosity", "smoothness", "force_smoothness"):
            check_positive(getattr(self, name), f"PDEBenchIncompressible {name}", zero=True)
        check_at_least(self.resolution, 8, "PDEBenchIncompressible resolution")
        check_at_least(self.frames, 2, "PDEBenchIncompressible frames")

    @property
    def grid(self) -> CartesianGrid:
        """The unit square between walls."""
        return CartesianGrid((self.resolution, self.resolution), 1.0, periodic=False, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 on."""
        return self.interval * torch.arange(self.frames, dtype=torch.float64)

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `particles`, `velocity_x`, `velocity_y`, `force_x`, `force_y` (count, T, y, x)."""
        indices = range(start, start + count)

        def noise(name: str, scale: float, smoothness: float) -> Tensor:
            return smooth_noise(self.grid, indices, rng.child(name), scale=scale, smoothness=smoothness, like=self.like)

        push = [noise(f"force_{a}", self.force_scale, self.force_smoothness) for a in "xy"]
        law = BuoyantFlow(self.viscosity, 0.0, lift=tuple(_OnFaces(f, -1 - i) for i, f in enumerate(push)))
        still = {"velocity_x": Dirichlet(), "velocity_y": Dirichlet(), "buoyancy": Reflecting()}
        stepper = StaggeredFlow(law, self.grid, still, limited=True)
        names = (*self.names[1:3], "particles")
        u = dict(zip(law.fields, (noise(name, self.scale, self.smoothness) for name in names), strict=True))
        substeps = math.ceil(self.interval / self.step - 1e-9)
        solved = marched(stepper, stepper.from_centres(u), self.times, tick=tick, substeps=substeps)
        frames = [stepper.at_centres({name: f[:, k] for name, f in solved.items()}) for k in range(self.frames)]
        made = {name: torch.stack([f[name] for f in frames], 1) for name in law.fields}
        forces = {f"force_{a}": f[:, None].expand_as(solved["buoyancy"]) for a, f in zip("xy", push, strict=True)}
        return {"particles": made.pop("buoyancy"), **made, **forces}


class _OnFaces:
    """Values (B, *S) at centres, as a function that gives their means on the faces across one axis."""

    def __init__(self, values: Tensor, axis: int) -> None:
        n = values.shape[axis]
        inner = (values.narrow(axis, 1, n - 1) + values.narrow(axis, 0, n - 1)) / 2
        self._values = torch.cat([values.narrow(axis, 0, 1), inner, values.narrow(axis, n - 1, 1)], axis)

    def __call__(self, *coordinates_and_time: Tensor) -> Tensor:
        return self._values
