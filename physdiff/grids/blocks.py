"""Block means over cells, and what lies within the blocks: repeated values and straight lines that keep the means.

Windows are (B, C, T, *S); time is left as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError

__all__ = ["coarsened", "reconstructed", "refined"]


def coarsened(x: Tensor, factor: int) -> Tensor:
    """Block means of (B, C, T, *S) over `factor` cells along each axis in space.

    Raises:
        ShapeError: If a length is no multiple of `factor`.
    """
    if any(n % factor for n in x.shape[3:]):
        raise ShapeError(f"coarsened: expected lengths in space divisible by {factor}, got {tuple(x.shape[3:])}")
    for axis in range(3, x.ndim):
        x = torch.unflatten(x, axis, (-1, factor)).mean(axis + 1)
    return x


def refined(x: Tensor, factor: int) -> Tensor:
    """Every cell of (B, C, T, *S) repeated `factor` times along each axis in space."""
    for axis in range(3, x.ndim):
        x = x.repeat_interleave(factor, axis)
    return x


def reconstructed(x: Tensor, factor: int, periodic: tuple[bool, ...]) -> Tensor:
    r"""Cells of (B, C, T, *S) divided by `factor` along each axis in space, on the line through a cell's mean with the slope of its neighbours.

    $u_{i, j} = u_i + \xi_j (u_{i+1} - u_{i-1}) / 2$, $\xi_j = (j + 1/2)/f - 1/2$ along each axis in turn, so that means over blocks are kept; at an
    end the slope is that of the two cells there (van Leer, 1977, without limiter).

    Args:
        x: Means over cells.
        factor: New cells in each.
        periodic: Whether each axis in space is a circle.
    """
    offsets = (torch.arange(factor, dtype=x.dtype, device=x.device) + 0.5) / factor - 0.5
    for axis, closed in zip(range(3, x.ndim), periodic, strict=True):
        n = x.shape[axis]
        if n == 1:
            x = x.repeat_interleave(factor, axis)
            continue
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1)
        before = last if closed else 2 * first - x.narrow(axis, 1, 1)
        after = first if closed else 2 * last - x.narrow(axis, n - 2, 1)
        wide = torch.cat([before, x, after], axis)
        slope = 0.5 * (wide.narrow(axis, 2, n) - wide.narrow(axis, 0, n))
        x = (x.unsqueeze(axis + 1) + slope.unsqueeze(axis + 1) * offsets.reshape(-1, *[1] * (x.ndim - axis - 1))).flatten(axis, axis + 1)
    return x
