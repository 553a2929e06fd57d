"""Any data set to other files: the same values, other chunks, little memory."""

from __future__ import annotations

import importlib.util

import netCDF4
import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import spec_of
from physdiff.data.open import open_dataset
from physdiff.data.rewrite import rewrite
from tests.data.files import box, earth, save

pytest.importorskip("dask", reason="the package dask is not installed")


@pytest.mark.parametrize("name", ["b.nc", "b.zarr"])
def test_the_same_data_in_other_chunks(tmp_path, name):
    if name.endswith("zarr"):
        pytest.importorskip("zarr", reason="the package zarr is not installed")
    source = open_dataset(save(box(), tmp_path / "a.nc"))
    path = rewrite(source, tmp_path / name, frames=3, periodic=["x"], progress=False)
    back = open_dataset(path)
    xr.testing.assert_equal(back.drop_attrs(), source.drop_attrs())
    assert back["u"].attrs["units"] == "1" and spec_of(back).grid.periodic == (False, True) and not spec_of(source).grid.periodic[1]
    assert not list(tmp_path.glob(".*")), "nothing is left behind"
    if name.endswith("nc"):
        with netCDF4.Dataset(path) as file:
            assert file["u"].chunking() == [1, 3, 4, 6] and file["u"].filters()["fletcher32"] and "history" in file.ncattrs()


def test_it_never_holds_more_than_chunks(tmp_path, monkeypatch):
    """Of 40 frames no read asks for more than the four of a chunk."""
    asked: list[int] = []
    ds = open_dataset(save(earth(40), tmp_path / "a.nc"))
    field = ds["t2m"].variable._data.array  # the lazy field under xarray's wrappers
    read = type(field)._read if hasattr(type(field), "_read") else type(field).__getitem__
    monkeypatch.setattr(type(field), read.__name__, lambda self, key: asked.append(np.size(out := read(self, key))) or out)
    rewrite(ds, tmp_path / "b.nc", frames=4, progress=False)
    assert asked and max(asked) == 4 * 4 * 6


def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    ds = open_dataset(save(earth(4), tmp_path / "a.nc"))
    for arguments, kind, message in (
        ({"out": tmp_path / "b.csv"}, InputError, "expected a name that ends in .nc, .nc4, .h5, .hdf5, .zarr, got '.csv'"),
        ({"out": tmp_path / "b.nc", "frames": 0}, InputError, "frames: expected at least 1, got 0"),
        ({"out": tmp_path / "b.nc", "periodic": ["longitude"]}, InputError, "expected Cartesian axes of the data .none here., got longitude"),
    ):
        with pytest.raises(kind, match=message):
            rewrite(ds, **arguments)
    (tmp_path / "c.zarr").mkdir()
    with pytest.raises(DataError, match="expected a new store, got one that is there|expected the package zarr"):
        rewrite(ds, tmp_path / "c.zarr")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install .physdiff\[dask\]"):
        rewrite(ds, tmp_path / "b.nc")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nc", "c.zarr"]


def test_a_store_keeps_the_order_of_its_variables(tmp_path):
    """Arrays of a store are found in any order; ours is that of the data."""
    pytest.importorskip("zarr")
    ds = earth(4)
    names = [f"v{k}" for k in (3, 1, 4, 0, 5, 2)]
    ds = ds.assign({n: ds["t2m"] + k for k, n in enumerate(names)}).drop_vars("t2m")
    assert list(open_dataset(rewrite(ds, tmp_path / "a.zarr", progress=False)).data_vars) == names
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False, decode_times=False) as raw:
        assert set(raw.data_vars) == set(names)
        raw.attrs.pop("physdiff_variables")
        raw.to_zarr(tmp_path / "b.zarr", consolidated=False)
    assert list(open_dataset(tmp_path / "b.zarr").data_vars) == sorted(names)  # of others, by name
