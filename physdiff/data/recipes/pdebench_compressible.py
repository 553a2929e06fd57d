r"""Compressible flow of PDEBench on a line (Takamoto et al., 2022): random periodic flows and shock tubes.

$$\rho_t + (\rho u)_x = 0,\quad (\rho u)_t + (\rho u^2 + p)_x = \big[(\tfrac43\eta + \zeta)\,u_x\big]_x,\quad
E_t + [(E + p)u]_x = \big[(\tfrac43\eta + \zeta)\,u\,u_x\big]_x, \qquad \gamma = \tfrac53$$

on [-1, 1]. Random flows: periodic, $\eta = \zeta = 0.01$ (also 1e-8 and 0.1), 101 frames to t = 1. Shock tubes: two uniform states that meet at a
share U(0.25, 0.75) of the line, frames each 0.005 to t = 0.4, whatever arrives at an end leaves.
"""

from __future__ import annotations

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
from physdiff.grids.boundary import Outflow
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.compressible import CompressibleNavierStokes, Euler
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.reconstruction import MUSCL, van_leer
from physdiff.solvers.riemann import HLLC
from physdiff.solvers.sine_sum import SineSum

__all__ = ["PDEBenchCompressible"]

_HEAT_RATIO = 5 / 3


@dataclass(frozen=True)
class PDEBenchCompressible(DataRecipe):
    """Density, velocity and pressure of a gas; solved as there with MUSCL (van Leer), HLLC and a Courant number of 0.3.

    Differences from the original: the stress is that of the equation above with constant viscosities, and its work heats the gas; the original
    weights the viscous term with the density so that u_t = eta u_xx, which conserves neither momentum nor energy. No conduction, as there. Steps of
    order 3. The pressure has no floor (there 1e-4): a flow that would need one stops with a message. Wave lengths divide the box. A Mach
    number bounds the first speed. The original's draws on a line are not in our sources, so these are ours, after its sets in the plane:
    random flows have a density and a temperature U(0.1, 10), disturbed by sums of sines of 1 to 20 %, and shock tubes densities and
    pressures log-uniform from 0.1 to 10; speeds are a random share of `mach` times that of sound.

    Args:
        kind: ``"random"`` or ``"shock"``.
        viscosity: eta.
        bulk_viscosity: zeta.
        resolution: Cells.
        horizon: Last time.
        interval: Time between frames.
        mach: Largest first speed over that of sound (of the undisturbed gas).
    """

    kind: str = "random"
    viscosity: float = 0.01
    bulk_viscosity: float = 0.01
    resolution: int = 1024
    horizon: float = 1.0
    interval: float = 0.01
    mach: float = 1.0

    names: ClassVar[tuple[str, ...]] = ("density", "velocity_x", "pressure")

    def __post_init__(self) -> None:
        check_one_of(self.kind, ("random", "shock"), "PDEBenchCompressible kind")
        for name in ("viscosity", "bulk_viscosity", "mach"):
            check_positive(getattr(self, name), f"PDEBenchCompressible {name}", zero=True)
        for name in ("horizon", "interval"):
            check_positive(getattr(self, name), f"PDEBenchCompressible {name}")
        check_at_least(self.resolution, 8, "PDEBenchCompressible resolution")
        check_at_least(round(self.horizon / self.interval), 1, "PDEBenchCompressible horizon over interval")

    @property
    def grid(self) -> CartesianGrid:
        """From -1 to 1, periodic for random flows."""
        return CartesianGrid(self.resolution, 2.0, -1.0, periodic=self.kind == "random", length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to the horizon."""
        return self.interval * torch.arange(round(self.horizon / self.interval) + 1, dtype=torch.float64)

    def tube(self, index: int, rng: Rng) -> tuple[float, list[tuple[float, float, float]]]:
        """Where the states of a sample meet, and density, velocity and pressure to the left and right."""
        g = rng.child("tube", index).generator()
        states = []
        for _ in range(2):
            density, pressure = 10 ** float(g.uniform(-1, 1)), 10 ** float(g.uniform(-1, 1))
            states.append((density, self.mach * float(g.uniform(-1, 1)) * math.sqrt(_HEAT_RATIO * pressure / density), pressure))
        return -1 + 2 * float(g.uniform(0.25, 0.75)), states

    def initial(self, index: int, rng: Rng) -> tuple[Tensor, ...]:
        """Density, velocity and pressure (1, x) of a sample."""
        if self.kind == "shock":
            position, (left, right) = self.tube(index, rng)
            x = self.grid.axes()[0].to(self.like)
            return tuple(torch.where(x < position, a, b)[None].to(self.like) for a, b in zip(left, right, strict=True))
        g = rng.child("gas", index).generator()
        density, temperature = float(g.uniform(0.1, 10)), float(g.uniform(0.1, 10))
        shares = [float(g.uniform(0.01, 0.2)), float(g.uniform(0.01, 0.2)), self.mach * math.sqrt(_HEAT_RATIO * temperature)]
        waves = []
        for name, share in zip(("density", "temperature", "velocity"), shares, strict=True):
            s = SineSum().sample(self.grid, 1, rng.child(name), start=index, like=self.like)
            waves.append(share * s / s.abs().amax(-1, keepdim=True))
        density_field = density * (1 + waves[0])
        return density_field, waves[2], density_field * temperature * (1 + waves[1])

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields `density`, `velocity_x` and `pressure` (count, T, x); each sample with its own steps, whatever its neighbours."""
        viscous = self.viscosity > 0 or self.bulk_viscosity > 0
        law = CompressibleNavierStokes(self.viscosity, self.bulk_viscosity, heat_ratio=_HEAT_RATIO) if viscous else Euler(_HEAT_RATIO)
        ends = Outflow() if self.kind == "shock" else None
        stepper = FiniteVolume(law, self.grid, reconstruction=MUSCL(van_leer), riemann=HLLC(), boundary=ends)
        made: dict[str, list[Tensor]] = {name: [] for name in self.names}
        for i in range(start, start + count):
            density, velocity, pressure = self.initial(i, rng)
            solved = marched(stepper, law.state(density, (velocity,), pressure), self.times, tick=tick, cfl=0.3)
            for name, value in zip(self.names, (solved["density"], law.velocity(solved)[0], law.pressure(solved)), strict=True):
                made[name].append(value)
        return {name: torch.cat(values) for name, values in made.items()}
