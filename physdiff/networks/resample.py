r"""Band-limited resampling of fields along each axis, and activations that make no false waves.

On a circle values at i/n are taken as the trigonometric polynomial through them, between walls, at (i + 1/2)/n, as the cosine polynomial (its even
continuation has no jump). `resample` evaluates it at m points of the same axis, waves that m points cannot hold left out (for m < n the ideal low
pass). `filtered` applies a function on twice as many points and comes back: for a polynomial of degree 2 exactly the band-limited part of the
function of the field, for others up to what their waves beyond the double band fold back. Both are products with one small matrix an axis.

References: Raonic et al. (2023), arXiv 2302.01178; Karras et al. (2021), arXiv 2106.12423 (alias-free activations).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import ShapeError

__all__ = ["filtered", "resample", "resampling"]


def resampling(n: int, m: int, *, periodic: bool, like: Tensor) -> Tensor:
    """The matrix (m, n) that takes values on n points of an axis to those on m; dtype (float32 at least) and device of `like`."""
    check_positive(min(n, m), "resample length")
    dtype = torch.promote_types(like.dtype, torch.float32)
    x, y = ((torch.arange(length, dtype=torch.float64, device=like.device) + (0 if periodic else 0.5)) / length for length in (n, m))
    if not periodic:
        k = torch.arange(min(n, m), dtype=torch.float64, device=like.device)
        size = (1 + (k > 0).to(k)) / n
        return ((torch.cos(math.pi * y[:, None] * k) * size) @ torch.cos(math.pi * k[:, None] * x)).to(dtype)
    # at half the shorter length a wave is its own negative: it is left out, but where nothing is resampled
    if n == m:
        return torch.eye(n, dtype=dtype, device=like.device)
    k = torch.arange((min(n, m) - 1) // 2 + 1, dtype=torch.float64, device=like.device)
    size = (1 + (k > 0).to(k)) / n
    to, of = 2 * math.pi * y[:, None] * k, 2 * math.pi * k[:, None] * x
    return ((to.cos() * size) @ of.cos() + (to.sin() * size) @ of.sin()).to(dtype)


def resample(x: Tensor, shape: Sequence[int], periodic: tuple[bool, ...]) -> Tensor:
    """(B, C, *axes) -> (B, C, *shape).

    Args:
        x: Field.
        shape: Wanted lengths.
        periodic: For each axis, whether it is circular.

    Raises:
        ShapeError: If the numbers of axes differ.
    """
    if x.ndim != 2 + len(shape) or len(shape) != len(periodic):
        raise ShapeError(f"resample: expected (B, C, *axes) with {len(shape)} axes and as many in periodic, got {tuple(x.shape)} and {periodic}")
    for axis, (m, closed) in enumerate(zip(shape, periodic, strict=True), start=2):
        if x.shape[axis] != m:
            matrix = resampling(x.shape[axis], m, periodic=closed, like=x)
            x = torch.movedim(torch.movedim(x, axis, -1).to(matrix.dtype) @ matrix.T, -1, axis).to(x.dtype)
    return x


def filtered(act: Callable[[Tensor], Tensor], x: Tensor, periodic: tuple[bool, ...]) -> Tensor:
    """`act` of the field (B, C, *axes), computed on twice as many points along each axis, brought back by the ideal low pass."""
    axes = x.shape[2:]
    return resample(act(resample(x, [2 * n for n in axes], periodic)), axes, periodic)
