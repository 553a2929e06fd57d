"""Periodized orthonormal discrete wavelet transform along chosen axes, and its exact inverse.

One level along an axis of even length N maps x to N/2 approximations and N/2 details,

    a[k] = sum_j h[j] x[(2k + F/2 - j) mod N],      d[k] = sum_j g[j] x[(2k + F/2 - j) mod N],

with filters of F taps (alignment of PyWavelets' mode "periodization"). The map is an orthogonal matrix, so
the inverse is its transpose, energy is kept and white noise stays white. Several axes: one after the other,
each with its own wavelet if wished. Haar needs sums and differences of neighbours only; other filters use the
dense orthogonal matrix (on a CPU faster than a convolution up to some hundred points) or, on long axes,
products with a narrow band of it. All of it is differentiable and keeps dtype and device.

Reference: S. Mallat, A theory for multiresolution signal decomposition, IEEE PAMI 11 (1989), 674-693.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import per_axis
from physdiff.base.errors import InputError, ShapeError
from physdiff.wavelets.filters import filter_length, highpass, lowpass

__all__ = ["Decomposition", "band_names", "dwt", "idwt", "wavedec", "waverec"]

_DENSE_UP_TO = 512  # axis length; above, the N x N matrix costs more than its band


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Coefficients of a multi-level transform.

    Attributes:
        approximation: The coarsest approximation.
        details: One mapping per level, COARSEST FIRST. Keys have one letter per transformed axis, in the
            order of `axes`: "a" for the low-pass and "d" for the high-pass half; "aa..." is absent.
    """

    approximation: Tensor
    details: tuple[Mapping[str, Tensor], ...]


def band_names(n_axes: int) -> tuple[str, ...]:
    """Keys of the 2^n bands of one level, the approximation first: ("aa", "ad", "da", "dd") for two axes."""
    names = [""]
    for _ in range(n_axes):
        names = [name + letter for name in names for letter in "ad"]
    return tuple(names)


def dwt(x: Tensor, wavelet: str | Sequence[str] = "haar", axes: Sequence[int] = (-1,)) -> dict[str, Tensor]:
    """One level of the periodized transform.

    Args:
        x: Real floating-point tensor of any shape, of even length along `axes`.
        wavelet: One name for all axes, or one for each.
        axes: The axes to transform, each once.

    Returns:
        The bands by name, in the order of `band_names`; each has half the length along `axes`.

    Raises:
        ShapeError: If a transformed length is odd or an axis does not exist.
        InputError: If a wavelet is unknown, an axis is repeated or the dtype is not a real float.
    """
    positions, wavelets = _resolve(x, wavelet, axes)
    for axis in positions:
        if x.shape[axis] % 2 or not x.shape[axis]:
            raise ShapeError(
                f"dwt: expected an even length along axis {axis}, got {x.shape[axis]} "
                f"in shape {tuple(x.shape)}; pad that axis by one (WaveletTransform does it)"
            )
    bands = {"": x}
    for axis, name in zip(positions, wavelets, strict=True):
        bands = {
            key + letter: half
            for key, band in bands.items()
            for letter, half in zip("ad", _analyse(band, name, axis), strict=True)
        }
    return bands


