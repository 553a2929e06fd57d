"""Which kind of file it is, from its first bytes and never from its name."""

from __future__ import annotations

import os
import zipfile

import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.join import is_zarr
from physdiff.data.readers.address import open_address
from physdiff.data.readers.array_files import open_matlab, open_npz, open_torch
from physdiff.data.readers.classic_header import check_classic
from physdiff.data.readers.grib import open_grib
from physdiff.data.readers.hdf5 import is_netcdf4, open_hdf5
from physdiff.data.readers.netcdf import open_netcdf
from physdiff.data.readers.zarr_store import open_zarr

__all__ = ["KINDS", "kind_of", "open_file"]

KINDS = "netCDF, Zarr, GRIB, HDF5 (PDEBench, The Well, named arrays), npz, MATLAB or torch"
_HDF5 = b"\x89HDF\r\n\x1a\n"


def kind_of(path: str) -> str:
    """zarr, netcdf, hdf5, grib, npz, torch, matlab, or an empty text."""
    if os.path.isdir(path):
        return "zarr" if is_zarr(path) else ""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:4] in (b"CDF\x01", b"CDF\x02", b"CDF\x05"):
        return "netcdf"
    if any(head[k : k + 8] == _HDF5 for k in (0, 512, 1024, 2048)):
        return "hdf5"
    if head[:4] == b"GRIB":
        return "grib"
    if head[:10] == b"MATLAB 5.0":
        return "matlab"
    if head[:4] == b"PK\x03\x04":
        return "npz" if _has_arrays(path) else "torch"
    return "torch" if head[:2] == b"\x80\x02" else ""


def _has_arrays(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return any(n.endswith(".npy") for n in file.namelist())
    except zipfile.BadZipFile:
        return True


def open_file(path: str) -> xr.Dataset:
    """A file, store or address as it stands: named dimensions, packed integers unpacked, times as numbers, values left where they are.

    Raises:
        DataError: If there is nothing, it cannot be read, or is of no known kind.
    """
    if "://" in path:
        return open_address(path)
    if not os.path.exists(path):
        raise DataError(f"{path}: expected a file, found nothing there; check the path")
    try:
        kind = kind_of(path)
        if not kind:
            what = "a folder" if os.path.isdir(path) else "something else or a damaged file"
            raise DataError(f"{path}: expected {KINDS}, got {what}; for a folder of files give a pattern as in 'folder/*.nc'")
        return _OPENERS[kind](path)
    except PermissionError as error:
        raise DataError(f"{path}: expected a readable file, got {error.strerror}; check its permissions") from error


def _open_hdf5(path: str) -> xr.Dataset:
    return open_netcdf(path) if is_netcdf4(path) else open_hdf5(path)


def _open_classic(path: str) -> xr.Dataset:
    check_classic(path)
    return open_netcdf(path)


_OPENERS = {
    "netcdf": _open_classic,
    "hdf5": _open_hdf5,
    "zarr": open_zarr,
    "npz": open_npz,
    "torch": open_torch,
    "matlab": open_matlab,
    "grib": open_grib,
}
