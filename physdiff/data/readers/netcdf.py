"""netCDF of every version through its own library: files, and at http addresses classic files (read in parts) and OPeNDAP servers."""

from __future__ import annotations

import warnings

import xarray as xr

from physdiff.base.errors import DataError

__all__ = ["open_netcdf"]


def open_netcdf(path: str, *, parts: bool = False) -> xr.Dataset:
    """A file as it stands, unpacked, times as numbers, values left in it.

    Args:
        path: A file, or an http address.
        parts: Whether the address is that of a file that is read in parts, not of an OPeNDAP server.

    Raises:
        DataError: If the file is damaged, or nobody answers.
    """
    try:
        with warnings.catch_warnings():
            # two different fill values in one variable are both missing values
            warnings.simplefilter("ignore", xr.SerializationWarning)
            return xr.open_dataset(f"{path}#mode=bytes" if parts else path, engine="netcdf4", decode_times=False, cache=False)
    except (OSError, RuntimeError, ValueError) as error:
        got = f"one that cannot be read ({error}); check the network" if "://" in path else f"a damaged one ({error}); fetch it again"
        raise DataError(f"{path}: expected a netCDF file (classic, 64-bit or netCDF-4), got {got}") from error
