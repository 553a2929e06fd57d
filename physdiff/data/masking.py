"""Fields without values where a mask is zero, computed when values are asked for: files stay where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

__all__ = ["masked"]


class _Masked(BackendArray):
    """A variable that is NaN where `there`, over some of its dimensions, is False."""

    def __init__(self, source: xr.Variable, there: xr.Variable) -> None:
        self.source = source
        self.over = tuple(d in there.dims for d in source.dims)
        self.there = np.asarray(there.transpose(*[d for d in source.dims if d in there.dims]).values, dtype=bool)
        self.shape = source.shape
        self.dtype = source.dtype if source.dtype.kind == "f" else np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        values = np.asarray(self.source[key].values, dtype=self.dtype)
        there = self.there[tuple(k for k, mine in zip(key, self.over, strict=True) if mine)]
        kept = [mine for k, mine in zip(key, self.over, strict=True) if isinstance(k, slice)]
        sizes = iter(there.shape)
        return np.where(there.reshape([next(sizes) if mine else 1 for mine in kept]), values, np.asarray(np.nan, self.dtype))


def masked(field: xr.DataArray, there: xr.DataArray) -> xr.DataArray:
    """A field that is missing where a mask is False, lazily; values of the file there are never seen.

    Args:
        field: In house conventions, on (..., time, *space).
        there: Boolean, on dimensions of the field.
    """
    lazy = xr.Variable(field.dims, indexing.LazilyIndexedArray(_Masked(field.variable, there.variable)), field.attrs)
    return xr.DataArray(lazy, coords=field.coords, name=field.name)
