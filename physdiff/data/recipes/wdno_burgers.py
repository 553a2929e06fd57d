r"""Controlled Burgers' equation of the wavelet diffusion neural operator (Hu et al., 2025).

$$u_t + u u_x = \nu u_{xx} + f(x, t) \text{ on } [0, 1],\; u = 0 \text{ at both ends},\; \nu = 0.01,\; 0 \le t \le 8$$

from two Gaussian bumps, one to the right and one to the left, under a force that is the sum of one bump in space and time and seven more, each
there with probability one half. The base set has 480 points and 320 frames after the first (40 000 samples to train, 8000 to test), the set of
higher resolution 1920 and 1280.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.generate import marched
from physdiff.data.recipes.mirror import doubled_grid, first_half, mirrored
from physdiff.data.recipes.recipe import DataRecipe, check_at_least
from physdiff.data.stream import Tick
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.solvers.bumps import Bump, GaussianBumps
from physdiff.solvers.etdrk import ETDRK4

__all__ = ["BumpForce", "WDNOBurgers"]

_LAYER = 0.02  # within which the first field falls to zero at a wall


@dataclass(frozen=True, eq=False)
class BumpForce:
    """A sum of bumps in space and time, 2 A exp(-(x - c)^2 / (2 w^2) - (t / T - d)^2 / (2 v^2)), odd about both ends of [0, 1].

    Args:
        bumps: A, c, w, d, v of each bump, (count, 8, 5).
        horizon: T.
    """

    bumps: Tensor
    horizon: float

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Values (count, *x's shape) at one time, or (count, T, x) for t of shape (T, 1)."""
        sign = torch.where(x > 1, -1.0, 1.0).to(x)
        place = torch.where(x > 1, 2 - x, x)
        moment = torch.as_tensor(t, dtype=x.dtype, device=x.device) / self.horizon
        tail = (1,) * max(x.ndim, moment.ndim)
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for bump in self.bumps.to(x).unbind(1):
            height, centre, width, when, span = (p.reshape(-1, *tail) for p in bump.unbind(-1))
            total = total + 2 * height * torch.exp(-((place - centre) ** 2) / (2 * width**2) - (moment - when) ** 2 / (2 * span**2))
        return total * sign


@dataclass(frozen=True)
class WDNOBurgers(DataRecipe):
    """Burgers' equation between walls where u = 0, with a random force; `force` is kept at the frames.

    Differences from the original: sines (Fourier modes of the odd continuation) and ETDRK4 instead of explicit Euler steps with nu dt / h^2 =
    0.48, at the edge of stability; the points are the middles of cells instead of inner nodes; the force varies smoothly in time where the
    original holds it from frame to frame; the bumps fall to zero at the walls within a layer of 0.02, where the original's first field jumps;
    random numbers differ. The force need not vanish at the walls, so its sine series converges slowly
    there: errors next to the walls fall with the second power of the spacing.

    Args:
        viscosity: nu.
        horizon: Last time.
        resolution: Points kept.
        intervals: Between frames.
        refine: Points solved on for each one kept, odd, so that kept points are points solved on.
        step: Longest solver step.
    """

    viscosity: float = 0.01
    horizon: float = 8.0
    resolution: int = 480
    intervals: int = 320
    refine: int = 1
    step: float = 5e-4

    names: ClassVar[tuple[str, ...]] = ("u", "force")

    def __post_init__(self) -> None:
        for name in ("viscosity", "horizon", "step"):
            check_positive(getattr(self, name), f"WDNOBurgers {name}")
        check_at_least(self.resolution, 8, "WDNOBurgers resolution")
        check_at_least(self.intervals, 1, "WDNOBurgers intervals")
        if self.refine < 1 or self.refine % 2 == 0:
            raise InputError(f"WDNOBurgers refine: expected an odd number, so that kept points are points solved on, got {self.refine}; take 3")

    @property
    def grid(self) -> CartesianGrid:
        """The unit interval between walls."""
        return CartesianGrid(self.resolution, 1.0, periodic=False, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to the horizon."""
        return torch.linspace(0, self.horizon, self.intervals + 1, dtype=torch.float64)

    def force(self, start: int, count: int, rng: Rng) -> BumpForce:
        """The forces of samples start, ..., start + count - 1."""
        rows = []
        for i in range(start, start + count):
            g = rng.child("force", i).generator()
            there = np.concatenate([[1.0], g.integers(0, 2, 7)])
            columns = (there * g.uniform(-1.5, 1.5, 8), g.random(8), g.uniform(0.1, 0.4, 8), g.random(8), g.uniform(0.1, 0.4, 8))
            rows.append(np.stack(columns, -1))
        return BumpForce(torch.from_numpy(np.stack(rows)), self.horizon)

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `u` and `force` (count, T, x)."""
        fine = CartesianGrid(self.resolution * self.refine, 1.0, periodic=False, length_unit="1")
        bumps = GaussianBumps((Bump((0.2, 0.4), (0.0, 2.0), (0.05, 0.15)), Bump((0.6, 0.8), (-2.0, 0.0), (0.05, 0.15))))
        force = self.force(start, count, rng)
        place = fine.axes()[0].to(self.like)
        held = torch.tanh(place / _LAYER) * torch.tanh((1 - place) / _LAYER)
        u = mirrored(held * bumps.sample(fine, count, rng.child("u"), start=start, like=self.like), 1, sign=-1.0)
        stepper = ETDRK4(Burgers(self.viscosity, force), Spectral(doubled_grid(fine)))
        substeps = math.ceil(self.horizon / self.intervals / self.step - 1e-9)
        solved = first_half(marched(stepper, {"u": u}, self.times, tick=tick, substeps=substeps)["u"], 1)
        x = self.grid.axes()[0]
        return {"u": solved[..., self.refine // 2 :: self.refine], "force": force(x[None], self.times[:, None])}
