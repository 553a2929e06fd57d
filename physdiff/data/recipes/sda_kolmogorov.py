r"""Kolmogorov's flow of score-based data assimilation (Rozet and Louppe, 2023).

$$u_t + u\cdot\nabla u = -\nabla p + \tfrac{1}{Re}\Delta u + \sin(4y)\,e_x - 0.1\,u \text{ on the periodic } (2\pi)^2, \qquad Re = 1000$$

solved on 256 x 256 points and averaged over blocks of 4 x 4, a frame each 0.2, 128 frames of which the first 64 are dropped, 1024 chains. The
flow begins as noise filtered to waves around k = 4, with the largest speed 3.
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
from physdiff.data.recipes.recipe import DataRecipe, check_at_least, check_divides
from physdiff.data.stream import Tick
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.solvers.etdrk import ETDRK4

__all__ = ["SDAKolmogorov"]


@dataclass(frozen=True)
class SDAKolmogorov(DataRecipe):
    """Velocity of turbulence stirred by sin(4 y).

    Differences from the original: Fourier modes of the vorticity and ETDRK4 with a fixed step instead of finite volumes on a staggered grid with
    a Courant number of one half; both components are averages over the same blocks (there over blocks that are staggered by half a cell); the
    spectrum of the filter is log-normal in k around `peak` with a variance of 1/4: its shape is from memory of the library that the original calls,
    not from the publication's text, which does not print it. Statistics agree where the flow has forgotten its beginning; trajectories do not.

    Args:
        reynolds: Inverse viscosity.
        drag: Rate of linear drag.
        solved: Points solved on, along each side.
        resolution: Points kept, a divisor of `solved`.
        frames: Kept after `dropped` ones.
        dropped: Frames at the beginning that are thrown away.
        interval: Time between frames.
        step: Longest solver step.
    """

    reynolds: float = 1000.0
    drag: float = 0.1
    solved: int = 256
    resolution: int = 64
    frames: int = 64
    dropped: int = 64
    interval: float = 0.2
    step: float = 0.005

    names: ClassVar[tuple[str, ...]] = ("velocity_x", "velocity_y")
    precision: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        for name in ("reynolds", "interval", "step"):
            check_positive(getattr(self, name), f"SDAKolmogorov {name}")
        check_at_least(self.frames, 2, "SDAKolmogorov frames")
        check_at_least(self.dropped, 0, "SDAKolmogorov dropped")
        check_divides(self.resolution, self.solved, "SDAKolmogorov")

    @property
    def grid(self) -> CartesianGrid:
        """The periodic square of side 2 pi; a point stands in the middle of the block it is the mean of."""
        block = 2 * math.pi / self.solved * (self.solved // self.resolution - 1) / 2
        return CartesianGrid((self.resolution, self.resolution), 2 * math.pi, block, length_unit="1")

    @property
    def times(self) -> Tensor:
        """Of the frames kept."""
        return self.interval * (self.dropped + torch.arange(self.frames, dtype=torch.float64))

    @property
    def law(self) -> NavierStokes:
        """The curl of the force sin(4 y) along x is -4 cos(4 y)."""
        return NavierStokes(1 / self.reynolds, self.drag, KolmogorovForcing(4.0, 4.0))

    def initial(self, grid: CartesianGrid, n: int, rng: Rng, *, start: int = 0, peak: float = 4.0, speed: float = 3.0) -> Tensor:
        """Vorticity (n, y, x) of filtered noise whose largest speed is `speed`."""
        noise = rng.normal_each(range(start, start + n), grid.shape, like=self.like)
        ky, kx = (2 * math.pi * torch.fft.fftfreq(m, h, dtype=torch.float64) for m, h in zip(grid.shape, grid.spacing, strict=True))
        k = (kx[None] ** 2 + ky[:, None] ** 2).sqrt()
        k[0, 0] = 1.0
        density = torch.exp(-((torch.log(k) - math.log(peak) - 0.25) ** 2) / 0.5) / k**2  # log-normal with mode `peak`, over the circle's length
        density[0, 0] = 0.0
        half = grid.shape[-1] // 2 + 1
        omega = torch.fft.irfft2(torch.fft.rfft2(noise) * (k * density)[:, :half].to(noise), s=grid.shape)
        along_x, along_y = self.law.velocity({"vorticity": omega}, Spectral(grid))
        return speed * omega / (along_x**2 + along_y**2).amax((-2, -1), keepdim=True).sqrt()

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `velocity_x` and `velocity_y` (count, T, y, x), means over blocks."""
        fine = CartesianGrid((self.solved, self.solved), 2 * math.pi, length_unit="1")
        operators, block = Spectral(fine), self.solved // self.resolution
        omega = self.initial(fine, count, rng.child("vorticity"), start=start)
        substeps = math.ceil(self.interval / self.step - 1e-9)
        stepper = ETDRK4(self.law, operators)
        solved = marched(stepper, {"vorticity": omega}, self.times, tick=tick, substeps=substeps, spin_up=self.dropped * self.interval)["vorticity"]
        frames = [self.law.velocity({"vorticity": w}, operators) for w in solved.unbind(1)]
        shape = (count, self.frames, self.resolution, block, self.resolution, block)
        return {name: torch.stack([f[k] for f in frames], 1).reshape(shape).mean((3, 5)) for k, name in enumerate(self.names)}