def idwt(
    bands: Mapping[str, Tensor], wavelet: str | Sequence[str] = "haar", axes: Sequence[int] = (-1,)
) -> Tensor:
    """Invert `dwt` (exactly: the transpose of an orthogonal matrix).

    Args:
        bands: All 2^n bands of `dwt`, of one shape.
        wavelet: As given to `dwt`.
        axes: As given to `dwt`.

    Returns:
        The tensor, twice as long along `axes`.

    Raises:
        InputError: If bands are missing or superfluous, or as in `dwt`.
        ShapeError: If the bands differ in shape.
    """
    expected = band_names(len(axes))
    if set(bands) != set(expected):
        raise InputError(
            f"idwt: expected the bands {', '.join(expected)} for {len(axes)} axes, "
            f"got {', '.join(sorted(bands))}; pass all that dwt gave (zeros for those you drop)"
        )
    shapes = {tuple(bands[key].shape) for key in expected}
    if len(shapes) != 1:
        raise ShapeError(
            f"idwt: expected bands of one shape, got {sorted(shapes)}; "
            "crop or pad the input of dwt, not its bands"
        )
    positions, wavelets = _resolve(bands[expected[0]], wavelet, axes)
    current = dict(bands)
    for axis, name in reversed(list(zip(positions, wavelets, strict=True))):
        stems = dict.fromkeys(key[:-1] for key in current)
        current = {stem: _synthesise(current[stem + "a"], current[stem + "d"], name, axis) for stem in stems}
    return current[""]


def wavedec(
    x: Tensor, wavelet: str | Sequence[str] = "haar", levels: int = 1, *, axes: Sequence[int] = (-1,)
) -> Decomposition:
    """Transform `levels` times, each time the approximation of the level before.

    Args:
        x: Real floating-point tensor, its lengths along `axes` divisible by 2^levels.
        wavelet: One name for all axes, or one for each.
        levels: Number of levels, 0 or more (0: `x` is the approximation).
        axes: The axes to transform, each once.

    Raises:
        ShapeError: If a length is not divisible by 2^levels; the message says how many levels it allows.
        InputError: As in `dwt`, or if `levels` is negative.
    """
    if levels < 0:
        raise InputError(f"wavedec: expected levels >= 0, got {levels}")
    for axis in _resolve(x, wavelet, axes)[0]:
        length = x.shape[axis]
        if length % 2**levels or not length:
            allowed = (length & -length).bit_length() - 1 if length else 0
            raise ShapeError(
                f"wavedec: too many levels: expected a length divisible by 2^{levels} = {2**levels} "
                f"along axis {axis}, got {length}, which allows {allowed}; lower levels or pad that axis"
            )
    approximation, details = x, []
    for _ in range(levels):
        bands = dwt(approximation, wavelet, axes)
        approximation = bands.pop("a" * len(axes))
        details.append(bands)
    return Decomposition(approximation, tuple(reversed(details)))


def waverec(
    coefficients: Decomposition, wavelet: str | Sequence[str] = "haar", axes: Sequence[int] = (-1,)
) -> Tensor:
    """Invert `wavedec`.

    Raises:
        InputError: As in `idwt`.
        ShapeError: As in `idwt`.
    """
    x = coefficients.approximation
    for bands in coefficients.details:
        x = idwt({"a" * len(axes): x, **bands}, wavelet, axes)
    return x


