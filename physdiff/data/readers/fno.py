"""MATLAB files of the Fourier neural operator (Li et al., 2021): `u` (sample, x[, y], time) and times `t` on the unit torus, without coordinates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.axes import PLANE, SPHERE, role_of
from physdiff.data.readers.stored import Indexable, stored

__all__ = ["from_fno", "is_fno", "is_turned_fno"]


def is_fno(arrays: Mapping[str, Indexable]) -> bool:
    """Whether these are the arrays of such a file: times last, and nothing that says where the points are."""
    return _times_at(arrays)[1]


def is_turned_fno(arrays: Mapping[str, Indexable], path: str) -> bool:
    """Whether arrays of an HDF5 file without MATLAB's marks lie as MATLAB stores them, times first and samples last; the inputs `a` tell.

    Raises:
        DataError: If times are first, or may be, and there are no inputs of the shape of one time.
    """
    first, last = _times_at(arrays)
    if not first:
        return False
    shape = tuple(arrays["u"].shape)
    given = tuple(arrays["a"].shape) if "a" in arrays else None
    if shape[1:] != shape[:-1] and (given == shape[1:] or (last and given == shape[:-1])):
        return given == shape[1:]
    got = f"u {shape} whose {'first and last dimensions are' if last else 'first dimension is'} as long as t, and nothing that tells the others"
    remedy = "give u the attribute MATLAB_class if its axes are turned round (time, y, x, sample), or add x, y and u_dims = 'sample,t,y,x'"
    wanted = "(sample, x, y, time), or marks of MATLAB, in an HDF5 file without coordinates"
    raise DataError(f"{path}: expected {wanted}, got {got}; {remedy}")


def _times_at(arrays: Mapping[str, Indexable]) -> tuple[bool, bool]:
    """Whether the first and the last dimension of `u` are as long as `t`, where nothing else tells."""
    if not {"u", "t"} <= set(arrays) or "u_dims" in arrays or any(role_of(n, {}) in (*PLANE, *SPHERE) for n in arrays):
        return False, False
    shape, times = arrays["u"].shape, np.asarray(arrays["t"][:])
    if len(shape) not in (3, 4) or max(times.shape, default=0) != times.size:
        return False, False
    return shape[0] == times.size, shape[-1] == times.size


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
