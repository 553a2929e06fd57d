r"""The square of a field's slope, $|\nabla f|^2$: the part of an energy that a law's `invariants` cannot take from the values alone.

`PDE.invariants` gets a grid and no operators. On a periodic box the slope is that of the Fourier series; elsewhere it depends on what the law
does at the ends, so there is none and the energies that need it are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.operators.spectral import Spectral

__all__ = ["squared_slope"]


def squared_slope(f: Tensor, grid: Grid) -> Tensor | None:
    """Sum of the squared derivatives of f (..., *S), of its shape; None unless the grid is uniform and periodic along every axis."""
    if not isinstance(grid, CartesianGrid) or not grid.uniform or not all(grid.periodic):
        return None
    return sum((slope**2 for slope in Spectral(grid).grad(f)), torch.zeros_like(f))
