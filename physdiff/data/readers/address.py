"""What lies behind an address (``https://``, ``s3://``, ``memory://``, whatever fsspec knows): Zarr, a file that is read in parts, OPeNDAP.

Of HDF5 files (netCDF-4, PDEBench's, The Well's) only the parts that are asked for are fetched, in blocks of 1 MiB of which 32 are kept for each file
and process. Classic netCDF is read so from http addresses, by netCDF's own library. Other kinds have no parts and are refused.
"""

from __future__ import annotations

import importlib.util
import weakref
from typing import Any

import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.hdf5 import open_opened, unreadable
from physdiff.data.readers.netcdf import open_netcdf
from physdiff.data.readers.stored import need
from physdiff.data.readers.zarr_store import open_zarr

__all__ = ["open_address"]

_BLOCK, _HDF5, _HTTP = 2**20, b"\x89HDF\r\n\x1a\n", ("http://", "https://")
_WHOLE = {b"CDF": "classic netCDF", b"GRIB": "GRIB", b"PK\x03\x04": "npz or torch", b"MATLAB": "MATLAB"}


def open_address(path: str) -> xr.Dataset:
    """A store or file as it stands, values left where they are.

    Raises:
        DataError: If fsspec is not installed, nothing can be read there, or it is of a kind that is read as a whole.
    """
    if importlib.util.find_spec("fsspec") is None:
        raise DataError(f"{path}: expected the package fsspec for an address, found it not installed; pip install fsspec, or download it")
    file = _file(path)
    if file is None:
        return open_netcdf(path) if _is_opendap(path) else open_zarr(path)
    try:
        head = file.read(4096)
        if not any(head[k : k + 8] == _HDF5 for k in (0, 512, 1024, 2048)):
            return _other(path, head)
        need("h5py", path, what="HDF5 files at an address", extra="formats")
        import h5py

        opened = h5py.File(file, "r", rdcc_nbytes=2**24)
        found = open_opened(opened, path)
    except Exception as error:  # each kind of address has errors of its own
        file.close()
        if isinstance(error, DataError):
            raise
        raise unreadable(path, error) from error
    weakref.finalize(found, opened.close)  # at exit too, before HDF5 does it, which would call a Python that is gone
    return found


def _other(path: str, head: bytes) -> xr.Dataset:
    """A file that is not HDF5."""
    if head[:4] in (b"CDF\x01", b"CDF\x02", b"CDF\x05") and path.startswith(_HTTP):
        return open_netcdf(path, parts=True)
    kind = next((told for begin, told in _WHOLE.items() if head.startswith(begin)), "")
    if kind:
        known = "Zarr, an HDF5 file (netCDF-4), or classic netCDF at an http address"
        raise DataError(f"{path}: expected {known}, got {kind}, which has no parts to fetch here; download it")
    return open_netcdf(path) if _is_opendap(path) else open_zarr(path)


def _is_opendap(path: str) -> bool:
    """Whether a server describes a data set there, as OPeNDAP's version 2 asks for."""
    described = _file(f"{path}.dds") if path.startswith(_HTTP) else None
    return described is not None and described.read(16).lstrip().startswith(b"Dataset {")


def _file(path: str) -> Any:  # noqa: ANN401 - fsspec has no types
    """What fsspec opens there; None where that is no file."""
    import fsspec

    try:
        filesystem, place = fsspec.core.url_to_fs(path)
        return filesystem.open(place, "rb", block_size=_BLOCK, cache_type="blockcache")
    except Exception:  # noqa: BLE001 - a store is no file, and what is wrong with it is said by its reader
        return None
