"""One level of a wavelet transform along one axis: a linear map A, its transpose, and fast products with both.

Analysis extends an axis of N points at its ends and takes every second product with two filters t_0, t_1 of F taps,

    c_s[k] = sum_m t_s[2k + F - 1 - m] x[i(m)],      k = 0 ... L - 1,      m = 0 ... 2L + F - 3,

where i(m) is the point that position m of the extended axis repeats (or none: a zero). Synthesis is the TRANSPOSE of such a map with the reversed
synthesis filters and a map i of its own, so that A and its transpose are all there is to compute, forward and backward. With an
orthonormal wavelet in mode "periodization" both maps are one orthogonal matrix.

Modes: ``zero``; ``constant`` (the end value); ``symmetric`` (... x1 x0 | x0 x1 ...); ``reflect`` (... x2 x1 | x0 x1 ...); ``periodic``:
L = floor((N + F - 1) / 2), more coefficients than points; ``periodization``: periodic with L = ceil(N / 2), an odd axis repeating its last point.

Short axes use the dense matrix, others products with windows of it, haar sums and differences of neighbours. A window of 2 P coefficients meets
2 P + F - 2 neighbouring points, and windows overlap without being copied.

Reference: S. Mallat, A Wavelet Tour of Signal Processing, 3rd ed. (2009), sections 7.3 and 7.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physdiff.wavelets.filters import filters

__all__ = ["MODES", "AxisMap", "analysis", "apply", "apply_by_taps", "apply_transpose", "apply_transpose_by_taps", "matrix", "synthesis"]

MODES = ("periodization", "periodic", "zero", "constant", "symmetric", "reflect")
Array = NDArray[np.float64]
_NOTHING = -1


@dataclass(frozen=True)
class AxisMap:
    """The map A of one axis; see the module.

    Attributes:
        taps: The two filters.
        length: Points N.
        halves: Coefficients L of each filter.
        before: Points repeated before the axis, i(m) for the first m; -1: a zero.
        after: Points repeated after it.
    """

    taps: tuple[tuple[float, ...], tuple[float, ...]]
    length: int
    halves: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def is_haar(self) -> bool:
        """Whether neighbours alone are met (an odd axis has one point more at its end)."""
        return len(self.taps[0]) == 2 and not self.before


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def analysis(wavelet: str, mode: str, length: int) -> AxisMap:
    """The map from an axis of `length` points to its coefficients."""
    return _analysis(wavelet, mode, length)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def synthesis(wavelet: str, mode: str, length: int) -> AxisMap:
    """The map whose TRANSPOSE takes the coefficients of `analysis` back to `length` points."""
    return _synthesis(wavelet, mode, length)


@lru_cache(maxsize=512)
def _analysis(wavelet: str, mode: str, length: int) -> AxisMap:
    bank = filters(wavelet)
    n_taps = len(bank.low)
    if mode == "periodization":
        halves, lead, even = (length + 1) // 2, n_taps // 2 - 1, length + length % 2
        where = [min((m - lead) % even, length - 1) for m in range(2 * halves + n_taps - 2)]
    else:
        halves, lead = (length + n_taps - 1) // 2, n_taps - 2
        where = [_source(m - lead, length, mode) for m in range(2 * halves + n_taps - 2)]
    return AxisMap((bank.low, bank.high), length, halves, tuple(where[:lead]), tuple(where[lead + length :]))


@lru_cache(maxsize=512)
def _synthesis(wavelet: str, mode: str, length: int) -> AxisMap:
    bank = filters(wavelet)
    n_taps = len(bank.low)
    halves = _analysis(wavelet, mode, length).halves
    size = 2 * halves + n_taps - 2
    if mode == "periodization":
        lead, even = n_taps // 2 - 1, length + length % 2
        where = [(m - lead) % even for m in range(size)]
        where = [m if m < length else _NOTHING for m in where]
    else:
        lead = n_taps - 2
        where = [_NOTHING] * size
    return AxisMap((bank.rebuilt_low[::-1], bank.rebuilt_high[::-1]), length, halves, tuple(where[:lead]), tuple(where[lead + length :]))


def _source(place: int, length: int, mode: str) -> int:
    """The point of the axis that `place` (below 0 or beyond the end) repeats."""
    if 0 <= place < length:
        return place
    if mode == "zero":
        return _NOTHING
    if mode == "constant" or (mode == "reflect" and length == 1):
        return 0 if place < 0 else length - 1
    if mode == "periodic":
        return place % length
    period = 2 * length if mode == "symmetric" else 2 * length - 2
    place %= period
    return place if place < length else period - place - (mode == "symmetric")


@lru_cache(maxsize=128)
def matrix(axis_map: AxisMap) -> Array:
    """A as a dense (2L, N) array: L rows of the first filter, then L of the second."""
    length, halves = axis_map.length, axis_map.halves
    where = np.array((*axis_map.before, *range(length), *axis_map.after))
    taps = np.array(axis_map.taps)
    n_taps = taps.shape[1]
    dense = np.zeros((2, halves, length))
    for k in range(halves):
        here = where[2 * k : 2 * k + n_taps]
        known = here != _NOTHING
        for s in range(2):
            np.add.at(dense[s, k], here[known], taps[s, ::-1][known])  # a filter longer than the axis meets a point more than once
    return dense.reshape(2 * halves, length)


def apply(axis_map: AxisMap, x: Tensor, out: Tensor | None = None, *, factor: float = 1.0) -> Tensor:
    """A x times a factor for x (B, N, R) contiguous: (B, 2L, R), in `out` if given. Not differentiable by itself. Haar lacks its 1 / sqrt 2."""
    b, _, r = x.shape
    halves = axis_map.halves
    if axis_map.is_haar:
        return _haar(axis_map, x, _like(out, x, 2 * halves), factor)
    if _is_short(axis_map, r):
        return _times(_product(_on(matrix(axis_map), x), x), factor, out)
    pairs = _pairs(axis_map, r)
    windows = -(-halves // pairs)
    extended = _extended(axis_map, x, _span(axis_map, windows, pairs, r))
    found = _banded(_on(_window(axis_map.taps, pairs), x), extended, windows).view(b, windows, 2, pairs, r).transpose(1, 2)
    return _times(found.reshape(b, 2, windows * pairs, r)[:, :, :halves].reshape(b, 2 * halves, r), factor, out)


def apply_transpose(axis_map: AxisMap, c: Tensor, out: Tensor | None = None, *, factor: float = 1.0) -> Tensor:
    """A^T c times a factor for c (B, 2L, R) contiguous: (B, N, R), in `out` if given. Not differentiable by itself. Haar lacks its 1 / sqrt 2."""
    b, _, r = c.shape
    halves = axis_map.halves
    if axis_map.is_haar:
        return _haar_transpose(axis_map, c, _like(out, c, axis_map.length), factor)
    if _is_short(axis_map, r):
        return _times(_product(_on(matrix(axis_map).T, c), c), factor, out)
    pairs, reach = _pairs(axis_map, r), len(axis_map.taps[0]) // 2 - 1
    windows = -(-(halves + reach) // pairs)
    beside = c.new_zeros(b, _span(axis_map, windows, pairs, r) // 2, 2, r)
    beside[:, reach : reach + halves] = c.view(b, 2, halves, r).transpose(1, 2)
    found = _banded(_on(_transposed_window(axis_map.taps, pairs), c), beside.view(b, -1, r), windows)
    return _times(_folded(axis_map, found.view(b, -1, r)), factor, out)


def _like(out: Tensor | None, x: Tensor, length: int) -> Tensor:
    return x.new_empty(x.shape[0], length, x.shape[2]) if out is None else out


def _times(found: Tensor, factor: float, out: Tensor | None) -> Tensor:
    if factor != 1:
        return torch.mul(found, factor, out=out)
    return found if out is None else out.copy_(found)


def _is_short(axis_map: AxisMap, columns: int) -> bool:
    """Whether the dense matrix costs less than windows; by trial, the last axis of a field has one column."""
    return axis_map.length <= (64 if columns == 1 else 16) + 4 * len(axis_map.taps[0])


def _pairs(axis_map: AxisMap, columns: int) -> int:
    """Pairs P of coefficients of a window, by trial: few where a window is a matrix of many columns, more where it is a row."""
    n_taps = len(axis_map.taps[0])
    if columns == 1:
        return max(8, n_taps // 2)
    return 4 if n_taps <= 20 else 8


def _span(axis_map: AxisMap, windows: int, pairs: int, columns: int) -> int:
    """Points that `_banded` asks for."""
    return 2 * pairs * (windows + 1) if columns == 1 else 2 * pairs * windows + len(axis_map.taps[0]) - 2


def _banded(block: Tensor, x: Tensor, windows: int) -> Tensor:
    """A block (2 P, 2 P + F - 2) times windows of x (B, `_span`, R) that begin every 2 P points: (B, windows, 2 P, R)."""
    step, size = block.shape
    b, span, r = x.shape
    if r > 1:
        return torch.matmul(block, x.as_strided((b, windows, size, r), (span * r, step * r, r, 1)))
    rows = x.view(-1, step)  # windows as rows would overlap, which no product reads in place: each is its own points and the first of the next row
    found = rows @ block[:, :step].T
    found[:-1].addmm_(rows[1:, : size - step], block[:, step:].T)
    return found.view(b, windows + 1, step, 1)[:, :windows]


def _haar(axis_map: AxisMap, x: Tensor, out: Tensor, factor: float) -> Tensor:
    b, n, r = x.shape
    whole, halved = n // 2, out.view(b, 2, axis_map.halves, r)
    if _as_complex(x, n):
        turned = torch.view_as_complex(x.view(b, whole, 2)) * complex(factor, factor)  # of a + i b: a - b + i (a + b)
        halved[:, 0, :, 0].copy_(turned.imag)
        halved[:, 1, :, 0].copy_(turned.real)
        return out
    pairs = x[:, : 2 * whole].unflatten(1, (whole, 2))  # type: ignore[no-untyped-call]
    torch.add(pairs[:, :, 0], pairs[:, :, 1], out=halved[:, 0, :whole])
    torch.sub(pairs[:, :, 0], pairs[:, :, 1], out=halved[:, 1, :whole])
    if n % 2:  # the last point meets the one that is repeated after it, or nothing
        last, again = x[:, -1], axis_map.after[0]
        beside = torch.zeros_like(last) if again == _NOTHING else x[:, again]
        torch.add(last, beside, out=halved[:, 0, -1])
        torch.sub(last, beside, out=halved[:, 1, -1])
    return out if factor == 1 else out.mul_(factor)


def _haar_transpose(axis_map: AxisMap, c: Tensor, out: Tensor, factor: float) -> Tensor:
    b, _, r = c.shape
    n, whole = axis_map.length, axis_map.length // 2
    halved = c.view(b, 2, axis_map.halves, r)
    if _as_complex(c, n):
        low, high = halved[..., 0].unbind(1)
        pairs = torch.view_as_complex(out.view(b, whole, 2))
        torch.complex(high, low, out=pairs).mul_(complex(factor, -factor))  # of h + i l: h + l + i (l - h)
        return out
    pairs = out[:, : 2 * whole].unflatten(1, (whole, 2))  # type: ignore[no-untyped-call]
    torch.add(halved[:, 0, :whole], halved[:, 1, :whole], out=pairs[:, :, 0])
    torch.sub(halved[:, 0, :whole], halved[:, 1, :whole], out=pairs[:, :, 1])
    if n % 2:
        low, high, again = halved[:, 0, -1], halved[:, 1, -1], axis_map.after[0]
        torch.add(low, high, out=out[:, -1])
        if again != _NOTHING:
            out[:, again] += low - high
    return out if factor == 1 else out.mul_(factor)


def _as_complex(x: Tensor, length: int) -> bool:
    """Whether pairs lie side by side in memory, to be read as complex numbers: every second number is slow to reach by itself."""
    return x.shape[-1] == 1 and length % 2 == 0 and x.dtype in (torch.float32, torch.float64)


def _product(dense: Tensor, x: Tensor) -> Tensor:
    """(M, N) times (B, N, R)."""
    return (x[..., 0] @ dense.T)[..., None] if x.shape[-1] == 1 else dense @ x


def _on(array: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like)


@lru_cache(maxsize=64)
def _window(taps: tuple[tuple[float, ...], tuple[float, ...]], pairs: int) -> Array:
    """The block of A of a window, (2 P, 2 P + F - 2): P rows of the first filter, then P of the second."""
    n_taps = len(taps[0])
    block = np.zeros((2, pairs, 2 * pairs + n_taps - 2))
    for k in range(pairs):
        block[:, k, 2 * k : 2 * k + n_taps] = np.array(taps)[:, ::-1]
    return block.reshape(2 * pairs, -1)


@lru_cache(maxsize=64)
def _transposed_window(taps: tuple[tuple[float, ...], tuple[float, ...]], pairs: int) -> Array:
    """The block of A^T, (2 P, 2 P + F - 2): positions of the extended axis from the pairs of coefficients that reach them."""
    n_taps = len(taps[0])
    reach = n_taps // 2 - 1
    block = np.zeros((2 * pairs, pairs + reach, 2))
    for m in range(2 * pairs):
        for k in range(m // 2 - reach, m // 2 + 1):
            block[m, k + reach] = np.array(taps)[:, 2 * k + n_taps - 1 - m]
    return block.reshape(2 * pairs, -1)


def _extended(axis_map: AxisMap, x: Tensor, size: int) -> Tensor:
    """An axis (B, N, R) with its ends, zeros beyond, `size` in all."""
    spare = size - len(axis_map.before) - axis_map.length - len(axis_map.after)
    parts = [_repeated(x, axis_map.before), x, _repeated(x, axis_map.after)]
    parts += [x.new_zeros(x.shape[0], spare, x.shape[2])] if spare else []
    return torch.cat(parts, 1)


def _repeated(x: Tensor, where: tuple[int, ...]) -> Tensor:
    if all(m == _NOTHING for m in where):
        return x.new_zeros(x.shape[0], len(where), x.shape[2])
    found = x.index_select(1, torch.tensor([max(m, 0) for m in where], device=x.device))
    if _NOTHING in where:
        found = found * torch.tensor([float(m != _NOTHING) for m in where], dtype=x.dtype, device=x.device)[:, None]
    return found


def _folded(axis_map: AxisMap, extended: Tensor) -> Tensor:
    """The transpose of `_extended`."""
    lead, n = len(axis_map.before), axis_map.length
    middle = extended[:, lead : lead + n]
    places = [(m, i) for m, i in enumerate(axis_map.before) if i != _NOTHING]
    places += [(lead + n + m, i) for m, i in enumerate(axis_map.after) if i != _NOTHING]
    if not places:
        return middle.contiguous()
    taken, to = (torch.tensor(list(part), device=extended.device) for part in zip(*places, strict=True))
    return middle.index_add(1, to, extended.index_select(1, taken))


def apply_by_taps(axis_map: AxisMap, x: Tensor) -> Tensor:
    """A x as a sum over taps of differentiable operations, for compilers and as a proof of `apply`."""
    n_taps, halves = len(axis_map.taps[0]), axis_map.halves
    extended = _extended(axis_map, x, 2 * halves + n_taps - 2)
    strands = [extended[:, n_taps - 1 - j : n_taps - 1 - j + 2 * halves - 1 : 2] for j in range(n_taps)]
    terms = [[tap * strand for tap, strand in zip(taps, strands, strict=True)] for taps in axis_map.taps]
    return torch.cat([sum(half[1:], half[0]) for half in terms], 1)


def apply_transpose_by_taps(axis_map: AxisMap, c: Tensor) -> Tensor:
    """A^T c likewise."""
    n_taps, halves = len(axis_map.taps[0]), axis_map.halves
    reach = n_taps // 2 - 1
    padded = torch.nn.functional.pad(torch.unflatten(c, 1, (2, halves)), (0, 0, reach, reach))
    size = halves + reach
    strands = [padded[:, :, reach - t : reach - t + size] for t in range(reach + 1)]
    both = []
    for odd in range(2):
        terms = [axis_map.taps[s][n_taps - 1 - odd - 2 * t] * strands[t][:, s] for s in range(2) for t in range(reach + 1)]
        both.append(sum(terms[1:], terms[0]))
    return _folded(axis_map, torch.stack(both, 2).flatten(1, 2))
