r"""Compressible flow of PDEBench in the plane (Takamoto et al., 2022): random periodic flows, and turbulence that decays.

The equations of `CompressibleNavierStokes` on the unit square, periodic, $\gamma = \tfrac53$, without conduction, 21 frames to t = 1. Random flows:

$$\rho = \rho_0(1 + a_\rho s_1),\quad T = T_0(1 + a_T s_2),\quad u = M\sqrt{\gamma T_0}\,(s_3, s_4), \qquad
s \propto \sum_{|k_x|, |k_y| \le 4} |k|^{-1/2} \cos(2\pi k\cdot x + \varphi_k)$$

with sums s that reach one, $\rho_0, T_0 \sim U(0.1, 10)$, $a \sim U(0.01, 0.2)$, phases uniform. Turbulence: density one, a velocity of such sums
without divergence whose speed is one on average, and the pressure $c^2\rho/\gamma$ of the speed of sound c = 1/M.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.rng import Rng
from physdiff.data.generate import marched
from physdiff.data.recipes.recipe import DataRecipe, check_at_least
from physdiff.data.stream import Tick
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.compressible import CompressibleNavierStokes, Euler
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.reconstruction import MUSCL, van_leer
from physdiff.solvers.riemann import HLLC

__all__ = ["PDEBenchCompressiblePlane"]

_HEAT_RATIO = 5 / 3
_WAVES = [(a, b) for a, b in itertools.product(range(-4, 5), repeat=2) if (b, a) > (0, 0)]  # one of each pair k, -k


@dataclass(frozen=True)
class PDEBenchCompressiblePlane(DataRecipe):
    """Density, velocity and pressure of a gas; solved as there with MUSCL (van Leer), HLLC and a Courant number of 0.3.

    Differences from the original: the stress is that of the equation with constant viscosities, and its work heats the gas, as in
    `PDEBenchCompressible`; steps of order 3; no floor for the pressure; no windows (half of the original's random flows have one); the sum of waves
    is scaled to reach one, where the original's scale is not in our sources; wave lengths divide the box.

    Args:
        kind: ``"random"`` or ``"turbulence"``.
        viscosity: eta.
        bulk_viscosity: zeta.
        resolution: Cells along each axis.
        horizon: Last time.
        interval: Time between frames.
        mach: Largest first speed over that of sound along each direction (random), or mean first speed over it (turbulence).
    """

    kind: str = "random"
    viscosity: float = 0.01
    bulk_viscosity: float = 0.01
    resolution: int = 128
    horizon: float = 1.0
    interval: float = 0.05
    mach: float = 0.1

    names: ClassVar[tuple[str, ...]] = ("density", "velocity_x", "velocity_y", "pressure")

    def __post_init__(self) -> None:
        check_one_of(self.kind, ("random", "turbulence"), "PDEBenchCompressiblePlane kind")
        for name in ("viscosity", "bulk_viscosity"):
            check_positive(getattr(self, name), f"PDEBenchCompressiblePlane {name}", zero=True)
        for name in ("horizon", "interval", "mach"):
            check_positive(getattr(self, name), f"PDEBenchCompressiblePlane {name}")
        check_at_least(self.resolution, 10, "PDEBenchCompressiblePlane resolution")
        check_at_least(round(self.horizon / self.interval), 1, "PDEBenchCompressiblePlane horizon over interval")

    @property
    def grid(self) -> CartesianGrid:
        """The unit square, periodic."""
        return CartesianGrid((self.resolution, self.resolution), length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to the horizon."""
        return self.interval * torch.arange(round(self.horizon / self.interval) + 1, dtype=torch.float64)

    def initial(self, index: int, rng: Rng) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """Density, velocity and pressure (1, y, x) of a sample."""
        sums = [self._sum(rng.child(name, index)) for name in ("density", "temperature", "velocity_x", "velocity_y")]
        if self.kind == "turbulence":
            u, v = Spectral(self.grid).project((sums[2], sums[3]))
            mean = torch.hypot(u, v).mean()
            density = torch.ones_like(u)
            return density, (u / mean, v / mean), density / (_HEAT_RATIO * self.mach**2)
        g = rng.child("gas", index).generator()
        amount, temperature = float(g.uniform(0.1, 10)), float(g.uniform(0.1, 10))
        shares = float(g.uniform(0.01, 0.2)), float(g.uniform(0.01, 0.2))
        speed = self.mach * math.sqrt(_HEAT_RATIO * temperature)
        first, second, along, across = (s / s.abs().max() for s in sums)
        field = amount * (1 + shares[0] * first)
        return field, (speed * along, speed * across), field * temperature * (1 + shares[1] * second)

    def _sum(self, rng: Rng) -> Tensor:
        """A sum of waves with uniform phases, (1, y, x)."""
        x, y = (c.to(self.like) for c in self.grid.coordinates())
        phases = 2 * math.pi * rng.uniform((len(_WAVES),), like=self.like)
        total = torch.zeros_like(x)
        for (a, b), phase in zip(_WAVES, phases, strict=True):
            total = total + math.hypot(a, b) ** -0.5 * torch.cos(2 * math.pi * (a * x + b * y) + phase)
        return total[None]

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `density`, `velocity_x`, `velocity_y` and `pressure` (count, T, y, x); each sample with its own steps."""
        viscous = self.viscosity > 0 or self.bulk_viscosity > 0
        law = CompressibleNavierStokes(self.viscosity, self.bulk_viscosity, heat_ratio=_HEAT_RATIO, ndim=2) if viscous else Euler(_HEAT_RATIO, ndim=2)
        stepper = FiniteVolume(law, self.grid, reconstruction=MUSCL(van_leer), riemann=HLLC())
        made: dict[str, list[Tensor]] = {name: [] for name in self.names}
        for i in range(start, start + count):
            solved = marched(stepper, law.state(*self.initial(i, rng)), self.times, tick=tick, cfl=0.3)
            for name, value in zip(self.names, (solved["density"], *law.velocity(solved), law.pressure(solved)), strict=True):
                made[name].append(value)
        return {name: torch.cat(values) for name, values in made.items()}
