"""Arrays that stay in their files, as variables of a data set with named dimensions."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from physdiff.base.errors import DataError

__all__ = ["Group", "Indexable", "need", "parts_of", "stored"]

Group = Any
"""A file or group of h5py, which is an extra and has no types."""


class Indexable(Protocol):
    """What can be read in parts by integers and slices: a data set of HDF5, an array in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths."""

    @property
    def dtype(self) -> Any:  # noqa: ANN401 - h5py gives numpy's, other libraries their own
        """Type of the values."""

    def __getitem__(self, key: Any, /) -> Any:  # noqa: ANN401 - as numpy has it
        """A part."""


class _Stored(BackendArray):
    """Arrays of one shape, read part by part.

    Args:
        parts: One array, or several that differ in a leading dimension that the file does not have.
        tail: Indices of trailing dimensions (a component of a vector).
        stacked: Whether the parts become a leading dimension.
    """

    def __init__(self, parts: Sequence[Indexable], tail: tuple[int, ...], *, stacked: bool) -> None:
        self.parts, self.tail, self.stacked = tuple(parts), tail, stacked
        inner = parts[0].shape[: len(parts[0].shape) - len(tail)]
        self.shape = (len(parts), *inner) if stacked else inner
        self.dtype = np.dtype(parts[0].dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> np.ndarray:
        key = tuple(_forward(k, size) for k, size in zip(key, self.shape, strict=True))
        if not self.stacked:
            return np.asarray(self.parts[0][(*key, *self.tail)])
        first, rest = key[0], (*key[1:], *self.tail)
        if isinstance(first, int):
            return np.asarray(self.parts[first][rest])
        return np.stack([np.asarray(part[rest]) for part in self.parts[first]])


def _forward(key: int | slice, size: int) -> int | slice:
    """The key without negative steps, which HDF5 does not read."""
    if isinstance(key, slice) and (key.step or 1) < 0:
        raise IndexError(f"expected slices that go forward, got {key} of {size}")
    return key


def stored(
    dims: Sequence[str], parts: Sequence[Indexable], *, tail: tuple[int, ...] = (), stacked: bool = False, attrs: Mapping[str, Any] | None = None
) -> xr.Variable:
    """A variable that is read from its file when asked for.

    Args:
        dims: Names of the dimensions, the stacked one first.
        parts: The array, or those of several groups if `stacked`.
        tail: Indices of trailing dimensions that are taken out.
        stacked: Whether the parts become a leading dimension.
        attrs: Attributes.
    """
    return xr.Variable(tuple(dims), indexing.LazilyIndexedArray(_Stored(parts, tail, stacked=stacked)), dict(attrs or {}))


def parts_of(variable: xr.Variable) -> tuple[tuple[Indexable, ...], tuple[int, ...], bool] | None:
    """Arrays, tail and whether they are stacked, of a variable that `stored` has made; None for others and for parts of it."""
    data: Any = variable._data
    while not isinstance(data, _Stored):
        key = getattr(data, "key", None)
        whole = key is None or all(isinstance(k, slice) and k == slice(None) for k in key.tuple)
        if not whole or not hasattr(data, "array"):
            return None
        data = data.array
    return data.parts, data.tail, data.stacked


def need(package: str, path: str, *, what: str, extra: str) -> None:
    """Raise DataError if a package that reads such files is not installed."""
    if importlib.util.find_spec(package) is None:
        raise DataError(f'{path}: expected the package {package} for {what}, found it not installed; pip install "physdiff[{extra}]"')
