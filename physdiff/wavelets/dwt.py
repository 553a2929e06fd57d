"""Discrete wavelet transform along chosen axes, and its exact inverse.

One level along an axis maps N points to approximations a and details d (`axis_map` has the formula), several axes go one after the
other, each with its own wavelet if wished. The usual mode "periodization" gives as many coefficients as points (an odd axis: one more);
with an orthonormal wavelet it is an orthogonal matrix: the inverse is its transpose, energy is kept and white noise stays white. The
other modes treat the ends of an axis as something else than a circle and give more coefficients than points. In all of them the inverse
is exact. Alignment is that of PyWavelets.

Everything is linear and differentiable to any order, also by `torch.func`, with a gradient that costs as much as the map itself. float16
and bfloat16 are computed in float32 and rounded once per band: a round trip in bfloat16 is off by some 2^-8 of the largest value. Under
`torch.compile` sums over taps are traced instead, without a graph break.

Reference: S. Mallat, A theory for multiresolution signal decomposition, IEEE PAMI 11 (1989), 674-693.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, per_axis
from physdiff.base.errors import InputError, ShapeError
from physdiff.wavelets.axis_map import MODES, analysis, matrix, synthesis
from physdiff.wavelets.bank import Plan, analyse, synthesise
from physdiff.wavelets.filters import filters

__all__ = ["BandGain", "Decomposition", "band_gain", "band_names", "dwt", "idwt", "wavedec", "waverec"]


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Coefficients of a multi-level transform.

    Attributes:
        approximation: The coarsest approximation.
        details: One mapping per level, COARSEST FIRST. Keys have one letter per transformed axis, in the
            order of `axes`: "a" for the low-pass and "d" for the high-pass half; "aa..." is absent.
        lengths: Points along the transformed axes at the input of each level, coarsest first; None: twice the coefficients.
        mode: How the ends were treated.
    """

    approximation: Tensor
    details: tuple[Mapping[str, Tensor], ...]
    lengths: tuple[tuple[int, ...], ...] | None = None
    mode: str = "periodization"


def band_names(n_axes: int) -> tuple[str, ...]:
    """Keys of the 2^n bands of one level, the approximation first: ("aa", "ad", "da", "dd") for two axes."""
    names = [""]
    for _ in range(n_axes):
        names = [name + letter for name in names for letter in "ad"]
    return tuple(names)


def dwt(
    x: Tensor, wavelet: str | Sequence[str] = "haar", axes: Sequence[int] = (-1,), *, mode: str = "periodization"
) -> dict[str, Tensor]:
    """One level of the transform.

    Args:
        x: Real floating-point tensor of any shape.
        wavelet: One name for all axes, or one for each.
        axes: The axes to transform, each once.
        mode: How the ends are treated: "periodization", "periodic", "zero", "constant", "symmetric", "reflect".

    Returns:
        The bands by name, in the order of `band_names`; each has ceil(N / 2) entries along `axes` in mode "periodization", else
        floor((N + F - 1) / 2).

    Raises:
        ShapeError: If an axis does not exist or is empty.
        InputError: If a wavelet or the mode is unknown, an axis is repeated or the dtype is not a real float.
    """
    plan = _plan(x, wavelet, axes, mode=mode, lengths=None)
    bands = analyse(plan, _wide(x))
    return {name: band.to(x.dtype) for name, band in zip(band_names(len(axes)), bands, strict=True)}


def idwt(
    bands: Mapping[str, Tensor],
    wavelet: str | Sequence[str] = "haar",
    axes: Sequence[int] = (-1,),
    *,
    lengths: Sequence[int] | None = None,
    mode: str = "periodization",
) -> Tensor:
    """Invert `dwt`.

    Args:
        bands: All 2^n bands of `dwt`, of one shape.
        wavelet: As given to `dwt`.
        axes: As given to `dwt`.
        lengths: Points along `axes`; None: the even numbers of which the bands can be.
        mode: As given to `dwt`.

    Raises:
        InputError: If bands are missing or superfluous, or as in `dwt`.
        ShapeError: If the bands differ in shape, or are not those of an axis of the given length.
    """
    expected = band_names(len(axes))
    if set(bands) != set(expected):
        raise InputError(
            f"idwt: expected the bands {', '.join(expected)} for {len(axes)} axes, "
            f"got {', '.join(sorted(bands))}; pass all that dwt gave (zeros for those you drop)"
        )
    shapes = {tuple(bands[key].shape) for key in expected}
    if len(shapes) != 1:
        raise ShapeError(f"idwt: expected bands of one shape, got {sorted(shapes)}; crop or pad the input of dwt, not its bands")
    first = bands[expected[0]]
    return synthesise(_plan(first, wavelet, axes, mode=mode, lengths=lengths, inverse=True), [_wide(bands[key]) for key in expected]).to(first.dtype)


