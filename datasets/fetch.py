"""Fetch published data and check what arrives.

    python datasets/fetch.py pdebench 1D_Burgers_Sols_Nu0.01.hdf5 --out data
    python datasets/fetch.py the_well turbulent_radiative_layer_2D/train/turbulent_radiative_layer_tcool_0.03.hdf5 --out data
    python datasets/fetch.py era5 2m_temperature --start 2019-03-01 --stop 2019-03-20 --box 58 50 -10 2 --out t2m.nc
    python datasets/fetch.py weatherbench2 geopotential --level 500 --start 2019-01-01 --stop 2019-12-31 --out z500.nc
    python datasets/fetch.py cds 2m_temperature --start 2019-03-01 --stop 2019-03-20 --box 58 50 -10 2 --out t2m.nc

A file goes to NAME.part first, gets its name after its checksum is right (PDEBench publishes MD5 sums), and is opened and looked at. The Zarr
stores are read by xarray (gcsfs beside the extra `zarr` of physdiff), the Climate Data Store by its own client cdsapi and your key.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff import PhysdiffError, open_dataset, write_dataset

__all__ = ["ADDRESSES", "check", "fetch_file", "fetch_store", "main", "pdebench_files"]

HERE = Path(__file__).parent
ADDRESSES = {
    "era5": "gs://gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3",
    "weatherbench2": "gs://weatherbench2/datasets/era5/1959-2023_01_10-6h-64x32_equiangular_conservative.zarr",
    "the_well": "https://huggingface.co/datasets/polymathic-ai/{name}/resolve/main/data/{split}/{file}",
}
_BLOCK = 1 << 20


def pdebench_files() -> dict[str, tuple[str, str]]:
    """File name -> address and MD5 sum, as PDEBench publishes them."""
    with (HERE / "pdebench" / "files.csv").open(encoding="utf-8") as table:
        return {row["file"]: (row["address"], row["md5"]) for row in csv.DictReader(table)}


def fetch_file(address: str, path: Path, *, md5: str | None = None) -> Path:
    """Load an address into a file.

    Args:
        address: https:// or file://.
        path: Where to; a file that is there already is not loaded again, but its sum is looked at.
        md5: The sum that is published.

    Raises:
        SystemExit: If the sum is another one; what came stays as NAME.part.
    """
    part = path.with_name(path.name + ".part")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(address) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, _BLOCK)
    found = path if path.exists() else part
    if md5 is not None and (got := _md5(found)) != md5:
        raise SystemExit(f"fetch.py: {found}: expected MD5 {md5}, got {got}; it was cut short or replaced: remove it and load again")
    found.replace(path)
    return path


def fetch_store(address: str, names: Sequence[str], path: Path, *, where: argparse.Namespace) -> Path:
    """Copy a part of a Zarr store of ERA5 into one CF netCDF file.

    Args:
        address: gs:// or a local folder.
        names: Variables, as `2m_temperature`.
        path: The netCDF file.
        where: With start, stop (dates), box (north, south, west, east) or None, level (hPa) or None.

    Raises:
        SystemExit: If a variable, a level or a time is not in the store.
    """
    options = {"storage_options": {"token": "anon"}} if address.startswith("gs://") else {}
    ds = xr.open_zarr(address, chunks=None, **options)
    if missing := [n for n in names if n not in ds]:
        raise SystemExit(f"fetch.py: expected variables of the store, got {', '.join(missing)}; there are {', '.join(sorted(map(str, ds)))}")
    part = ds[list(names)].sel(time=slice(where.start, where.stop))
    if "level" in part.dims:
        if where.level is None or where.level not in part.level.values:
            raise SystemExit(f"fetch.py: expected --level, one of {', '.join(map(str, part.level.values))}, got {where.level}")
        part = part.sel(level=where.level, drop=True)
    part = _cut(part.transpose("time", "latitude", "longitude"), where.box)
    if part.sizes["time"] == 0:
        raise SystemExit(f"fetch.py: expected times between {ds.time.values[0]} and {ds.time.values[-1]}, got {where.start} to {where.stop}")
    return write_dataset(part.load(), path)


def check(path: Path, *, names: Sequence[str] = ()) -> xr.Dataset:
    """Open what arrived as physdiff does and look at its first and last frame.

    Raises:
        SystemExit: If it does not open, a name is missing, units are, or a frame has no numbers.
    """
    try:
        ds = open_dataset(path)
    except PhysdiffError as error:
        raise SystemExit(f"fetch.py: {path.name} came, but does not open: {error}") from error
    if missing := [n for n in names if n not in ds]:
        raise SystemExit(f"fetch.py: {path.name}: expected {', '.join(missing)}, got {', '.join(map(str, ds))}")
    for name, field in ds.data_vars.items():
        ends = field.isel(time=[0, -1]) if "time" in field.dims else field
        if "sample" in ends.dims:
            ends = ends.isel(sample=[0])
        if not bool(np.isfinite(ends.values).any()):
            raise SystemExit(f"fetch.py: {path.name}: expected numbers in {name}, got none in its first and last frame; load it again")
        print(f"{name} [{field.attrs.get('units', '?')}] {dict(field.sizes)}")
    return ds


def main(argv: Sequence[str] | None = None) -> Path:
    """Read the arguments, fetch, check; returns the path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=("pdebench", "the_well", "era5", "weatherbench2", "cds"))
    parser.add_argument("what", nargs="+", help="a file, or the variables of a store")
    parser.add_argument("--out", type=Path, required=True, help="a folder for files, a netCDF file for stores")
    parser.add_argument("--start", help="first date")
    parser.add_argument("--stop", help="last date")
    parser.add_argument("--box", type=float, nargs=4, metavar=("NORTH", "SOUTH", "WEST", "EAST"))
    parser.add_argument("--level", type=int, help="pressure level in hPa")
    parser.add_argument("--address", help="another place of the same kind, as a mirror")
    asked = parser.parse_args(argv)
    if asked.source == "pdebench":
        files = pdebench_files()
        if (name := asked.what[0]) not in files:
            parser.error(f"expected one of {', '.join(files)}, got {name}")
        path = fetch_file(asked.address or files[name][0], asked.out / name, md5=files[name][1])
        names: Sequence[str] = ()
    elif asked.source == "the_well":
        name, split, file = _well(asked.what[0], parser)
        path, names = fetch_file(asked.address or ADDRESSES["the_well"].format(name=name, split=split, file=file), asked.out / file), ()
    elif asked.source == "cds":
        path, names = _from_cds(asked), ()
    else:
        path, names = fetch_store(asked.address or ADDRESSES[asked.source], asked.what, asked.out, where=asked), asked.what
    check(path, names=names)
    return path


