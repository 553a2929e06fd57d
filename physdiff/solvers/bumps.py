r"""Sums of Gaussian bumps whose centres, heights and widths are drawn.

$$u_0(x) = \sum_b A_b\, e^{-|x - c_b|^2 / (2 w_b^2)}, \qquad c_b, A_b, w_b \text{ uniform in the ranges of bump } b.$$
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.grids.grid import Grid
from physdiff.solvers.initial import InitialField

__all__ = ["Bump", "GaussianBumps"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Bump:
    """Ranges that a bump is drawn from.

    Args:
        centre: Of every coordinate.
        height: Of the bump.
        width: Standard deviation, above zero.

    Raises:
        InputError: If a range does not go upwards, or a width is not positive.
    """

    centre: Range
    height: Range
    width: Range

    def __post_init__(self) -> None:
        for name in ("centre", "height", "width"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise InputError(f"Bump {name}: expected a finite range (lower, upper), got {(low, high)}")
        if self.width[0] <= 0:
            raise InputError(f"Bump width: expected widths above zero, got {self.width}")


@dataclass(frozen=True)
class GaussianBumps(InitialField):
    """A sum of bumps on any grid.

    Args:
        bumps: Their ranges; one of each is drawn for every sample.

    Raises:
        InputError: If there is none.
    """

    bumps: tuple[Bump, ...]

    def __post_init__(self) -> None:
        if not self.bumps:
            raise InputError("GaussianBumps: expected at least one bump, got none")

    def sample(self, grid: Grid, n: int, rng: Rng, *, start: int = 0, like: Tensor | None = None) -> Tensor:
        """Draw samples start, ..., start + n - 1, (n, *S); see `InitialField.sample`."""
        places = grid.coordinates()
        rows = []
        for i in range(start, start + n):
            g = rng.child(i).generator()
            total = torch.zeros(grid.shape, dtype=torch.float64)
            for bump in self.bumps:
                square = sum(((x - g.uniform(*bump.centre)) ** 2 for x in places), torch.zeros(grid.shape, dtype=torch.float64))
                height, width = g.uniform(*bump.height), g.uniform(*bump.width)
                total = total + height * torch.exp(-square / (2 * width**2))
            rows.append(total)
        values = torch.stack(rows)
        return values.to(torch.float32) if like is None else values.to(like)