def _resolve(
    x: Tensor, wavelet: str | Sequence[str], axes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return axes counted from the front, and one checked wavelet name for each."""
    if not x.dtype.is_floating_point:
        raise InputError(f"wavelets: expected a real floating-point tensor, got {x.dtype}; convert it first")
    for axis in axes:
        if not -x.ndim <= axis < x.ndim:
            raise ShapeError(
                f"wavelets: expected axes of a tensor with {x.ndim} axes, got axis {axis}; "
                f"choose from {-x.ndim} to {x.ndim - 1}"
            )
    positions = tuple(axis % x.ndim for axis in axes)
    if not positions or len(set(positions)) < len(positions):
        raise InputError(f"wavelets: expected one or more axes, each named once, got {tuple(axes)}")
    names: tuple[str, ...] = per_axis(wavelet, len(positions), "wavelet")
    for name in names:
        filter_length(name)
    return positions, names


def _analyse(x: Tensor, wavelet: str, axis: int) -> tuple[Tensor, Tensor]:
    if filter_length(wavelet) == 2:
        first, second = torch.unflatten(x, axis, (-1, 2)).unbind(axis + 1)
        return (first + second) * 0.5**0.5, (first - second) * 0.5**0.5
    if x.shape[axis] <= _DENSE_UP_TO:
        low, high = _apply(_matrix(wavelet, x.shape[axis], x), x, axis).chunk(2, axis)
        return low, high
    pairs = _circulate(x.movedim(axis, -1), _blocks(wavelet, x))
    low, high = torch.unflatten(pairs, -1, (-1, 2)).unbind(-1)
    return low.movedim(-1, axis), high.movedim(-1, axis)


def _synthesise(low: Tensor, high: Tensor, wavelet: str, axis: int) -> Tensor:
    if filter_length(wavelet) == 2:
        first, second = (low + high) * 0.5**0.5, (low - high) * 0.5**0.5
        return torch.stack((first, second), axis + 1).flatten(axis, axis + 1)
    length = 2 * low.shape[axis]
    if length <= _DENSE_UP_TO:
        return _apply(_matrix(wavelet, length, low).T, torch.cat((low, high), axis), axis)
    pairs = torch.stack((low.movedim(axis, -1), high.movedim(axis, -1)), -1).flatten(-2)
    return _circulate(pairs, _blocks(wavelet, low).flip(0).transpose(1, 2)).movedim(-1, axis)


def _matrix(wavelet: str, length: int, like: Tensor) -> Tensor:
    """The orthogonal (N, N) matrix of one level: N/2 rows of approximations, then N/2 of details."""
    taps = torch.tensor((lowpass(wavelet), highpass(wavelet)), dtype=like.dtype, device=like.device)
    n_taps = taps.shape[1]
    row = torch.arange(length // 2, device=like.device)[:, None]
    column = (2 * row + n_taps // 2 - torch.arange(n_taps, device=like.device)) % length
    shape = (2, length // 2, n_taps)
    matrix = taps.new_zeros(2, length // 2, length)
    # scatter_add: a filter longer than the axis wraps round and meets a point more than once
    return matrix.scatter_add_(2, column.expand(shape), taps[:, None].expand(shape)).flatten(0, 1)


def _apply(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """Multiply `axis` by an (N, N) matrix without moving the axis in memory."""
    if axis == x.ndim - 1:
        return x @ matrix.T
    return torch.unflatten(matrix @ x.flatten(axis + 1), -1, x.shape[axis + 1 :])


def _blocks(wavelet: str, like: Tensor) -> Tensor:
    """Blocks B_o, (2q+1, 2, 2), of the form (a[k], d[k]) = sum_o B_o (x[2(k+o)], x[2(k+o)+1]), |o| <= q."""
    n_taps = filter_length(wavelet)
    q = n_taps // 4
    taps = torch.tensor((lowpass(wavelet), highpass(wavelet)), dtype=like.dtype, device=like.device)
    band = taps.new_zeros(2, 2 * (2 * q + 1))
    start = 2 * q + 1 - n_taps // 2  # place of x[2k + F/2 - (F-1)] in a window that starts at x[2(k-q)]
    band[:, start : start + n_taps] = taps.flip(1)
    return torch.unflatten(band, 1, (-1, 2)).transpose(0, 1)


def _circulate(x: Tensor, blocks: Tensor) -> Tensor:
    """Multiply the last axis (pairs of neighbours) by the block-circulant matrix, window by window."""
    q = blocks.shape[0] // 2
    n_pairs = x.shape[-1] // 2
    size = min(n_pairs & -n_pairs, 32)  # pairs of output per window
    window = blocks.new_zeros(size, 2, size + 2 * q, 2)
    for offset, block in enumerate(blocks):
        window.diagonal(offset, 0, 2).copy_(block[:, :, None])
    padded = torch.cat((x[..., x.shape[-1] - 2 * q :], x, x[..., : 2 * q]), -1)
    windows = padded.unfold(-1, 2 * (size + 2 * q), 2 * size)
    return (windows @ window.flatten(2).flatten(0, 1).T).flatten(-2)
