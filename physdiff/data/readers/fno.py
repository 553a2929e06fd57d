"""MATLAB files of the Fourier neural operator (Li et al., 2021): `u` (sample, x[, y], time) and times `t` on the unit torus, without coordinates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.axes import PLANE, SPHERE, role_of
from physdiff.data.readers.stored import Indexable, stored

__all__ = ["from_fno", "is_fno"]


def is_fno(arrays: Mapping[str, Indexable]) -> bool:
    """Whether these are the arrays of such a file: times last, and nothing that says where the points are."""
    if not {"u", "t"} <= set(arrays) or any(role_of(n, {}) in (*PLANE, *SPHERE) for n in arrays):
        return False
    shape, times = arrays["u"].shape, np.asarray(arrays["t"][:])
    return len(shape) in (3, 4) and max(times.shape, default=0) == times.size == shape[-1]


def from_fno(arrays: Mapping[str, Indexable], path: str) -> xr.Dataset:
    """Dims (sample, x[, y], time), points i/n of a periodic box of length 1; `a` (the input of the operator) does not depend on time.

    Raises:
        DataError: If the inputs do not belong to the outputs.
    """
    field = arrays["u"]
    axes = ("x", "y")[: len(field.shape) - 2]
    data = {"u": stored(("sample", *axes, "time"), [field])}
    given = arrays.get("a")
    if given is not None:
        if tuple(given.shape) != tuple(field.shape[:-1]):
            raise DataError(f"{path}: expected inputs a {tuple(field.shape[:-1])} beside u, got {tuple(given.shape)}")
        data["a"] = stored(("sample", *axes), [given])
    coords = {n: xr.Variable((n,), np.arange(size) / size, {"periodic": 1}) for n, size in zip(axes, field.shape[1:], strict=False)}
    return xr.Dataset(data, coords={"time": xr.Variable(("time",), np.asarray(arrays["t"][:], dtype=np.float64).reshape(-1)), **coords})
