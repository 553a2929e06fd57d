r"""Sums of a few sines, some folded, some cut to a window: the initial fields of PDEBench.

$$u_0(x) = \pm\,w(x)\,\Big|\sum_{n=1}^{N} A_n \sin\big(2\pi n m_n (x - a)/L + \varphi_n\big)\Big|_{(\text{now and then})}, \qquad
A_n \sim U(0, 1),\; \varphi_n \sim U(0, 2\pi)$$

with multiplicities $m_n$ from two draws of a mode (a mode drawn twice has twice the wave number, one not drawn is the constant
$A_n\sin\varphi_n$, so that the mean varies from sample to sample), the absolute value of the sum in a tenth of the samples, a random sign, and
in a tenth of the samples the window $w = \tfrac12[\tanh((s - l)/0.01) - \tanh((s - r)/0.01)]$ in $s = (x - a)/L$ with $l \sim U(0.1, 0.45)$, $r
\sim U(0.55, 0.9)$. Takamoto et al., PDEBench, 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physdiff.base.errors import GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.solvers.initial import InitialField

__all__ = ["SineSum", "SineSumDraw"]


@dataclass(frozen=True)
class SineSumDraw:
    """The numbers of some samples, each (n, ...); what a sample is does not depend on a grid."""

    multiples: Tensor
    amplitude: Tensor
    phase: Tensor
    folded: Tensor
    sign: Tensor
    window: Tensor
    edges: Tensor

    def at(self, s: Tensor, *, stretch: float = 1.0) -> Tensor:
        """Values at the places s (n, ...) or (...), in shares of the box; `stretch` multiplies the wave numbers."""
        tail = (1,) * (s.ndim - (1 if s.ndim > 1 else 0))
        s = s if s.ndim > 1 else s[None]

        def wide(v: Tensor) -> Tensor:
            return v.to(s).reshape(v.shape[0], *tail)

        total = torch.zeros((), dtype=s.dtype, device=s.device)
        for n in range(self.multiples.shape[1]):
            angle = 2 * math.pi * (n + 1) * stretch * wide(self.multiples[:, n]) * s + wide(self.phase[:, n])
            total = total + wide(self.amplitude[:, n]) * torch.sin(angle)
        total = torch.where(wide(self.folded) > 0, total.abs(), total) * wide(self.sign)
        cut = 0.5 * (torch.tanh((s - wide(self.edges[:, 0])) / 0.01) - torch.tanh((s - wide(self.edges[:, 1])) / 0.01))
        return torch.where(wide(self.window) > 0, total * cut, total)


@dataclass(frozen=True)
class SineSum(InitialField):
    """A random sum of sines on a line.

    Args:
        modes: Largest mode N.
        draws: How many modes are drawn, with repetition.
        folded: Share of samples whose absolute value is taken.
        windowed: Share of samples that are cut to a window.
        periodic_waves: Whether the wave lengths divide the box; if not they divide the distance of the outermost points, one cell less, as in
            the original program, and the field has a small jump where the axis closes.

    Raises:
        InputError: If a number makes no sense.
    """

    modes: int = 4
    draws: int = 2
    folded: float = 0.1
    windowed: float = 0.1
    periodic_waves: bool = True

    def __post_init__(self) -> None:
        if self.modes < 1 or self.draws < 1:
            raise InputError(f"SineSum: expected modes and draws of at least 1, got {self.modes} and {self.draws}")
        if not (0 <= self.folded <= 1 and 0 <= self.windowed <= 1):
            raise InputError(f"SineSum: expected shares from 0 to 1, got folded={self.folded} and windowed={self.windowed}")

    def draw(self, n: int, rng: Rng, *, start: int = 0) -> SineSumDraw:
        """The numbers of samples start, ..., start + n - 1."""
        rows = []
        for i in range(start, start + n):
            g = rng.child(i).generator()
            multiples = np.bincount(g.integers(0, self.modes, self.draws), minlength=self.modes).astype(float)
            rows.append(
                (
                    multiples,
                    g.uniform(0, 1, self.modes),
                    g.uniform(0, 2 * math.pi, self.modes),
                    float(g.random() < self.folded),
                    float(g.choice([-1.0, 1.0])),
                    float(g.random() < self.windowed),
                    np.array([g.uniform(0.1, 0.45), g.uniform(0.55, 0.9)]),
                )
            )
        return SineSumDraw(*(torch.from_numpy(np.stack([np.asarray(v) for v in column])) for column in zip(*rows, strict=True)))

    def sample(self, grid: Grid, n: int, rng: Rng, *, start: int = 0, like: Tensor | None = None) -> Tensor:
        """Draw samples start, ..., start + n - 1, (n, x); see `InitialField.sample`.

        Raises:
            GridMismatch: If the grid is no uniform line.
        """
        if not isinstance(grid, CartesianGrid) or grid.ndim != 1 or not grid.uniform:
            raise GridMismatch(f"SineSum: expected a uniform line, got {grid.summary()}")
        s = (grid.axes()[0] - grid.origin[0]) / grid.extent[0]
        values = self.draw(n, rng, start=start).at(s, stretch=self.stretch(grid.shape[0]))
        return values.to(torch.float32) if like is None else values.to(like)

    def stretch(self, points: int) -> float:
        """What the wave numbers are multiplied by on a line of so many points."""
        return 1.0 if self.periodic_waves else points / (points - 1)
