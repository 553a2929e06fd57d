"""Windows of fields read into memory that is given: from arrays, straight from HDF5 files, or by way of xarray."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from physdiff.data.direct import Stored, StoredVariable, Stretch
from physdiff.data.lazy import EXPVER, LazyField, Piece
from physdiff.data.packing import unpack

__all__ = ["WindowReader"]

_OTHERS = threading.Lock()  # what xarray reads is read by one thread at a time


@dataclass(frozen=True, eq=False)
class _Axis:
    """A direction of space in a file: its house name, the stretch read, and how that is turned into house order (None: not at all)."""

    name: str
    stretch: slice
    turn: slice | np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Cut:
    """A piece of a lazy field, as far as windows need it.

    Args:
        piece: The piece.
        first: Index of its first frame, in frames of the windows' time axis (negative if windows begin later).
        frames: Number of its frames.
        places: For each dimension of the file an index, ``"time"``, (row dimension, index of its first row), or an `_Axis`.
        samples: The samples that it holds, where files are joined along these, counted as the windows do.
    """

    piece: Piece
    first: int
    frames: int
    places: tuple[int | str | tuple[str, int] | _Axis, ...]
    samples: range | None = None

    def meets(self, rows: Mapping[str, int], start: int, frames: int) -> bool:
        """Whether it has something of a window."""
        inside = self.samples is None or rows["sample"] in self.samples
        return inside and self.first < start + frames and self.first + self.frames > start

    def key(self, rows: Mapping[str, int], frames: slice) -> Stretch:
        """What is read of the file."""
        found: list[int | slice] = []
        for place in self.places:
            if isinstance(place, _Axis):
                found.append(place.stretch)
            elif isinstance(place, tuple):
                found.append(place[1] + rows[place[0]])
            else:
                found.append(frames if isinstance(place, str) else place)
        return tuple(found)

    def turned(self, values: np.ndarray, space: Sequence[str]) -> np.ndarray:
        """What was read, as (time, *space) in house order."""
        names = [p if isinstance(p, str) else p.name for p in self.places if isinstance(p, str | _Axis)]
        turns = {p.name: p.turn for p in self.places if isinstance(p, _Axis)}
        values = values.transpose([names.index(n) for n in ("time", *space)])
        for k, name in enumerate(space):
            turn = turns[name]
            if isinstance(turn, slice):
                values = values[(slice(None),) * (k + 1) + (turn,)]
            elif turn is not None:
                values = np.take(values, turn, axis=k + 1)
        return values


class WindowReader:
    """Reads windows of several fields. It holds paths and indices, and arrays that are in memory; it may be pickled, forked and used by threads.

    Args:
        fields: Variables on (*rows, time, *space) in this order; row dimensions may lack.
        space: Dimensions of space.
    """

    def __init__(self, fields: Mapping[str, xr.Variable], space: Sequence[str]) -> None:
        self._fields = list(fields.values())
        self._space = tuple(space)
        self._cuts = [_cuts(field, self._space) for field in self._fields]

    def read(self, rows: Mapping[str, int], start: int, out: np.ndarray) -> None:
        """Fill `out` (fields, frames, *space), float32 and contiguous, with the window that begins at frame `start` of the trajectory `rows`."""
        ready: dict[Any, list[tuple[int, _Cut, StoredVariable]]] = {}
        for c, cuts in enumerate(self._cuts):
            own = [cut for cut in cuts or () if cut.meets(rows, start, out.shape[1])]
            found = [(c, cut, self._stored(c, cut)) for cut in own]
            if not found or any(v is None for _, _, v in found):
                self._read_field(c, rows, start, out[c])
                continue
            for _, cut, variable in found:
                assert variable is not None
                # components of a vector lie in one array, which is read once
                shared = (cut.piece.path, variable.parts[0].name) if variable.tail else (c, cut.first)
                ready.setdefault(shared, []).append((c, cut, variable))
        for together in ready.values():
            self._read_cut(together, rows, start, out)

    def block(self) -> int:
        """Frames of the longest chunk that must be decompressed or checked as a whole, so that windows within it are best read together; else 1."""
        found = [1]
        for c, cuts in enumerate(self._cuts):
            variable = self._stored(c, cuts[0]) if cuts else None
            chunks = None if variable is None else variable.parts[0].costly_chunks
            if variable is not None and chunks is not None and cuts:
                found.append(chunks[cuts[0].places.index("time") - variable.stacked])
        return max(found)

    def _stored(self, c: int, cut: _Cut) -> StoredVariable | None:
        lazy = _lazy(self._fields[c])
        assert lazy is not None
        return lazy[0].files.stored(cut.piece.path, cut.piece.variable)

    def _read_cut(self, together: Sequence[tuple[int, _Cut, StoredVariable]], rows: Mapping[str, int], start: int, out: np.ndarray) -> None:
        """Read one array, and write its part of the window to all fields that are in it."""
        _, cut, variable = together[0]
        low, high = max(start, cut.first), min(start + out.shape[1], cut.first + cut.frames)
        stored, key = _array(variable, cut.key(rows, slice(low - cut.first, high - cut.first)))
        along = next(k for k, p in enumerate(cut.places) if p == "time") - variable.stacked
        for at, raw in stored.parts(key, along):
            begin = low - start + at
            for c, own, component in together:
                where: Any = (..., *component.tail)
                block = own.turned(raw[where], self._space)
                unpack(block, out[c, begin : begin + block.shape[0]], component.packing)

    def _read_field(self, c: int, rows: Mapping[str, int], start: int, out: np.ndarray) -> None:
        field = self._fields[c]
        key = tuple(rows[str(d)] if d in rows else slice(start, start + out.shape[0]) if d == "time" else slice(None) for d in field.dims)
        if isinstance(field._data, np.ndarray):
            np.copyto(out, field._data[key], casting="unsafe")
            return
        with _OTHERS:
            np.copyto(out, np.asarray(field[key].values), casting="unsafe")


def _array(variable: StoredVariable, key: Stretch) -> tuple[Stored, Stretch]:
    """The array that holds a trajectory, and the stretch of it, trailing components included."""
    index = key[0] if variable.stacked else 0
    assert isinstance(index, int)
    part, key = variable.parts[index], key[1:] if variable.stacked else key
    return part, (*key, *(slice(0, n) for n in part.shape[len(key) :]))


def _lazy(variable: xr.Variable) -> tuple[LazyField, tuple[Any, ...]] | None:
    """The lazy field behind a variable and the part of it that the variable is; None if it is none, or a transposed one."""
    data: Any = variable._data
    if not isinstance(data, indexing.LazilyIndexedArray) or not isinstance(data.array, LazyField):
        return None
    kept = [d for d, k in zip(data.array.dims, data.key.tuple, strict=True) if not isinstance(k, int | np.integer)]
    return (data.array, data.key.tuple) if kept == list(variable.dims) else None


def _cuts(variable: xr.Variable, space: Sequence[str]) -> list[_Cut] | None:
    """The pieces of a field, or None where it cannot be read directly."""
    lazy = _lazy(variable)
    if lazy is None:
        return None
    field, key = lazy
    wanted = {d: np.arange(n)[k] if d in space else k for d, n, k in zip(field.dims, field.shape, key, strict=True)}
    time = wanted.get("time")
    if not isinstance(time, slice) or time.indices(field.shape[field.dims.index("time")])[2] != 1:
        return None
    frames = field.shape[field.dims.index("time")]
    origin, done, cuts = -int(time.indices(frames)[0]), 0, []
    for piece in field.pieces:
        by_sample = field.along == "sample"
        places = [_place(axis, piece, wanted, field=field, done=done if by_sample else 0) for axis in piece.axes]
        if any(p is None for p in places) or "time" not in places:
            return None
        found = tuple(p for p in places if p is not None)
        held = next((range(-p[1], piece.frames - p[1]) for p in found if isinstance(p, tuple) and p[0] == "sample"), None) if by_sample else None
        if by_sample and held is None:
            return None
        cuts.append(_Cut(piece, origin if by_sample else origin + done, frames if by_sample else piece.frames, found, held))
        done += piece.frames
    return cuts


def _place(axis: int | str, piece: Piece, wanted: Mapping[str, Any], *, field: LazyField, done: int) -> int | str | tuple[str, int] | _Axis | None:
    if not isinstance(axis, str):
        return axis
    if axis == EXPVER or (axis in piece.orders and not isinstance(wanted[axis], np.ndarray)):
        return None
    if axis == "time":
        return axis
    part = wanted[axis]
    if isinstance(part, np.ndarray):
        return _axis(axis, piece.orders[axis][part] if axis in piece.orders else part)
    if isinstance(part, slice):
        first, _, step = part.indices(field.shape[field.dims.index(axis)])
        return (axis, first - (done if axis == "sample" else 0)) if step == 1 else None
    return int(part) if isinstance(part, int | np.integer) else None


def _axis(name: str, places: np.ndarray) -> _Axis | None:
    """The stretch of a file that holds these places, and the way from there."""
    places = np.atleast_1d(places)
    low, high = int(places.min()), int(places.max())
    rising = np.arange(low, high + 1)
    turn: slice | np.ndarray | None = places - low
    if np.array_equal(places, rising):
        turn = None
    elif np.array_equal(places, rising[::-1]):
        turn = slice(None, None, -1)
    return _Axis(name, slice(low, high + 1), turn)
