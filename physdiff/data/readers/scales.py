"""netCDF-4 files through h5py, for files that are not on this machine: dimensions are HDF5's scales, their names those of netCDF.

Rules of the format: a data set of class DIMENSION_SCALE is a dimension, and a coordinate of its name unless NAME says that it is none;
DIMENSION_LIST refers to the scales of a variable, `_Netcdf4Coordinates` numbers those of a coordinate of several dimensions.
Source: https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html#netcdf_4_spec
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.stored import Group, stored

__all__ = ["has_scales", "open_scales"]

_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"
_HIDDEN = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "DIMENSION_LABELS")
_RENAMED = "_nc4_non_coord_"


def has_scales(file: Group) -> bool:
    """Whether the dimensions of an HDF5 file have names as netCDF-4 gives them."""
    return any(_is_scale(v) for v in _variables(file).values())


def open_scales(file: Group, path: str) -> xr.Dataset:
    """The variables of the root group as they stand, unpacked (scale, offset, fill values), times as numbers, values left in the file.

    Args:
        file: An HDF5 file that h5py has open.
        path: For messages.

    Raises:
        DataError: If variables do not have the lengths of their dimensions.
    """
    found = _variables(file)
    scales = {n: v for n, v in found.items() if _is_scale(v)}
    numbers = {int(v.attrs["_Netcdf4Dimid"]): n for n, v in scales.items() if "_Netcdf4Dimid" in v.attrs}
    kept = {n: v for n, v in found.items() if v.dtype.kind in "fiu" and not (n in scales and _text(v.attrs.get("NAME")).startswith(_NO_VARIABLE))}
    data: dict[str, xr.Variable] = {}
    for name, values in kept.items():
        dims = _dims(name, values, file, numbers)
        dims = tuple(d if d not in dims[:k] else f"{d}_{k}" for k, d in enumerate(dims))  # a matrix, which xarray does not know
        variable = stored(dims, [values], attrs=_attributes(values))
        if values.chunks is not None:
            variable.encoding["chunksizes"] = values.chunks
        data[name.removeprefix(_RENAMED)] = variable
    coords = {n: v for n, v in data.items() if v.dims == (n,)}
    lengths: dict[str, int] = {}
    for name, variable in data.items():
        other = next((str(d) for d, n in variable.sizes.items() if lengths.setdefault(str(d), n) != n), "")
        if other:
            got = f"{variable.sizes[other]} entries of {name} where others have {lengths[other]}"
            raise DataError(f"{path}: expected variables as long as their dimensions, got {got} along {other}; write it again by netCDF")
    raw = xr.Dataset({n: v for n, v in data.items() if n not in coords}, coords=coords, attrs=_attributes(file))
    return xr.decode_cf(raw, decode_times=False)


def _variables(file: Group) -> dict[str, Any]:
    import h5py

    return {str(n): v for n, v in file.items() if isinstance(v, h5py.Dataset)}


def _is_scale(values: Any) -> bool:  # noqa: ANN401 - h5py has no types
    return _text(values.attrs.get("CLASS")) == "DIMENSION_SCALE"


def _dims(name: str, values: Any, file: Group, numbers: dict[int, str]) -> tuple[str, ...]:  # noqa: ANN401
    if "_Netcdf4Coordinates" in values.attrs:
        return tuple(numbers[int(k)] for k in values.attrs["_Netcdf4Coordinates"])
    if values.ndim == 1 and _is_scale(values):
        return (name,)
    lists = values.attrs.get("DIMENSION_LIST", [()] * values.ndim)
    return tuple(str(file[refs[0]].name).rsplit("/", 1)[-1] if len(refs) else f"phony_dim_{name}_{k}" for k, refs in enumerate(lists))


def _attributes(where: Group) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in where.attrs.items():
        if name in _HIDDEN or name.startswith(("_Netcdf4", "_NC", "_nc3")):
            continue
        if isinstance(value, bytes | str):
            found[name] = _text(value)
        elif isinstance(value, np.ndarray | np.generic):
            found[name] = value.reshape(-1)[0] if np.size(value) == 1 else value
    return {str(n): _text(v) if isinstance(v, bytes) else v for n, v in found.items()}


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
