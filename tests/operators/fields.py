"""Trigonometric fields on boxes without any symmetry between the axes, with all their derivatives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.grids.cartesian import CartesianGrid

__all__ = ["GRIDS", "Waves", "relative", "waves"]

# storage order; non-square, unequal extents, odd and even sizes, shifted origins
GRIDS = {
    1: CartesianGrid((30,), extent=(2.3,), origin=(0.4,)),
    2: CartesianGrid((20, 33), extent=(1.7, 3.1), origin=(-0.6, 0.2)),
    3: CartesianGrid((12, 15, 10), extent=(0.9, 2.0, 1.3), origin=(0.1, 0.0, -2.0)),
}

# (amplitude, phase, waves along x, y, z); no x-y symmetry
_TERMS = ((1.0, 0.3, (1, 2, 1)), (-0.7, 1.1, (3, 1, -2)), (0.4, 2.0, (2, -3, 3)), (0.25, 0.5, (0, 1, 2)), (0.2, 0.0, (0, 0, 0)))


@dataclass(frozen=True)
class Waves:
    """sum of a cos(k.x + p): its values and derivatives of any order."""

    terms: tuple[tuple[float, float, tuple[float, ...]], ...]

    def __call__(self, x: tuple[Tensor, ...], *orders: int) -> Tensor:
        orders = orders or (0,) * len(x)
        total = torch.zeros_like(x[0])
        for a, p, k in self.terms:
            phase = sum(ki * xi for ki, xi in zip(k, x, strict=True)) + p + sum(orders) * math.pi / 2
            total = total + a * math.prod(ki**o for ki, o in zip(k, orders, strict=True)) * torch.cos(phase)
        return total

    def grad(self, x: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(self(x, *(int(i == j) for j in range(len(x)))) for i in range(len(x)))

    def lap(self, x: tuple[Tensor, ...]) -> Tensor:
        return sum(self(x, *(2 * int(i == j) for j in range(len(x)))) for i in range(len(x)))


def waves(grid: CartesianGrid, shift: float = 0.0) -> Waves:
    """A trigonometric polynomial periodic on the grid's box; `shift` gives another one."""
    lengths = tuple(reversed(grid.extent))
    return Waves(
        tuple(
            (a + 0.3 * shift * math.sin(1.0 + p), p + shift, tuple(2 * math.pi * m / length for m, length in zip(k, lengths, strict=False)))
            for a, p, k in _TERMS
        )
    )


def relative(got: Tensor, wanted: Tensor) -> float:
    """Largest error over the largest value wanted."""
    return float((got - wanted).detach().abs().max() / wanted.detach().abs().max())
