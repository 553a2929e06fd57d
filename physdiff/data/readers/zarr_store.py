"""Zarr stores, format 2 and 3: folders, and addresses that fsspec knows (``https://``, ``s3://``, ``memory://``; some need an extra of its own)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.join import ORDER, check_zarr

__all__ = ["open_zarr"]


def open_zarr(path: str) -> xr.Dataset:
    """A store as it stands, values left in it.

    Raises:
        DataError: If zarr is not installed, the store cannot be read, or an array is pickled: reading it could run code.
    """
    check_zarr(path)
    import zarr

    remote = "://" in path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of types that later versions may store otherwise: texts, which are left out anyhow
            group = zarr.open_group(path, mode="r")
            pickled = next((name for name, codec in _codecs(group) if "pickle" in codec), "")
            if not pickled:
                # the metadata of a folder are read as they are now; those of an address in one piece where they lie so
                joint = remote and group.metadata.consolidated_metadata is not None
                return _ordered(xr.open_dataset(path, engine="zarr", consolidated=joint, decode_times=False, cache=False, chunks=None))
    except Exception as error:  # each kind of address has errors of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        pickled = "an array" if "pickle" in reason else ""
        remedy = "check the address and the network, or download the store" if remote else "fetch it again"
        if not pickled:
            what = "a Zarr store or an HDF5 file" if remote else "a Zarr store"
            raise DataError(f"{path}: expected {what}, got one that cannot be read ({reason}); {remedy}") from error
    raise DataError(f"{path}: expected arrays of numbers, got {pickled} stored by pickle, which could run code; no value was read")


def _ordered(ds: xr.Dataset) -> xr.Dataset:
    """Variables in the order in which our writers got them, others by name."""
    noted = ds.attrs.pop(ORDER, ())
    first = [str(n) for n in (noted if isinstance(noted, list | tuple) else ()) if n in ds.data_vars]
    names = [*first, *sorted(str(n) for n in ds.data_vars if n not in first)]
    return ds[names].assign_coords(ds.coords)


def _codecs(group: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - zarr is an extra without types here
    """Array and name of each codec that its chunks go through."""
    for name, array in group.members(max_depth=None):
        described = array.metadata.to_dict()
        steps = [*(described.get("codecs") or ()), *(described.get("filters") or ()), described.get("compressor") or {}]
        for step in steps:
            words = step if isinstance(step, dict) else getattr(step, "get_config", dict)()
            yield str(name), str(words.get("id", words.get("name", ""))).lower()
