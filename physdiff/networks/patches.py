r"""Boxes of cells as channels of one coarser cell, and back (space-to-depth).

With sides $p_1 \dots p_n$ a field (B, C, \*N) becomes (B, C p_1 ... p_n, \*N/p): channel $c\,p_1 \cdots p_n + j$ is cell j of the box, row by
row in storage order. Nothing is added or lost, so that the map is orthogonal and a shift by whole boxes stays a shift.

Reference: W. Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural network, CVPR 2016.
"""

from __future__ import annotations

from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.networks.padding import pad_end

__all__ = ["patchify", "patchify_any", "unpatchify"]


def patchify(x: Tensor, sides: tuple[int, ...]) -> Tensor:
    """(B, C, *N) -> (B, C prod(p), *N/p).

    Args:
        x: Field whose axis lengths are multiples of `sides`.
        sides: Cells p of a box along each axis.

    Raises:
        ShapeError: If a length is no multiple.
    """
    if x.ndim != 2 + len(sides) or any(n % p for n, p in zip(x.shape[2:], sides, strict=False)):
        raise ShapeError(f"patchify: expected (B, C, *axes) with axes multiples of {sides}, got {tuple(x.shape)}; pad the field first")
    n = len(sides)
    split = [part for length, p in zip(x.shape[2:], sides, strict=True) for part in (length // p, p)]
    boxes = x.reshape(*x.shape[:2], *split).permute(0, 1, *range(3, 3 + 2 * n, 2), *range(2, 2 + 2 * n, 2))
    return boxes.flatten(1, 1 + n)


def unpatchify(z: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Invert `patchify`: (B, C prod(p), *M) -> (B, C, *(p M)).

    Raises:
        ShapeError: If the channels are no multiple of the cells of a box.
    """
    n, cells = len(sides), 1
    for p in sides:
        cells *= p
    if z.ndim != 2 + n or z.shape[1] % cells:
        raise ShapeError(f"unpatchify: expected (B, a multiple of {cells}, *axes) with {n} axes, got {tuple(z.shape)}")
    boxes = z.reshape(z.shape[0], -1, *sides, *z.shape[2:])
    order = [axis for i in range(n) for axis in (2 + n + i, 2 + i)]
    lengths = [m * p for m, p in zip(z.shape[2:], sides, strict=True)]
    return boxes.permute(0, 1, *order).reshape(z.shape[0], -1, *lengths)


def patchify_any(x: Tensor, sides: tuple[int, ...], periodic: tuple[bool, ...]) -> Tensor:
    """`patchify` for any lengths: axes are first prolonged at their end to a multiple, a periodic one by its beginning, others by their edge."""
    return patchify(pad_end(x, tuple(-length % p for length, p in zip(x.shape[2:], sides, strict=True)), periodic), sides)
