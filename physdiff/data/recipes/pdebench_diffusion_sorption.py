r"""Diffusion and sorption of PDEBench on a line (Takamoto et al., 2022): a solute enters ground that takes it up.

$$R(u)\,u_t = D\,u_{xx} \text{ on } [0, 1],\quad u(0) = 1,\quad u(1) + D\,u_x(1) = 0,
\qquad R(u) = 1 + \tfrac{1 - \phi}{\phi}\rho_s k_f n_f\,u^{n_f - 1}$$

with D = 5e-4, $\phi$ = 0.29, $\rho_s$ = 2880, k_f = 3.5e-4, n_f = 0.874; 1024 points, t to 500. Uniform initial values between 0 and 0.2, 101
frames and 10 000 samples are from memory, not from the publication's text.
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
from physdiff.grids.boundary import Dirichlet, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.pdes.diffusion_sorption import DiffusionSorption
from physdiff.solvers.runge_kutta import RungeKutta

__all__ = ["PDEBenchDiffusionSorption"]


@dataclass(frozen=True)
class PDEBenchDiffusionSorption(DataRecipe):
    """A concentration that spreads from the left end.

    Differences from the original: the right end holds u + D u_x = 0 at the wall, half a cell beyond the last point. The original puts the
    value D (u_{N-1} - u_N) / h one full cell beyond the last point, which belongs to no place of the grid of middles of cells (it is neither
    the wall nor consistent with the slope it is made from); the two differ by a term of the size of a cell. Second-order differences and
    Runge-Kutta steps of order 4 in float64; random numbers differ.

    Args:
        diffusivity: D.
        resolution: Points.
        horizon: Last time.
        interval: Time between frames.
        largest: Of the initial values, which are uniform in space.
        step: Longest solver step; if 0, 0.3 h^2 R(1) / D, about three quarters of what is stable next to the left end.
    """

    diffusivity: float = 5e-4
    resolution: int = 1024
    horizon: float = 500.0
    interval: float = 5.0
    largest: float = 0.2
    step: float = 0.0

    names: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        for name in ("diffusivity", "horizon", "interval", "largest"):
            check_positive(getattr(self, name), f"PDEBenchDiffusionSorption {name}")
        if self.largest > 1:
            raise InputError(f"PDEBenchDiffusionSorption largest: expected at most 1, the value at the left end, got {self.largest!r}")
        check_positive(self.step, "PDEBenchDiffusionSorption step", zero=True)
        check_at_least(self.resolution, 4, "PDEBenchDiffusionSorption resolution")
        check_at_least(round(self.horizon / self.interval), 1, "PDEBenchDiffusionSorption horizon over interval")

    @property
    def grid(self) -> CartesianGrid:
        """The unit interval between its ends."""
        return CartesianGrid(self.resolution, 1.0, periodic=False, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 to the horizon."""
        return self.interval * torch.arange(round(self.horizon / self.interval) + 1, dtype=torch.float64)

    @property
    def longest_step(self) -> float:
        """The solver's; values stay below one, where the retardation is least and the limit of the step shortest."""
        retardation = 1 + (1 - 0.29) / 0.29 * 2880 * 3.5e-4 * 0.874
        return self.step or 0.3 * retardation / (self.diffusivity * self.resolution**2)

    @property
    def stepper(self) -> RungeKutta:
        """The law between its ends."""
        ends = {"x": (Dirichlet(1.0), Robin(1.0, self.diffusivity))}
        return RungeKutta(DiffusionSorption(self.diffusivity), FiniteDifference(self.grid, boundary=ends))

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Field `u` (count, T, x)."""
        level = [self.largest * float(rng.child("u", i).generator().random()) for i in range(start, start + count)]
        u = torch.tensor(level, dtype=self.precision)[:, None].expand(-1, self.resolution).contiguous()
        return marched(self.stepper, {"u": u}, self.times, tick=tick, substeps=math.ceil(self.interval / self.longest_step - 1e-9))
