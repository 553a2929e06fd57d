"""Files of a few samples each joined along the samples, one at a time in memory: to netCDF-4 (HDF5) or to a Zarr store.

Zarr is an extra (``pip install "physdiff[zarr]"``).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.base.whole_file import whole_file
from physdiff.data.encoding import zarr_encoding

__all__ = ["FORMATS", "ORDER", "check_zarr", "in_order", "is_zarr", "join_parts", "run_of"]

ORDER = "physdiff_variables"
"""Attribute of a store with the order of its variables."""

FORMATS = {".nc": "netcdf", ".nc4": "netcdf", ".h5": "netcdf", ".hdf5": "netcdf", "": "netcdf", ".zarr": "zarr"}
"""What the ending of a file's name means; netCDF-4 files are HDF5 files."""


def join_parts(parts: Sequence[Path], out: Path, *, attrs: Mapping[str, str]) -> Path:
    """Join files along `sample`; the whole appears under its name when it is complete.

    Args:
        parts: Files written by `write_dataset` that differ in their samples only, in order.
        out: File, or folder of a Zarr store.
        attrs: Further attributes of the whole.

    Raises:
        DataError: If a file cannot be read or written, or Zarr is asked for and not installed.
    """
    missing = [path for path in parts if not path.is_file()]
    if missing:
        raise DataError(f"{out}: expected to join {len(parts)} parts into a file, found no {missing[0]}; make it again")
    with whole_file(out) as temporary:
        if FORMATS[out.suffix] == "zarr":
            check_zarr(out)
            _to_zarr(parts, temporary, attrs)
        else:
            _to_netcdf(parts, temporary, attrs)
    return out


def _to_netcdf(parts: Sequence[Path], target: Path, attrs: Mapping[str, str]) -> None:
    total = sum(_samples(path) for path in parts)
    with netCDF4.Dataset(target, "w", format="NETCDF4") as whole:
        start = 0
        for path in parts:
            with netCDF4.Dataset(path) as part:
                part.set_auto_maskandscale(False)
                if start == 0:
                    _declare(part, whole, total, attrs)
                stop = start + part.dimensions["sample"].size
                for name, variable in part.variables.items():
                    if "sample" in variable.dimensions:
                        whole[name][start:stop] = variable[...]
                start = stop


def _samples(path: Path) -> int:
    with netCDF4.Dataset(path) as part:
        return int(part.dimensions["sample"].size)


def _declare(part: netCDF4.Dataset, whole: netCDF4.Dataset, total: int, attrs: Mapping[str, str]) -> None:
    """Dimensions, variables and attributes as in the part, and the values that do not depend on the sample."""
    whole.set_fill_off()
    whole.setncatts({**part.__dict__, **attrs})
    for name, dimension in part.dimensions.items():
        whole.createDimension(name, total if name == "sample" else dimension.size)
    for name, variable in part.variables.items():
        filters, chunks = variable.filters(), variable.chunking()
        options: dict[str, Any] = {k: filters[k] for k in ("zlib", "complevel", "shuffle", "fletcher32")}
        kept = dict(variable.__dict__)
        made = whole.createVariable(
            name,
            variable.dtype,
            variable.dimensions,
            chunksizes=None if chunks == "contiguous" or variable.dimensions == ("sample",) else chunks,
            fill_value=kept.pop("_FillValue", None),
            **options,
        )
        made.set_auto_maskandscale(False)
        made.setncatts(kept)
        if "sample" not in variable.dimensions:
            made[...] = variable[...]


def _to_zarr(parts: Sequence[Path], target: Path, attrs: Mapping[str, str]) -> None:
    for k, path in enumerate(parts):
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as part:
            ready = in_order(part.load().drop_encoding().assign_attrs(attrs))  # whatever is appended brings the attributes anew
            if k:
                fixed = [n for n, v in ready.variables.items() if "sample" not in v.dims]
                ready.drop_vars(fixed).to_zarr(target, append_dim="sample", consolidated=False)
                continue
            chunks = {str(n): part[n].encoding["chunksizes"] for n in part.data_vars if part[n].encoding.get("chunksizes")}
            ready.to_zarr(target, mode="w", encoding=zarr_encoding(ready, chunks), consolidated=False)


def in_order(ds: xr.Dataset) -> xr.Dataset:
    """With the order of the variables noted: a store gives its arrays in the order in which they happen to be found."""
    return ds.assign_attrs({ORDER: list(map(str, ds.data_vars))})


def check_zarr(path: Path | str) -> None:
    """Raise DataError if Zarr stores cannot be read or written here."""
    if importlib.util.find_spec("zarr") is None:
        remedy = 'pip install "physdiff[zarr]", or write netCDF (a name that ends in .nc)'
        raise DataError(f"{path}: expected the package zarr for a Zarr store, found it not installed; {remedy}")


def is_zarr(path: Path | str) -> bool:
    """Whether a folder is a Zarr store (format 2 or 3)."""
    return any((Path(path) / name).is_file() for name in ("zarr.json", ".zgroup"))


def run_of(path: Path, key: str) -> str | None:
    """The attribute `key` of a file or store; None if there is none, or it is neither.

    Raises:
        DataError: If it is a Zarr store and Zarr is not installed.
    """
    if path.is_dir() and is_zarr(path):
        check_zarr(path)
        with xr.open_dataset(path, engine="zarr", decode_times=False, chunks=None, consolidated=False) as store:
            text = store.attrs.get(key)
    else:
        try:
            with netCDF4.Dataset(path) as file:
                text = file.__dict__.get(key)
        except OSError:
            return None
    return None if text is None else str(text)
