r"""Diffusion and reaction of PDEBench in the plane (Takamoto et al., 2022): FitzHugh and Nagumo's law between walls without flux.

$$u_t = D_u\Delta u + u - u^3 - k - v, \qquad v_t = D_v\Delta v + u - v \text{ on } [-1, 1]^2$$

with D_u = 1e-3, D_v = 5e-3, k = 5e-3, both fields white noise N(0, 1) at the start; 128 x 128 points, 101 frames to t = 5. (1000 samples:
from memory, not from the publication's text.)
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
from physdiff.data.recipes.mirror import doubled_grid, first_half, mirrored
from physdiff.data.recipes.recipe import DataRecipe, check_at_least
from physdiff.data.stream import Tick
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.reaction_diffusion import FitzHughNagumo
from physdiff.solvers.etdrk import ETDRK4

__all__ = ["PDEBenchDiffusionReaction"]


@dataclass(frozen=True)
class PDEBenchDiffusionReaction(DataRecipe):
    """Two fields that react and diffuse, from white noise.

    Differences from the original: cosines (Fourier modes of the mirrored box) and ETDRK4 instead of finite volumes and RK45. Products are formed
    at the points without the two-thirds rule, which would cut the initial noise; diffusion removes what is folded back. White noise depends on
    the resolution: with other points it is another problem.

    Args:
        resolution: Points along each side.
        horizon: Last time.
        interval: Time between frames.
        diffusivity_u: D_u.
        diffusivity_v: D_v.
        offset: k.
        step: Longest solver step.
    """

    resolution: int = 128
    horizon: float = 5.0
    interval: float = 0.05
    diffusivity_u: float = 1e-3
    diffusivity_v: float = 5e-3
    offset: float = 5e-3
    step: float = 0.005

    names: ClassVar[tuple[str, ...]] = ("u", "v")

    def __post_init__(self) -> None:
        for name in ("horizon", "interval", "step"):
            check_positive(getattr(self, name), f"PDEBenchDiffusionReaction {name}")
        check_at_least(self.resolution, 4, "PDEBenchDiffusionReaction resolution")
        check_at_least(round(self.horizon / self.interval), 1, "PDEBenchDiffusionReaction horizon over interval")

    @property
    def grid(self) -> CartesianGrid:
        """The square from -1 to 1 between walls."""
        return CartesianGrid((self.resolution, self.resolution), 2.0, -1.0, periodic=False, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to the horizon."""
        return self.interval * torch.arange(round(self.horizon / self.interval) + 1, dtype=torch.float64)

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `u` and `v` (count, T, y, x)."""
        law = FitzHughNagumo((self.diffusivity_u, self.diffusivity_v), self.offset)
        stepper = ETDRK4(law, Spectral(doubled_grid(self.grid), dealias=False))
        indices = range(start, start + count)
        initial = {n: mirrored(rng.child(n).normal_each(indices, self.grid.shape, like=self.like), 2) for n in self.names}
        solved = marched(stepper, initial, self.times, tick=tick, substeps=math.ceil(self.interval / self.step - 1e-9))
        return {name: first_half(v, 2) for name, v in solved.items()}
