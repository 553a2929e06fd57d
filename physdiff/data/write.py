"""Data sets to netCDF-4 files, CF, compressed, with checksums, and never half a file."""

from __future__ import annotations

import datetime
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from physdiff import __version__
from physdiff.base.errors import DataError
from physdiff.base.whole_file import whole_file
from physdiff.data.encoding import netcdf_encoding

__all__ = ["ready_to_write", "write_dataset"]

_STANDARD: dict[str, dict[str, str]] = {
    "time": {"standard_name": "time", "axis": "T"},
    "latitude": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "longitude": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
    "member": {"standard_name": "realization", "units": "1"},
    "init_time": {"standard_name": "forecast_reference_time"},
    "lead_time": {"standard_name": "forecast_period"},
    "x": {"axis": "X"},
    "y": {"axis": "Y"},
    "z": {"axis": "Z"},
}


def write_dataset(ds: xr.Dataset, path: str | os.PathLike[str], *, command: str | None = None, frames: int | None = None) -> Path:
    """Write a data set to one netCDF-4 file.

    The file appears under its name only when it is complete; an old one of that name stays until then. Values, coordinates, attributes and
    the closing of axes come back from `open_dataset` as they were.

    Args:
        ds: Any data set of numbers, times and texts.
        path: File to write; its folder is made if needed.
        command: What made it, for the attribute `history`; the command line of this process if not given.
        frames: Frames in a chunk; as many as fit into 4 MiB if not given.

    Raises:
        DataError: If the file cannot be written, or the data set holds what netCDF cannot.
    """
    target = Path(path)
    if target.is_dir():
        raise DataError(f"{target}: expected the name of a file to write, got a folder; add a file name")
    odd = [str(n) for n, v in ds.variables.items() if v.dtype.kind not in "biufmMUS" and v.dtype != object]
    if odd:
        raise DataError(f"{target}: expected real numbers, times or texts, got {ds[odd[0]].dtype} in {odd[0]}; write real and imaginary part apart")
    ready = ready_to_write(ds, command)
    encoding = {str(n): netcdf_encoding(ready[n].variable, frames) for n in ready.variables}
    with whole_file(target) as temporary:
        ready.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)
    return target


def ready_to_write(ds: xr.Dataset, command: str | None = None) -> xr.Dataset:
    """A shallow copy with CF attributes and without what is left of the encoding of its source."""
    out = ds.copy().drop_encoding()
    for name in out.variables:
        kept = {k: _plain(v) for k, v in out[name].attrs.items() if v is not None}
        if name in out.dims:
            kept = {**_STANDARD.get(str(name), {}), **kept}
        if out[name].dtype.kind in "mM":
            kept = {k: v for k, v in kept.items() if k not in ("units", "calendar", "dtype")}
        out[name].attrs = kept
    made = command if command is not None else shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = f"{now} physdiff {__version__}: {made}".strip()
    old = str(out.attrs.get("history", "")).strip()
    attrs = {k: _plain(v) for k, v in out.attrs.items() if v is not None}
    out.attrs = {**attrs, "Conventions": "CF-1.8", "history": f"{line}\n{old}".strip()}
    return out


def _plain(value: Any) -> Any:  # noqa: ANN401 - any attribute
    """An attribute netCDF can hold."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, str | bytes | int | float | np.number | np.ndarray) or (isinstance(value, list | tuple) and value):
        return value
    return str(value)
