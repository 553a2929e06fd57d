"""Zarr: folders of both formats, addresses, and stores whose reading would run code."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.open import open_dataset
from physdiff.data.readers.zarr_store import open_zarr

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
