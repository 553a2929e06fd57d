from __future__ import annotations

import os

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, strategies as st

from physdiff.base.errors import DataError
from physdiff.data.open import open_dataset
from physdiff.data.write import write_dataset
from tests.data.files import HOUR, START, box, earth, packed, smooth


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    for ds in (a, b):
        for name in ("history", "Conventions"):
            ds.attrs.pop(name, None)
    xr.testing.assert_identical(a.load(), b.load())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("write")


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.booleans(), st.integers(0, 10**9), st.integers(0, 99))
def test_house_data_sets_come_back_exactly(folder, frames, ny, nx, holes, second, seed):
    values = smooth(frames, ny, nx, seed=seed) * 10.0 ** ((seed % 20) - 10)
    if holes:
        values[smooth(frames, ny, nx, seed=seed + 1) > 0.5] = np.nan
    ds = earth(frames, ny=ny, nx=nx, t2m=values)
    ds = ds.assign_coords(time=ds.time + np.timedelta64(second, "s"))
    ds = open_dataset(write_dataset(ds, folder / "a.nc"))
    ds.load()
    back = open_dataset(write_dataset(ds, folder / "b.nc"))
    np.testing.assert_array_equal(back.t2m, values)
    same(ds, back)


def test_real_files_come_back_exactly(shared_data, tmp_path):
    for name in ("reanalysis/era5_surf_davos_hourly_2020-01.nc", "cfd/cylinder_re100_traj_t60_140_128x64.nc", "pde/kdv_cos_L2.nc"):
        ds = open_dataset(shared_data / name)
        same(ds, open_dataset(write_dataset(ds, tmp_path / "a.nc")))


def test_float64_comes_back_on_request(tmp_path):
    ds = box()
    ds["u"] = ds.u.astype("float64") / 3
    path = write_dataset(ds, tmp_path / "a.nc")
    np.testing.assert_array_equal(open_dataset(path, dtype="float64").u, ds.u)


def test_a_packed_source_is_written_as_floats(tmp_path):
    source = packed(tmp_path / "p.nc", 280 + smooth(3, 4, 5).astype(float), step=1e-3, offset=280)
    with xr.open_dataset(source) as foreign:
        path = write_dataset(foreign, tmp_path / "a.nc")
        np.testing.assert_array_equal(open_dataset(path).t2m, foreign.t2m.astype("float32"))
    with netCDF4.Dataset(path) as file:
        assert file["t2m"].dtype.kind == "f" and "scale_factor" not in file["t2m"].ncattrs()


def test_the_file_follows_cf_and_tells_its_history(tmp_path):
    ds = earth(3).assign_attrs(history="made by hand", flag=True, nothing=None)
    path = write_dataset(ds, tmp_path / "a.nc", command="physdiff generate --samples 3")
    with netCDF4.Dataset(path) as file:
        lines = file.history.splitlines()
        assert file.Conventions == "CF-1.8" and "physdiff" in lines[0] and lines[0].endswith("generate --samples 3") and lines[1] == "made by hand"
        assert file["latitude"].standard_name == "latitude" and file["time"].axis == "T" and "since 1970-01-01" in file["time"].units
        assert file["t2m"].filters()["zlib"] and file["t2m"].filters()["fletcher32"]
        assert file.flag == "true" and "_FillValue" not in file["latitude"].ncattrs()


def test_forecast_times_and_texts_survive(tmp_path):
    dims = ("init_time", "lead_time", "latitude", "longitude")
    ds = earth(2)
    fc = xr.Dataset(
        {"t2m": (dims, smooth(2, 3, 4, 6))},
        coords={
            "init_time": START + np.arange(2) * HOUR,
            "lead_time": np.arange(3) * HOUR,
            "latitude": ds.latitude,
            "region": ("latitude", list("abcd")),
        },
    )
    with xr.open_dataset(write_dataset(fc, tmp_path / "f.nc"), decode_timedelta=True) as back:
        np.testing.assert_array_equal(back.lead_time, fc.lead_time)
        np.testing.assert_array_equal(back.init_time, fc.init_time)
        assert list(back.region.values) == list("abcd")


def test_a_failure_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch):
    path = write_dataset(earth(3), tmp_path / "a.nc")
    before = path.read_bytes()

    def fails(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="no space left"):
        patch.setattr(os, "replace", fails)
        write_dataset(earth(5), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_a_new_file_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    path = write_dataset(earth(3), tmp_path / "deep" / "er" / "a.nc")
    assert path.stat().st_mode & 0o777 == (tmp_path / "plain").stat().st_mode & 0o777


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="got a folder"):
        write_dataset(earth(3), tmp_path)
    with pytest.raises(DataError, match="complex64 in h"):
        write_dataset(xr.Dataset({"h": ("x", np.zeros(3, "complex64"))}), tmp_path / "a.nc")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="expected a folder to write into"):
        write_dataset(earth(3), tmp_path / "file" / "a.nc")
