"""Arrays without dimension names beside coordinates that have them: npz, MATLAB, torch and plain HDF5 files.

An array called ``x``, ``y``, ``z``, ``t``, ``time``, ``lat`` or ``lon`` (also ``x-coordinate``, or an attribute) with one axis is a coordinate.
The others get their dimensions from the attribute or array ``dims`` (all of them) or ``<name>_dims`` (``"sample,t,x"``), else by their lengths,
where these tell: one more leading dimension is the samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.axes import HOUSE, role_of
from physdiff.data.readers.pairs import from_pairs, pair_of
from physdiff.data.readers.stored import Indexable, stored

__all__ = ["from_arrays"]

_LEADING = ("sample", "member")


def from_arrays(arrays: Mapping[str, Indexable], path: str, *, attrs: Mapping[str, Any] | None = None) -> xr.Dataset:
    """A data set of arrays.

    Args:
        arrays: By name.
        path: For messages.
        attrs: Attributes of the file; coordinates and `dims` are looked for there too.

    Raises:
        DataError: If no coordinate has a name, or the dimensions of an array cannot be told.
    """
    attrs = dict(attrs or {})
    axes = _coordinates(arrays, attrs)
    if "time" not in {role_of(n, {}) for n in axes} and pair_of(arrays):
        return from_pairs(arrays, path, axes=axes, attrs=attrs)
    if not axes:
        found = ", ".join(f"{n} {tuple(v.shape)}" for n, v in arrays.items()) or "nothing"
        raise DataError(f"{path}: expected coordinates (arrays called x, y, z, t, lat or lon), got {found}; add them, or write netCDF")
    if "time" not in {role_of(n, {}) for n in axes}:
        got = f"the coordinates {', '.join(axes)} only; pairs of inputs and outputs are no trajectory"
        raise DataError(f"{path}: expected times (an array called t or time), got {got}")
    data: dict[str, xr.Variable] = {}
    for name, values in arrays.items():
        if name in axes or name.removesuffix("-coordinate") in axes or _words(values, name) is not None or np.dtype(values.dtype).kind not in "fiub":
            continue
        own = arrays.get(f"{name}_dims", attrs.get(f"{name}_dims"))
        given = own if own is not None else arrays.get("dims", attrs.get("dims"))
        if given is None:
            dims = _by_length(name, values.shape, axes, path)
        else:
            dims = _told(name, values.shape, given, axes=axes, path=path, own=own is not None)
        if dims is not None:
            others = [v.sizes["sample"] for v in data.values() if "sample" in v.dims]
            if dims[0] == "sample" and others and others[0] != values.shape[0]:
                dims = (f"samples_of_{name}", *dims[1:])  # it cannot be read beside the others, but alone
            data[name] = stored(dims, [values])
    if not data:
        there = ", ".join(f"{n} ({v.size})" for n, v in axes.items())
        found = ", ".join(f"{n} {tuple(v.shape)}" for n, v in arrays.items() if n not in axes) or "no other array"
        remedy = "add coordinates x, y, ... or an array or attribute called as the field with _dims, as in u_dims = 'sample,t,y,x'"
        raise DataError(f"{path}: expected arrays whose lengths tell their dimensions beside {there}, got {found}; {remedy}")
    coords = {n: xr.Variable((n,), np.asarray(v, dtype=np.float64)) for n, v in axes.items() if any(n in v.dims for v in data.values())}
    kept = {k: v for k, v in attrs.items() if np.ndim(v) == 0 and k not in axes and k != "dims"}
    return xr.Dataset(data, coords=coords, attrs=kept)


def _words(values: object, name: str) -> str | None:
    """Text, if it is text."""
    if isinstance(values, str):
        return values
    array = np.asarray(values) if np.dtype(getattr(values, "dtype", "O")).kind in "US" or name.endswith("dims") else None
    if array is None:
        return None
    return ",".join(v.decode() if isinstance(v, bytes) else str(v) for v in array.reshape(-1).tolist())


def _coordinates(arrays: Mapping[str, Indexable], attrs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Coordinates by the names they have."""
    found = {}
    for name, values in [*attrs.items(), *arrays.items()]:
        short = name.removesuffix("-coordinate")
        shape = np.shape(values) if not hasattr(values, "shape") else tuple(values.shape)
        long = [n for n in shape if n > 1]
        if role_of(short, {}) in HOUSE and role_of(short, {}) not in _LEADING and len(long) == 1 and np.asarray(values[:]).dtype.kind in "fiu":
            found[short] = np.asarray(values[:]).reshape(-1)
    return found


def _told(
    name: str, shape: Sequence[int], given: object, *, axes: Mapping[str, np.ndarray], path: str, own: bool
) -> tuple[str, ...] | None:
    """Dimensions as the file says; by their lengths where it speaks of arrays in general, with more or fewer."""
    names = [n.strip() for n in (_words(given, "dims") or "").split(",") if n.strip()]
    if len(names) != len(shape):
        if own:
            raise DataError(f"{path}: expected {len(shape)} dimensions in {name}_dims, got {', '.join(names) or 'none'}; repair it")
        return _by_length(name, shape, axes, path)
    for n, size in zip(names, shape, strict=True):
        if n in axes and axes[n].size != size:
            raise DataError(f"{path}: expected {axes[n].size} entries of {name} along {n}, got {size}; repair `dims`")
    return tuple(names)


def _by_length(name: str, shape: Sequence[int], axes: Mapping[str, np.ndarray], path: str) -> tuple[str, ...] | None:
    """Dimensions by their lengths; None for an array of none of them."""
    dims: list[str] = []
    for k, size in enumerate(shape):
        hits = [n for n, v in axes.items() if v.size == size and n not in dims]
        if len(hits) > 1 or (len(hits) == 1 and shape.count(size) > 1):  # type: ignore[attr-defined]
            raise DataError(
                f"{path}: expected lengths that tell the dimensions of {name} {tuple(shape)}, got {', '.join(hits)} all of length {size}; "
                f"add an array or attribute {name}_dims, as in 'sample,t,y,x'"
            )
        if hits:
            dims.append(hits[0])
        elif k == 0:
            dims.append("sample")
        else:
            return None
    return tuple(dims) if len(dims) > dims.count("sample") else None
