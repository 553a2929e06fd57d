r"""Wavelet coefficients on the coarsest grid: pad, orthonormal transform, pack.

1. Each transformed axis is padded to a multiple of $2^L$. Nothing is added where nothing is needed: to an
axis that is a multiple already and is periodic, or is met by the haar filter, which never reaches across the
ends. Any other axis is prolonged by a linear cross-fade from its last to its first value over at least half a
filter length $F/2$ (haar: only what the multiple asks for), so that the periodic continuation has no jump:

$$x_{N-1+i} = x_{N-1} + \frac{i}{p+1} (x_0 - x_{N-1}), \qquad i = 1 \dots p.$$

2. $L$ levels of the periodized orthonormal transform. 3. Finer bands go to channels by space-to-depth, $C' =
C\,2^{nL}$ for n axes.

All of it is linear. Without padding the map is an orthogonal matrix, so that white noise stays white; with
padding it is one to one into a slightly larger space, and `decode` crops.

Reference: S. Mallat, A Wavelet Tour of Signal Processing, 3rd ed. (2009), chapter 7.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, per_axis
from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.transform import Batches, Shape, Transform
from physdiff.wavelets.dwt import wavedec, waverec
from physdiff.wavelets.filters import filter_length
from physdiff.wavelets.packing import depth_to_space, pack, pack_share, space_to_depth, unpack

__all__ = ["POLYPHASE", "WaveletTransform", "cross_fade", "pack_known", "padded_length"]

POLYPHASE = "pixels"

_AXES = ("time", "z", "y", "x", "latitude", "longitude")


class WaveletTransform(Transform):
    """Windows (B, C, T, *S) to packed wavelet coefficients (B, C 2^(n levels), T', *S') and back.

    Channel k C + c is part k of field c; part 0 is the coarse approximation, then the details, coarsest level
    first.

    Args:
        wavelet: ``haar``, ``db<p>``, ``sym<p>``, ``coif<k>`` or ``bior<r>.<d>`` (which colours white noise, see `band_gain`); one name (the
            time axis then gets haar) or one for each of `axes`. ``pixels``: no wavelet, the 2^(n levels) interleaved sub-grids of points as as
            many channels, to tell what a wavelet adds from what its layout does.
        levels: Number of levels L, 1 or more.
        axes: Names of the transformed axes, of time, z, y, x, latitude, longitude; None: all axes in space.
        shape: (T, *S) of the windows; None until fitted. Only the lengths of transformed axes are held fixed.
        dims: Names of the axes in space, storage order, as ``grid.dims``.
        periodic: Whether each axis in space closes on itself, as ``grid.periodic``; None: none does. Time
            never does.

    Raises:
        InputError: If a wavelet or an axis is unknown, or shape, dims and periodic do not fit together.
        NotFitted: If used before its shape is known.
    """

    def __init__(
        self,
        wavelet: str | tuple[str, ...] = "haar",
        levels: int = 1,
        axes: tuple[str, ...] | None = None,
        *,
        shape: tuple[int, ...] | None = None,
        dims: tuple[str, ...] | None = None,
        periodic: tuple[bool, ...] | None = None,
    ) -> None:
        super().__init__()
        for name in (wavelet,) if isinstance(wavelet, str) else wavelet:
            if name != POLYPHASE or not isinstance(wavelet, str):
                filter_length(name)
        if levels < 1:
            raise InputError(
                f"WaveletTransform: expected levels >= 1, got {levels}; leave the transform out for none"
            )
        if axes is not None:
            _check_axes(axes)
        if (shape is None) != (dims is None) or (shape is None and periodic is not None):
            raise InputError(
                f"WaveletTransform: expected shape and dims together, got shape = {shape}, dims = {dims}, "
                f"periodic = {periodic}; or give none and use fitted(transform, data)"
            )
        self.wavelet, self.levels, self.axes = wavelet, levels, axes
        self.shape: tuple[int, ...] | None = None
        if shape is not None and dims is not None:
            self._place(tuple(shape), tuple(dims), periodic)

    def _place(
        self, shape: tuple[int, ...], dims: tuple[str, ...], periodic: tuple[bool, ...] | None
    ) -> None:
        """Find position, wavelet and padded length of every transformed axis."""
        if "time" in dims or len(dims) != len(shape) - 1 or min(shape) < 1:
            raise InputError(
                "WaveletTransform: expected shape (T, *S) of positive lengths and one name in dims for each "
                f"axis of S (time is not among them), got shape = {shape}, dims = {dims}"
            )
        closed = (
            False,
            *per_axis(False if periodic is None else periodic, len(dims), "WaveletTransform periodic"),
        )
        every = ("time", *dims)
        names = dims if self.axes is None else self.axes
        for name in names:
            check_one_of(name, every, f"WaveletTransform: axes of windows with {', '.join(every)}")
        if isinstance(self.wavelet, str) and self.wavelet != POLYPHASE:
            self._wavelets = tuple("haar" if name == "time" else self.wavelet for name in names)
        else:
            self._wavelets = per_axis(
                "haar" if self.wavelet == POLYPHASE else self.wavelet, len(names), f"WaveletTransform: wavelets of {', '.join(names)}"
            )
        places = [every.index(name) for name in names]
        self._positions = tuple(place + 2 for place in places)
        self._lengths = tuple(shape[place] for place in places)
        self._padded = tuple(
            padded_length(shape[place], name, self.levels, periodic=closed[place])
            for place, name in zip(places, self._wavelets, strict=True)
        )
        self.shape = shape

    def fitted_to(
        self, shape: Sequence[int], dims: Sequence[str], periodic: Sequence[bool] | None = None
    ) -> WaveletTransform:
        """The same transform for windows of `shape` (T, *S) on a grid with `dims` and `periodic`.

        Raises:
            InputError: If they do not fit together, or an axis to transform is not among them.
        """
        closed = None if periodic is None else tuple(bool(p) for p in periodic)
        size = tuple(int(n) for n in shape)
        return WaveletTransform(
            self.wavelet, self.levels, self.axes, shape=size, dims=tuple(dims), periodic=closed
        )

    def fitted_from(
        self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None
    ) -> WaveletTransform:
        """Take the size from the first batch and the names from the grid; see Transform.fitted_from."""
        del cond_spec
        for sample in batches():
            return self.fitted_to(tuple(sample.x.shape[2:]), spec.grid.dims, spec.grid.periodic)
        raise InputError("WaveletTransform: expected at least one window to take the size of, got none")

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        if self.wavelet == POLYPHASE:
            return space_to_depth(self._pad(x, "encode"), 2**self.levels, self._positions).flatten(1, 2)
        coefficients = wavedec(self._pad(x, "encode"), self._wavelets, self.levels, axes=self._positions)
        return pack(coefficients, self._positions)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        self._require("decode", z, tuple(n // 2**self.levels for n in self._sizes("decode")))
        if self.wavelet == POLYPHASE:
            parts = torch.unflatten(z, 1, (2 ** (self.levels * len(self._positions)), -1))
            x = depth_to_space(parts, 2**self.levels, self._positions)
        else:
            x = waverec(unpack(z, self.levels, self._positions), self._wavelets, self._positions)
        for axis, length in zip(self._positions, self._lengths, strict=True):
            x = x.narrow(axis, 0, length)
        return x

    def out_shape(self, shape: Shape) -> Shape:
        """(C, T, *S) -> (C 2^(n levels), T', *S'), each transformed axis padded and divided by 2^levels."""
        self._sizes("out_shape")
        result = list(shape)
        result[0] *= 2 ** (self.levels * len(self._positions))
        for axis, length, padded in zip(self._positions, self._lengths, self._padded, strict=True):
            if len(shape) <= axis - 1 or shape[axis - 1] != length:
                raise ShapeError(
                    f"WaveletTransform.out_shape: expected (C, T, *S) of (C, *{self.shape}), got {shape}"
                )
            result[axis - 1] = padded // 2**self.levels
        return tuple(result)

    def weight(self, known: Tensor) -> Tensor:
        """Mean of `known` (B, C, T, *S) over the cell of each coefficient, laid out as the coefficients.

        The cell of a level-l coefficient is a box of 2^l points along each transformed axis; padding counts
        as the values it fades between.
        """
        if self.wavelet == POLYPHASE:
            return space_to_depth(self._pad(known, "weight"), 2**self.levels, self._positions).flatten(1, 2)
        return pack_share(self._pad(known, "weight"), self.levels, self._positions)

    def _sizes(self, where: str) -> tuple[int, ...]:
        if self.shape is None:
            raise NotFitted(
                f"WaveletTransform.{where}: expected the size of the windows, got none; "
                "use fitted(transform, data) or fitted_to(shape, dims, periodic) first"
            )
        return self._padded

    def _require(self, where: str, x: Tensor, lengths: tuple[int, ...]) -> None:
        assert self.shape is not None
        if x.ndim != len(self.shape) + 2 or any(
            x.shape[axis] != length for axis, length in zip(self._positions, lengths, strict=True)
        ):
            raise ShapeError(
                f"WaveletTransform.{where}: expected (batch, channel, time, *space) with lengths {lengths} "
                f"along axes {self._positions}, got {tuple(x.shape)}; it is fitted to windows of {self.shape}"
            )

    def _pad(self, x: Tensor, where: str) -> Tensor:
        padded = self._sizes(where)
        self._require(where, x, self._lengths)
        for axis, length in zip(self._positions, padded, strict=True):
            x = cross_fade(x, length, axis)
        return x


def padded_length(length: int, wavelet: str, levels: int, *, periodic: bool) -> int:
    """Length of an axis after padding: a multiple of 2^levels, with room for the fade where there is a seam.

    Haar needs no room: on a multiple of 2^levels no box of it reaches across the ends.
    """
    multiple: int = 2**levels
    n_taps = filter_length(wavelet)
    if length % multiple == 0 and (periodic or n_taps == 2):
        return length
    fade = 0 if n_taps == 2 else n_taps // 2
    return (length + fade + multiple - 1) // multiple * multiple


def cross_fade(x: Tensor, length: int, axis: int) -> Tensor:
    """Prolong `axis` to `length` by a straight line from its last value to its first (linear in `x`)."""
    n = x.shape[axis]
    if n == length:
        return x
    steps = length - n
    shape = [1] * x.ndim
    shape[axis] = steps
    ramp = torch.arange(1, steps + 1, dtype=x.dtype, device=x.device).div(steps + 1).reshape(shape)
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1)
    return torch.cat((x, last + (first - last) * ramp), axis)


def pack_known(transform: WaveletTransform | None, known: Tensor) -> Tensor:
    """Carry masks or other plain maps (B, M, T, *S) to the coefficient grid by box means.

    The result is laid out as the coefficients of M fields.

    Args:
        transform: The wavelet transform; None (no wavelet in use) leaves `known` as it is.
        known: Masks (1 known, 0 filled); any number of channels M. Part 0 of the result, ``[:, :M]``, holds
            the coarsest means.
    """
    return known if transform is None else transform.weight(known)


def _check_axes(axes: tuple[str, ...]) -> None:
    for name in axes:
        check_one_of(name, _AXES, "WaveletTransform axes")
    if not axes or len(set(axes)) < len(axes):
        raise InputError(f"WaveletTransform: expected one or more axes, each named once, got {axes}")
