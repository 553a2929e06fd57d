"""npz, MATLAB and torch files as named arrays. Nothing that a file could execute is read: no pickled objects, weights only."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.fno import from_fno, is_fno
from physdiff.data.readers.named_arrays import from_arrays
from physdiff.data.readers.stored import need

__all__ = ["open_matlab", "open_npz", "open_torch"]


def open_npz(path: str) -> xr.Dataset:
    """Arrays saved by numpy; they are read as a whole, for the format has no parts.

    Raises:
        DataError: If an array holds Python objects, which could run code, or the file is damaged.
    """
    try:
        # numpy leaves a file of its own open where the archive is damaged
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {n: file[n] for n in file.files}
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        remedy = "objects are not read, for they could run code"
        raise DataError(f"{path}: expected arrays of numbers and text in an npz file, got {error}; {remedy}") from error
    return from_arrays(arrays, path)


def open_matlab(path: str) -> xr.Dataset:
    """Arrays of a MATLAB file of version 5 to 7 (7.3 is HDF5).

    Raises:
        DataError: If scipy is not installed or the file is damaged.
    """
    need("scipy", path, what="MATLAB files", extra="formats")
    from scipy.io import loadmat

    try:
        found = loadmat(path)
    except Exception as error:  # scipy raises whatever a damaged file leads it to
        raise DataError(f"{path}: expected a MATLAB file, got a damaged one ({error})") from error
    arrays = {n: v for n, v in found.items() if not n.startswith("__") and isinstance(v, np.ndarray)}
    return from_fno(arrays, path) if is_fno(arrays) else from_arrays(arrays, path)


def open_torch(path: str) -> xr.Dataset:
    """A dictionary of tensors saved by torch.

    Raises:
        DataError: If it is no dictionary of tensors, or needs code to be read.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a damaged file leads it to
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise DataError(f"{path}: expected tensors saved by torch, got {reason}; objects are not read, for they could run code") from error
    if not isinstance(found, Mapping):
        raise DataError(f"{path}: expected a dictionary of tensors by name, got {type(found).__name__}; save a dictionary with coordinates x, y, t")
    arrays: dict[str, Any] = {str(n): v.numpy() if isinstance(v, torch.Tensor) else np.asarray(v) for n, v in found.items() if not isinstance(v, str)}
    return from_arrays(arrays, path, attrs={str(n): v for n, v in found.items() if isinstance(v, str)})
