"""All bands of a wavelet decomposition as channels of one map on the coarsest grid.

A band of level l, 2^(L-l) times finer per axis than the coarsest level L, is split into its (2^(L-l))^n
interleaved sub-grids (space-to-depth). With n transformed axes each channel becomes K = 2^(n L) channels and
no number is added or lost: packing is a permutation, so an orthonormal transform stays orthonormal and white
noise stays white. Channels are ordered band first: with C channels, channel k C + c is part k of channel c;
part 0 is the approximation, then come the details, coarsest level first, bands in the order of `band_names`,
sub-grids row by row in storage order.

Reference: W. Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel
convolutional neural network, CVPR 2016 (depth-to-space, the inverse of what is done here).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.wavelets.dwt import Decomposition, band_names

__all__ = ["depth_to_space", "pack", "pack_share", "space_to_depth", "unpack"]


def pack(coefficients: Decomposition, axes: Sequence[int]) -> Tensor:
    """Put all bands side by side as channels.

    Args:
        coefficients: As from `wavedec`, of tensors (B, C, *N).
        axes: The transformed axes, in the order given to `wavedec`, counted from the front, 2 or more.

    Returns:
        (B, K C, *N / 2^levels along `axes`), K = 2^(levels * len(axes)).

    Raises:
        InputError: If the bands are those of another number of axes.
        ShapeError: If a band of a finer level is not twice as long, as with odd axes or another mode than "periodization".
    """
    names = band_names(len(axes))[1:]
    parts = [coefficients.approximation[:, None]]
    for depth, bands in enumerate(coefficients.details):
        if set(bands) != set(names):
            raise InputError(
                f"pack: expected the bands {', '.join(names)} for {len(axes)} axes, got {', '.join(bands)}; "
                "pass the axes given to wavedec"
            )
        coarse, fine = (tuple(t.shape[axis] for axis in axes) for t in (coefficients.approximation, bands[names[0]]))
        if fine != tuple(n * 2**depth for n in coarse):
            raise ShapeError(
                f"pack: expected bands of {tuple(n * 2**depth for n in coarse)} points {depth} levels above one of {coarse}, got {fine}; "
                'pad the axes to a multiple of 2^levels and use mode "periodization"'
            )
        parts += [space_to_depth(bands[name], 2**depth, axes) for name in names]
    return torch.cat(parts, 1).flatten(1, 2)


def unpack(z: Tensor, levels: int, axes: Sequence[int]) -> Decomposition:
    """Invert `pack`.

    Args:
        z: (B, K C, *M), K = 2^(levels * len(axes)).
        levels: Number of levels.
        axes: As given to `pack`.

    Raises:
        ShapeError: If the number of channels is not a multiple of K.
    """
    n_parts = 2 ** (levels * len(axes))
    if z.ndim < 2 or z.shape[1] % n_parts or not z.shape[1]:
        raise ShapeError(
            "unpack: expected shape (batch, channels, ...) with channels a multiple of "
            f"2^({levels} levels x {len(axes)} axes) = {n_parts}, got {tuple(z.shape)}; pass what pack gave"
        )
    parts = torch.unflatten(z, 1, (n_parts, -1))
    names = band_names(len(axes))[1:]
    details, start = [], 1
    for depth in range(levels):
        n_grids = 2 ** (depth * len(axes))
        level = {}
        for name in names:
            level[name] = depth_to_space(parts.narrow(1, start, n_grids), 2**depth, axes)
            start += n_grids
        details.append(level)
    return Decomposition(parts[:, 0], tuple(details))


def pack_share(known: Tensor, levels: int, axes: Sequence[int]) -> Tensor:
    """Share of known points in the cell of each packed coefficient.

    The cell of a level-l coefficient is a box of 2^l points along each transformed axis, whatever the filter;
    its share is the mean of `known` over the box. The result is laid out as `pack` lays out the coefficients.

    Args:
        known: (B, C, *N), 1 where a value is known, 0 elsewhere (or shares already); lengths divisible by
            2^levels
            along `axes`.
        levels: Number of levels.
        axes: The transformed axes, counted from the front, 2 or more.

    Returns:
        (B, K C, *M), values in [0, 1].

    Raises:
        ShapeError: If a length is not divisible by 2^levels.
    """
    for axis in axes:
        if known.shape[axis] % 2**levels:
            raise ShapeError(
                f"pack_share: expected a length divisible by {2**levels} along axis {axis}, "
                f"got {known.shape[axis]}; pad it as the data"
            )
    n_bands = 2 ** len(axes)
    parts = [space_to_depth(known, 2**levels, axes).mean(1, keepdim=True)]
    for depth in range(levels):
        share = space_to_depth(known, 2 ** (levels - depth), axes).mean(1)
        grids = space_to_depth(share, 2**depth, axes)
        parts += [grids] * (n_bands - 1)
    return torch.cat(parts, 1).flatten(1, 2)


def space_to_depth(x: Tensor, factor: int, axes: Sequence[int]) -> Tensor:
    """Interleaved sub-grids of `axes`, row by row: (B, C, *N) to (B, factor^n, C, *N / factor)."""
    ordered = sorted(axes)
    for i, axis in enumerate(ordered):
        x = torch.unflatten(x, axis + i, (-1, factor))
    inner = [axis + i + 1 for i, axis in enumerate(ordered)]
    return x.movedim(inner, list(range(1, 1 + len(axes)))).flatten(1, len(axes))


def depth_to_space(x: Tensor, factor: int, axes: Sequence[int]) -> Tensor:
    """Invert `space_to_depth`: (B, factor^n, C, *M) to (B, C, *N)."""
    ordered = sorted(axes)
    inner = [axis + i + 1 for i, axis in enumerate(ordered)]
    x = torch.unflatten(x, 1, (factor,) * len(axes)).movedim(list(range(1, 1 + len(axes))), inner)
    for axis in ordered:
        x = x.flatten(axis, axis + 1)
    return x
