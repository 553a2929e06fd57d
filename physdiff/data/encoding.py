"""How variables lie in the files that physdiff writes: types, chunks, checksums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from physdiff.data.axes import SPACE

__all__ = ["chunks_of", "netcdf_encoding", "zarr_encoding"]

_CHUNK_BYTES = 2**22


def netcdf_encoding(variable: xr.Variable, frames: int | None = None) -> dict[str, Any]:
    """Of a variable in netCDF-4: whole numbers for calendar times, Fletcher's checksum, compressed chunks."""
    kind = variable.dtype.kind
    if kind == "M":
        whole = variable.size == 0 or bool((variable.values.astype("datetime64[ns]").astype(np.int64) % 10**9 == 0).all())
        unit = "seconds" if whole else "nanoseconds"
        return {"units": f"{unit} since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    if kind not in "fiu" or variable.ndim == 0:
        return {}
    coordinate = variable.dims == (variable.dims[0],) and variable.ndim == 1
    encoding: dict[str, Any] = {"fletcher32": True}
    if kind == "f" and coordinate:
        encoding["_FillValue"] = None
    if variable.size and not coordinate:
        encoding |= {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": chunks_of(variable, frames)}
    return encoding


def zarr_encoding(ds: xr.Dataset, chunks: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, Any]]:
    """How the variables of a data set from `ready_to_write` go to a Zarr store: with checksums, and a chunk that is lost is missing, not zero.

    Args:
        ds: What is written.
        chunks: By variable, where they are not left to Zarr.
    """
    from zarr.codecs import Crc32cCodec, ZstdCodec

    found: dict[str, dict[str, Any]] = {}
    for name, variable in ds.variables.items():
        own = netcdf_encoding(variable) if variable.dtype.kind == "M" else {}
        if variable.dtype.kind in "fiuM":
            own["compressors"] = [ZstdCodec(level=3), Crc32cCodec()]
        if variable.dtype.kind == "f":
            own["fill_value"] = np.nan
        found[str(name)] = own | ({"chunks": chunks[str(name)]} if str(name) in chunks else {})
    return found


def chunks_of(variable: xr.Variable, frames: int | None = None) -> tuple[int, ...]:
    """Whole frames, one sample or member, and so many `frames`, or as many as fit into 4 MiB."""
    space = [d in SPACE for d in variable.dims]
    chunks = [n if inside else 1 for n, inside in zip(variable.shape, space, strict=True)]
    frame = int(np.prod(chunks, dtype=np.int64)) * variable.dtype.itemsize
    for d in ("time", "lead_time"):
        if d in variable.dims:
            k = variable.dims.index(d)
            chunks[k] = max(1, min(variable.shape[k], frames or _CHUNK_BYTES // max(frame, 1)))
    return tuple(chunks)
