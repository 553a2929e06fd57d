"""Stretches of frames read straight from HDF5 files (netCDF-4, PDEBench, The Well): no decoding by others, no copy that is not needed.

Where an array lies in the file as it is (one piece, or chunks without filters), its bytes are read at their place by the operating system,
with no lock held; compressed or checked chunks go through h5py (extra ``formats``), which verifies checksums.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.packing import Packing, packing_of
from physdiff.data.readers.stored import parts_of

__all__ = ["RawFile", "Stored", "StoredVariable", "Stretch", "stored_variable"]

Stretch = tuple[int | slice, ...]
"""For each dimension of an array an index, or a slice with both ends and step one."""

_PART, _CACHE = 2**20, 2**24  # of decompressed chunks, as netCDF has it


class RawFile:
    """A file open for reading in this process, closed when nothing refers to it any more.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        self._hdf5: Any = None

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def hdf5(self) -> Any:  # noqa: ANN401 - h5py has no types
        """The file as h5py opens it."""
        if self._hdf5 is None:
            import h5py

            self._hdf5 = h5py.File(self.path, "r", rdcc_nbytes=_CACHE)
        return self._hdf5

    def read(self, out: np.ndarray, place: int) -> None:
        """Fill an array with the bytes from `place` on.

        Raises:
            DataError: If the file ends before.
        """
        got = os.preadv(self._descriptor, [out.reshape(-1).view(np.uint8).data], place)
        if got != out.nbytes:
            raise DataError(f"{self.path}: expected {out.nbytes} bytes at {place}, got {got}; the file is cut off, fetch it again")


class Stored:
    """An array of an HDF5 file.

    Args:
        file: The file.
        dataset: Its data set (h5py).
    """

    def __init__(self, file: RawFile, dataset: Any) -> None:  # noqa: ANN401 - h5py has no types
        self.file, self.dataset = file, dataset
        self.name, self.shape, self.dtype = str(dataset.name), tuple(dataset.shape), np.dtype(dataset.dtype)
        self.chunks: tuple[int, ...] | None = dataset.chunks
        plain = dataset.id.get_create_plist().get_nfilters() == 0 and not dataset.external and not dataset.is_virtual
        self._offset: int | None = dataset.id.get_offset() if plain and self.chunks is None else None
        self._plain = plain and (self._offset is not None or self.chunks is not None)

    @property
    def costly_chunks(self) -> tuple[int, ...] | None:
        """Lengths of chunks that must be decompressed or checked as a whole; None if there are none."""
        return None if self._plain else self.chunks

    def parts(self, key: Stretch, along: int) -> Iterator[tuple[int, np.ndarray]]:
        """A stretch in parts along one dimension, so that memory is that of a part: (first index within the stretch, values).

        Args:
            key: What is read; ``key[along]`` is a slice.
            along: The dimension that is cut (time).

        Raises:
            DataError: If the file is damaged or cut off.
        """
        span = key[along]
        assert isinstance(span, slice)
        frame = int(np.prod(self.shape[along + 1 :], dtype=np.int64)) * self.dtype.itemsize
        step = max(1, _PART // max(frame, 1)) if self.chunks is None else self.chunks[along]
        first = int(span.start)
        while first < span.stop:
            last = min(int(span.stop), first + step if self.chunks is None else (first // step + 1) * step)
            yield first - span.start, self._read((*key[:along], slice(first, last), *key[along + 1 :]), along)
            first = last

    def _read(self, key: Stretch, along: int) -> np.ndarray:
        place = self._place(key, along) if self._plain else None
        try:
            if place is None:
                return np.asarray(self.dataset[key])
            out = np.empty([k.stop - k.start for k in key if isinstance(k, slice)], self.dtype)
            self.file.read(out, place)
        except (OSError, RuntimeError) as error:
            what = f"{self.name}, got an error ({error})"
            raise DataError(f"{self.file.path}: expected to read {what}; the file is damaged or cut off, fetch it again") from error
        return out

    def _place(self, key: Stretch, along: int) -> int | None:
        """Where in the file a stretch begins that lies there in one piece; None if it does not."""
        after = [k for k in key[along + 1 :] if isinstance(k, slice)]
        before = [k for k in key[:along] if isinstance(k, int)]
        whole = [(k.start, k.stop) for k in after] == [(0, n) for n in self.shape[along + 1 :]]
        if not whole or len(before) != along:
            return None
        span = key[along]
        assert isinstance(span, slice)
        first = [*before, int(span.start), *(0 for _ in after)]
        if self.chunks is None:
            assert self._offset is not None
            return self._offset + int(np.ravel_multi_index(first, self.shape)) * self.dtype.itemsize
        if self.chunks[along + 1 :] != self.shape[along + 1 :]:
            return None
        corner = tuple(f // c * c for f, c in zip(first, self.chunks, strict=True))
        found = self.dataset.id.get_chunk_info_by_coord(corner)
        if found.byte_offset is None or found.filter_mask:
            return None  # never written: h5py gives its fill value
        within = np.ravel_multi_index([f - c for f, c in zip(first, corner, strict=True)], self.chunks)
        return int(found.byte_offset) + int(within) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class StoredVariable:
    """The arrays behind a variable.

    Args:
        parts: One, or one for each index of a leading dimension (`stacked`).
        tail: Indices of trailing dimensions that the variable does not have.
        stacked: Whether the parts are a leading dimension.
        packing: What the numbers mean.
    """

    parts: Sequence[Stored]
    tail: tuple[int, ...]
    stacked: bool
    packing: Packing


def stored_variable(opened: xr.Dataset, name: str, file: RawFile) -> StoredVariable | None:
    """The arrays behind a variable of a file that is open, or None if it is not one that can be read directly (no HDF5, h5py not installed).

    Args:
        opened: The file, as `physdiff.data.readers` open it.
        name: The variable.
        file: The same file.
    """
    variable = opened.variables[name]
    packing = packing_of(variable.encoding, variable.attrs, variable.dtype)
    if packing is None or importlib.util.find_spec("h5py") is None:
        return None
    import h5py

    own = parts_of(variable)
    if own is not None:
        parts, tail, stacked = own
        if not all(isinstance(p, h5py.Dataset) for p in parts):
            return None
        return StoredVariable([Stored(file, p) for p in parts], tail, stacked, packing)
    if not h5py.is_hdf5(file.path) or variable.encoding.get("original_shape") is None:
        return None
    dataset = file.hdf5().get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != variable.shape or dataset.dtype.kind not in "fiu":
        return None
    return StoredVariable([Stored(file, dataset)], (), False, packing)
