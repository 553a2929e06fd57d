"""GRIB files through cfgrib (extra ``grib``)."""

from __future__ import annotations

import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.stored import need

__all__ = ["open_grib"]


def open_grib(path: str) -> xr.Dataset:
    """The messages of a file as one data set, values left in it; levels and members are dimensions.

    Raises:
        DataError: If cfgrib is not installed, the file is damaged, or it holds levels of several types, which are several data sets.
    """
    need("cfgrib", path, what="GRIB files", extra="grib")
    import cfgrib

    try:
        # an index beside the file would be written where a user may not want it
        parts = cfgrib.open_datasets(path, backend_kwargs={"indexpath": ""}, decode_times=False, cache=False)
    except Exception as error:  # cfgrib and eccodes have many kinds of errors
        raise DataError(f"{path}: expected a GRIB file, got an error ({error}); it is damaged or cut off") from error
    kinds = list(dict.fromkeys(_levels(part) for part in parts))
    if len(kinds) != 1:
        told = ", ".join(kinds) or "nothing"
        raise DataError(f"{path}: expected levels of one type, got {len(kinds)} ({told}); split the file with grib_copy -w typeOfLevel=...")
    try:
        return xr.merge(parts, compat="no_conflicts", join="exact")
    except ValueError as error:
        raise DataError(f"{path}: expected all fields at the same times and places, got others ({error}); split the file with grib_copy") from error


def _levels(part: xr.Dataset) -> str:
    """Type of the levels of a part."""
    return str(next((v.attrs["GRIB_typeOfLevel"] for v in part.data_vars.values() if "GRIB_typeOfLevel" in v.attrs), "none"))
