"""Zarr: folders of both formats, addresses, and stores whose reading would run code."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.open import open_dataset
from physdiff.data.readers.zarr_store import open_zarr
from physdiff.data.windows import TrajectoryWindows

pytest.importorskip("zarr", reason="the package zarr is not installed")
VALUES = np.arange(24.0, dtype=np.float32).reshape(4, 6)


def field() -> xr.Dataset:
    return xr.Dataset({"u": (("time", "x"), VALUES)}, coords={"time": np.arange(4.0), "x": np.arange(6.0)})


@pytest.mark.parametrize("version", [2, 3])
def test_a_folder_and_an_address(tmp_path, version):
    field().to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
    assert np.array_equal(open_dataset(tmp_path / "a.zarr")["u"].values, VALUES)
    # fsspec's own address of a file; s3, gs and https differ in who carries the bytes
    pytest.importorskip("fsspec", reason="the package fsspec is not installed")
    assert np.array_equal(open_dataset(f"file://{tmp_path}/a.zarr")["u"].values, VALUES)


@pytest.mark.parametrize("version", [2, 3])
def test_the_layout_of_weatherbench_and_arco_at_an_address(version):
    """Longitude before latitude, levels, a static field without time, metadata in one piece."""
    pytest.importorskip("fsspec")
    rng, times = np.random.default_rng(0), np.datetime64("2020-01-01", "ns") + np.arange(5) * np.timedelta64(6, "h")
    at, shape = ("time", "longitude", "latitude"), (5, 8, 5)
    ds = xr.Dataset(
        {
            "geopotential": (("time", "level", *at[1:]), rng.normal(size=(5, 2, 8, 5)).astype("f4"), {"units": "m**2 s**-2"}),
            "2m_temperature": (at, rng.normal(size=shape).astype("f4"), {"units": "K"}),
            "land_sea_mask": (at[1:], rng.random((8, 5)).astype("f4"), {"units": "(0 - 1)"}),
        },
        coords={"time": times, "level": [500, 850], "latitude": np.linspace(90, -90, 5), "longitude": np.arange(8) * 45.0},
    )
    address = f"memory://test_zarr_store_{version}.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # metadata in one piece are not in the third version's standard yet
        ds.to_zarr(address, zarr_format=version, consolidated=True, mode="w")
    found = open_dataset(address)
    assert set(found.data_vars) == {"geopotential_500", "geopotential_850", "2m_temperature", "land_sea_mask"}
    assert np.array_equal(found["geopotential_850"].transpose(*at).values, ds["geopotential"].sel(level=850).values)
    assert found["geopotential_500"].attrs["units"] == "m2 s-2" and np.array_equal(found["time"].values, times)
    windows = TrajectoryWindows(open_dataset(address, variables=["t2m", "lsm"]), history=1, horizon=1, statics=("lsm",))
    assert windows.spec.names == ("t2m",) and np.array_equal(windows.static_fields["lsm"].numpy(), ds["land_sea_mask"].values.T)


@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_pickled_arrays_are_refused_before_any_value_is_read(tmp_path, place):
    """Chunks of such an array are pickles, which run what they like when they are read."""
    field().to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False)
    described = tmp_path / "a.zarr" / "x" / ".zarray"
    words = json.loads(described.read_text())
    codec = {"id": "pickle", "protocol": 5}
    words |= {"filters": [codec], "compressor": None} if place == "filters" else {"compressor": codec}
    described.write_text(json.dumps(words))
    (tmp_path / "a.zarr" / "x" / "0").write_bytes(pickle.dumps(_Harmful()))
    with pytest.raises(DataError, match="expected arrays of numbers, got an array stored by pickle, which could run code; no value was read"):
        open_zarr(str(tmp_path / "a.zarr"))


class _Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code of a store was run",))


def test_what_cannot_be_read_is_worded(tmp_path):
    with pytest.raises(DataError, match="expected a Zarr store or an HDF5 file, got one that cannot be read .*; check the address and the network"):
        open_dataset(f"file://{tmp_path}/none.zarr")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "zarr.json").write_text("{")
    with pytest.raises(DataError, match="expected a Zarr store, got one that cannot be read .*; fetch it again"):
        open_dataset(tmp_path / "b.zarr")