def wavedec(
    x: Tensor, wavelet: str | Sequence[str] = "haar", levels: int = 1, *, axes: Sequence[int] = (-1,), mode: str = "periodization"
) -> Decomposition:
    """Transform `levels` times, each time the approximation of the level before.

    Args:
        x: Real floating-point tensor.
        wavelet: One name for all axes, or one for each.
        levels: Number of levels, 0 or more (0: `x` is the approximation).
        axes: The axes to transform, each once.
        mode: How the ends are treated, see `dwt`.

    Raises:
        ShapeError: If an axis has too few points for so many levels (in mode "periodization": less than 2^(levels - 1) + 1).
        InputError: As in `dwt`, or if `levels` is negative.
    """
    if levels < 0:
        raise InputError(f"wavedec: expected levels >= 0, got {levels}")
    _plan(x, wavelet, axes, mode=mode, lengths=None)
    approximation, details, lengths = _wide(x), [], []
    for level in range(levels):
        here = tuple(approximation.shape[axis] for axis in axes)
        if min(here) < 2 and mode == "periodization":
            raise ShapeError(
                f"wavedec: too many levels: expected 2 or more points along each axis of {tuple(axes)} at level {level + 1}, "
                f"got {here} of shape {tuple(x.shape)}; take at most {level} levels"
            )
        bands = dwt(approximation, wavelet, axes, mode=mode)
        approximation = bands.pop("a" * len(axes))
        details.append({name: band.to(x.dtype) for name, band in bands.items()})
        lengths.append(here)
    return Decomposition(approximation.to(x.dtype), tuple(reversed(details)), tuple(reversed(lengths)), mode)


def waverec(coefficients: Decomposition, wavelet: str | Sequence[str] = "haar", axes: Sequence[int] = (-1,)) -> Tensor:
    """Invert `wavedec`; the mode and the lengths are those kept by the decomposition.

    Raises:
        InputError: As in `idwt`.
        ShapeError: As in `idwt`.
    """
    dtype = coefficients.approximation.dtype
    x = _wide(coefficients.approximation)
    for level, bands in enumerate(coefficients.details):
        lengths = None if coefficients.lengths is None else coefficients.lengths[level]
        wide = {name: _wide(band) for name, band in bands.items()}
        x = idwt({"a" * len(axes): x, **wide}, wavelet, axes, lengths=lengths, mode=coefficients.mode)
    return x.to(dtype)


@dataclass(frozen=True)
class BandGain:
    """What one level along one axis makes of unit white noise, and how far it is from a rotation.

    Attributes:
        low: Root mean square of the approximations.
        high: Root mean square of the details.
        smallest: Smallest singular value of the map.
        largest: Largest singular value; the square of `largest` / `smallest`, to the power of the number of axes, bounds how unequal the variances of
            independent directions become.
    """

    low: float
    high: float
    smallest: float
    largest: float


def band_gain(wavelet: str, length: int = 64, *, mode: str = "periodization") -> BandGain:
    """Colouring of white noise by one level along an axis of `length` points (all 1 for an orthonormal wavelet in mode "periodization").

    Noise that is white on coefficients is coloured on points, and the other way round, wherever the singular values differ.

    Raises:
        InputError: If the wavelet or the mode is unknown or `length` below 1.
    """
    check_one_of(mode, MODES, "wavelet mode")
    filters(wavelet)
    if length < 1:
        raise InputError(f"band_gain: expected length >= 1, got {length}")
    dense = matrix(analysis(wavelet, mode, length))
    power = np.square(dense).sum(1)
    values = np.linalg.svd(dense, compute_uv=False)
    half = len(power) // 2
    return BandGain(float(power[:half].mean() ** 0.5), float(power[half:].mean() ** 0.5), float(values.min()), float(values.max()))


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _plan(
    x: Tensor, wavelet: str | Sequence[str], axes: Sequence[int], *, mode: str, lengths: Sequence[int] | None, inverse: bool = False
) -> Plan:
    """The maps of the axes, checked; `x` is the input, or a band of it if `inverse`."""
    check_one_of(mode, MODES, "wavelet mode")
    if not x.dtype.is_floating_point:
        raise InputError(f"wavelets: expected a real floating-point tensor, got {x.dtype}; convert it first")
    for axis in axes:
        if not -x.ndim <= axis < x.ndim:
            raise ShapeError(f"wavelets: expected axes of a tensor with {x.ndim} axes, got axis {axis}; choose from {-x.ndim} to {x.ndim - 1}")
    places = tuple(axis % x.ndim - x.ndim for axis in axes)
    if not places or len(set(places)) < len(places):
        raise InputError(f"wavelets: expected one or more axes, each named once, got {tuple(axes)}")
    names: tuple[str, ...] = per_axis(wavelet, len(places), "wavelet")
    if min(x.shape[axis] for axis in places) < 1:
        raise ShapeError(f"wavelets: expected at least one point along each of the axes {tuple(axes)}, got shape {tuple(x.shape)}")
    if not inverse:
        return tuple((axis, analysis(name, mode, x.shape[axis])) for axis, name in zip(places, names, strict=True))
    found = []
    for i, (axis, name) in enumerate(zip(places, names, strict=True)):
        spread = 0 if mode == "periodization" else len(filters(name).low) - 2
        length = 2 * x.shape[axis] - spread if lengths is None else lengths[i]
        made = synthesis(name, mode, max(length, 1))
        if length < 1 or made.halves != x.shape[axis]:
            raise ShapeError(
                f"idwt: expected {made.halves} coefficients along axis {axis} for {length} points ({name}, {mode}), got {x.shape[axis]}; "
                "give the lengths and the mode of dwt"
            )
        found.append((axis, made))
    return tuple(found)
