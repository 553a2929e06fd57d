"""Fields that stay in their files until they are asked for.

A `LazyField` is one variable in house order: pieces of one or several files joined along time, one level taken out, axes reordered. It
holds paths and indices only. Files are opened when first read, once per process: it can be pickled to a spawned process, and a forked one
opens its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from physdiff.base.errors import DataError
from physdiff.data.direct import RawFile, StoredVariable, stored_variable
from physdiff.data.readers.detect import open_file

__all__ = ["EXPVER", "Files", "LazyField", "Piece", "damaged"]

EXPVER = "expver"


_MOST_RAW = 128  # files open for direct reading, one descriptor or two each


class Files:
    """Open files and Zarr stores of this process, by path; threads may share it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._open: dict[str, xr.Dataset] = {}
        self._raw: dict[str, tuple[RawFile, dict[str, StoredVariable | None]]] = {}
        self._inherited: list[object] = []
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Files.__init__(self)

    def get(self, path: str) -> xr.Dataset:
        """The file, unpacked (scale, offset, fill values) but with times as numbers.

        Raises:
            DataError: If the file is missing or not netCDF.
        """
        self._own()
        with self._lock:
            if path not in self._open:
                self._open[path] = open_file(path)
            return self._open[path]

    def stored(self, path: str, name: str) -> StoredVariable | None:
        """The arrays behind a variable, to be read directly; None if they cannot be.

        Raises:
            DataError: If the file is missing or of no known kind.
        """
        self._own()
        with self._lock:
            if path not in self._raw:
                if "://" in path or os.path.isdir(path):
                    return None
                if len(self._raw) >= _MOST_RAW:
                    del self._raw[next(iter(self._raw))]  # closed when the last reader has let it go
                self._raw[path] = (RawFile(path), {})
            file, known = self._raw[path]
            if name not in known:
                known[name] = stored_variable(self.get(path), name, file)
            return known[name]

    def _own(self) -> None:
        """In a forked child: neither use nor close what the parent has opened."""
        if os.getpid() != self._process:
            self._inherited += [self._open, self._raw]
            self._process, self._open, self._raw, self._lock = os.getpid(), {}, {}, threading.RLock()


def damaged(path: str, what: str, error: Exception) -> DataError:
    """The error for values that cannot be read from a file that could be opened."""
    remedy = "check the address and the network" if "://" in path else "the file is damaged or cut off, fetch it again"
    return DataError(f"{path}: expected to read {what}, got an error ({error}); {remedy}")


@dataclass(frozen=True)
class Piece:
    """One variable of one file, on one level.

    Args:
        path: The file.
        variable: Its name there.
        axes: For each dimension in the file's order: the house dimension it becomes, the index taken from it, or EXPVER to merge.
        orders: Positions in the file in house order, for the dimensions that are not read as they stand.
        frames: Number of time steps; 1 if the file has a scalar time. Of files joined along samples: of samples.
    """

    path: str
    variable: str
    axes: tuple[str | int, ...]
    orders: Mapping[str, np.ndarray]
    frames: int

    def read(self, files: Files, wanted: Mapping[str, np.ndarray], dims: Sequence[str]) -> np.ndarray:
        """Values at the `wanted` positions of each house dimension, axes in the order of `dims`."""
        keys: list[int | slice] = []
        left: list[tuple[str, np.ndarray | None]] = []
        for axis in self.axes:
            if isinstance(axis, int):
                keys.append(axis)
            elif axis == EXPVER:
                keys.append(slice(None))
                left.append((axis, None))
            else:
                places = wanted[axis] if axis not in self.orders else self.orders[axis][wanted[axis]]
                low, high = int(places.min()), int(places.max())
                keys.append(slice(low, high + 1))
                left.append((axis, None if np.array_equal(places, np.arange(low, high + 1)) else places - low))
        try:
            data = np.asarray(files.get(self.path).variables[self.variable][tuple(keys)].values)
        except DataError:
            raise
        except Exception as error:  # libraries raise whatever damaged chunks lead them to
            raise damaged(self.path, self.variable, error) from error
        for k, (_, places) in enumerate(left):
            data = data if places is None else np.take(data, places, axis=k)
        names = [axis for axis, _ in left]
        if EXPVER in names:
            k = names.index(EXPVER)
            data = _first_not_missing(np.moveaxis(data, k, 0))
            names.pop(k)
        present = [d for d in dims if d in names]
        data = data.transpose([names.index(d) for d in present])
        return data.reshape([wanted[d].size if d in present else 1 for d in dims])


def _first_not_missing(stack: np.ndarray) -> np.ndarray:
    result = stack[0].copy()
    for other in stack[1:]:
        result = np.where(np.isnan(result), other, result)
    return result


class LazyField(BackendArray):
    """A variable in house order, read from its files when indexed.

    Args:
        files: The files of this process.
        pieces: In order along `along`; exactly one if there is no such dimension.
        dims: House dimensions.
        shape: Their lengths.
        dtype: What the values are read as.
        along: The dimension along which files are joined: ``"time"`` or ``"sample"``.
    """

    def __init__(
        self, files: Files, pieces: Sequence[Piece], dims: tuple[str, ...], *, shape: tuple[int, ...], dtype: np.dtype, along: str = "time"
    ) -> None:
        self.files, self.pieces, self.dims = files, tuple(pieces), dims
        self.shape, self.dtype, self.along = shape, dtype, along

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        if not isinstance(key, indexing.VectorizedIndexer):
            return self._read(key.tuple)
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        taken = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        wanted = {d: np.atleast_1d(i) for d, i in zip(self.dims, taken, strict=True)}
        out = np.empty([wanted[d].size for d in self.dims], self.dtype)
        if out.size:
            if self.along not in self.dims:
                out[...] = self.pieces[0].read(self.files, wanted, self.dims)
            else:
                self._read_joined(out, wanted)
        return out[tuple(0 if np.ndim(i) == 0 else slice(None) for i in taken)]

    def _read_joined(self, out: np.ndarray, wanted: Mapping[str, np.ndarray]) -> None:
        axis, start, asked = self.dims.index(self.along), 0, wanted[self.along]
        for piece in self.pieces:
            inside = np.flatnonzero((asked >= start) & (asked < start + piece.frames))
            for places in _runs(inside, asked):
                part = piece.read(self.files, {**wanted, self.along: asked[places] - start}, self.dims)
                out[(slice(None),) * axis + (places,)] = part
            start += piece.frames


def _runs(places: np.ndarray, times: np.ndarray) -> Iterator[np.ndarray]:
    """Split positions so that each part reads a stretch of the file of which it needs at least half."""
    if places.size == 0:
        return
    frames = times[places]
    if frames.max() - frames.min() + 1 <= 2 * frames.size:
        yield places
        return
    cuts = np.flatnonzero(np.diff(frames) != 1) + 1
    yield from np.split(places, cuts)