def _md5(path: Path) -> str:
    total = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def _cut(ds: xr.Dataset, box: Sequence[float] | None) -> xr.Dataset:
    """Rows north first and, with a box, the points in it, longitudes counted from its western edge."""
    ds = ds.sortby("latitude", ascending=False)
    if box is None:
        return ds
    north, south, west, east = box
    ds = ds.assign_coords(longitude=(ds.longitude - west) % 360 + west).sortby("longitude")
    return ds.sel(latitude=slice(north, south), longitude=slice(west, east))


def _well(what: str, parser: argparse.ArgumentParser) -> tuple[str, str, str]:
    parts = what.split("/")
    if len(parts) != 3 or parts[1] not in ("train", "valid", "test"):
        parser.error(f"expected NAME/SPLIT/FILE.hdf5 with SPLIT train, valid or test, got {what}")
    return parts[0], parts[1], parts[2]


def _from_cds(asked: argparse.Namespace) -> Path:
    try:
        import cdsapi
    except ImportError:
        sys.exit("fetch.py: the Climate Data Store needs its client: pip install cdsapi, and your key in ~/.cdsapirc, as its page on the API says")
    request = {
        "product_type": ["reanalysis"],
        "variable": asked.what,
        "date": [f"{asked.start}/{asked.stop}"],
        "time": [f"{h:02d}:00" for h in range(24)],
        "data_format": "netcdf",
        "download_format": "unarchived",
    }
    if asked.box:
        north, south, west, east = asked.box
        request["area"] = [north, west, south, east]
    kind = "reanalysis-era5-single-levels"
    if asked.level is not None:
        kind, request["pressure_level"] = "reanalysis-era5-pressure-levels", [str(asked.level)]
    cdsapi.Client().retrieve(kind, request, str(asked.out))
    return Path(asked.out)


if __name__ == "__main__":
    main()
