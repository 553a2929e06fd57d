"""Walls by symmetry: a box between walls as half (a quarter) of a periodic one.

A field mirrored at its walls stays so where the law has no preferred direction, and has no slope there (Neumann); one mirrored with its sign
turned is zero there (Dirichlet). So Fourier modes solve on the doubled box what cosines or sines would on the box itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import GridMismatch
from physdiff.grids.cartesian import CartesianGrid

__all__ = ["doubled_grid", "first_half", "mirrored"]


def doubled_grid(grid: CartesianGrid) -> CartesianGrid:
    """The periodic grid of twice the size along each axis whose first points are those of `grid`.

    Raises:
        GridMismatch: If an axis closes, or is not uniform.
    """
    if any(grid.periodic) or not grid.uniform:
        raise GridMismatch(f"doubled_grid: expected a uniform grid between walls, got {grid.summary()}")
    shape, extent = tuple(2 * n for n in grid.shape), tuple(2 * length for length in grid.extent)
    origin = tuple(o + h / 2 for o, h in zip(grid.origin, grid.spacing, strict=True))
    return CartesianGrid(shape, extent, origin, length_unit=grid.length_unit)


def mirrored(u: Tensor, ndim: int, *, sign: float = 1.0) -> Tensor:
    """Values (..., *S) continued to (..., *2S) by mirroring the last `ndim` axes; -1 turns the sign beyond each wall."""
    for axis in range(-ndim, 0):
        u = torch.cat([u, sign * u.flip(axis)], dim=axis)
    return u


def first_half(u: Tensor, ndim: int) -> Tensor:
    """Values (..., *2S) on the box itself, (..., *S)."""
    for axis in range(-ndim, 0):
        u = u.narrow(axis, 0, u.shape[axis] // 2)
    return u
