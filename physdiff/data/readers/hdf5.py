"""HDF5 files without netCDF's dimensions: PDEBench, The Well, MATLAB 7.3, and arrays that their coordinates name."""

from __future__ import annotations

from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.fno import from_fno, is_fno, is_turned_fno
from physdiff.data.readers.named_arrays import from_arrays
from physdiff.data.readers.pdebench import is_pdebench, open_pdebench
from physdiff.data.readers.scales import has_scales, open_scales
from physdiff.data.readers.stored import Group, need
from physdiff.data.readers.the_well import is_the_well, open_the_well

__all__ = ["is_netcdf4", "open_hdf5", "open_opened", "unreadable"]


def open_hdf5(path: str) -> xr.Dataset:
    """The file as it stands, values left in it.

    Raises:
        DataError: If h5py is not installed, the file is damaged, or its layout is not known.
    """
    need("h5py", path, what="HDF5 files that are not netCDF", extra="formats")
    import h5py

    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise unreadable(path, error) from error
    with open(path, "rb") as head:
        return open_opened(file, path, matlab=head.read(10) == b"MATLAB 7.3")


def open_opened(file: Group, path: str, *, matlab: bool = False) -> xr.Dataset:
    """The same of a file that h5py has open, netCDF-4 among them; an error closes it.

    Args:
        file: The file.
        path: For messages, and for what its name says.
        matlab: Whether its first words are MATLAB's.

    Raises:
        DataError: If the file is damaged, or its layout is not known.
    """
    try:
        if has_scales(file):
            return open_scales(file, path)
        if is_the_well(file):
            return open_the_well(file, path)
        if is_pdebench(file):
            return open_pdebench(file, path)
        arrays = _arrays(file, path, matlab=matlab)
        return from_fno(arrays, path) if is_fno(arrays) else from_arrays(arrays, path, attrs=_attributes(file))
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        file.close()
        if isinstance(error, DataError):
            raise
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> DataError:
    """The error for a file that h5py cannot read."""
    remedy = "it is damaged, or not of a layout that is known"
    if "://" in path:
        remedy = "check the network and that the server sends parts of a file (range requests), or download it"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{path}: expected to read an HDF5 file, got an error ({reason}); {remedy}")


def is_netcdf4(path: str) -> bool:
    """Whether the dimensions of an HDF5 file have names, which netCDF-4 stores as scales; True too where netCDF cannot read it at all."""
    try:
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            named = [d for d in file.dimensions if not d.startswith("phony_dim_")]
            return bool(named) or not (file.variables or file.groups)
    except (OSError, RuntimeError):
        return True


def _arrays(file: Group, path: str, *, matlab: bool) -> dict[str, Any]:
    """Data sets at the root; MATLAB stores its arrays with the axes turned round, and says so at the head of the file or beside the arrays."""
    import h5py

    found = {n: v for n, v in file.items() if isinstance(v, h5py.Dataset)}
    turned = matlab or any("MATLAB_class" in v.attrs for v in file.values()) or is_turned_fno(found, path)
    return {n: np.asarray(v).T for n, v in found.items()} if turned else found


def _attributes(file: Group) -> dict[str, Any]:
    return {str(k): v.decode() if isinstance(v, bytes) else v for k, v in file.attrs.items()}
