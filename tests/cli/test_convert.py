"""`physdiff convert`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from physdiff.data.open import open_dataset
from tests.cli.command import refuses, works
from tests.data.files import box, earth, save

pytest.importorskip("dask", reason="the package dask is not installed")


def test_a_strangers_arrays_become_netcdf(tmp_path):
    source = box()
    np.savez(tmp_path / "a.npz", u=source["u"].values, v=source["v"].values, t=source["time"].values, x=source["x"].values, y=source["y"].values)
    said = works("convert --frames 2 --periodic [x,y] --select.variables u --data", tmp_path / "a.npz", "--out", tmp_path / "b.nc")
    assert f"wrote {tmp_path / 'b.nc'}" in said
    back = open_dataset(tmp_path / "b.nc")
    assert list(back) == ["u"] and np.array_equal(back["u"].values, source["u"].values) and back["x"].attrs["periodic"] == "true"


def test_a_region_on_coarser_cells(tmp_path):
    source = save(earth(4, ny=8, nx=12), tmp_path / "a.nc")
    works("convert --grid.factor 2 --grid.region", Path("longitude 2 to 21"), "--data", source, "--out", tmp_path / "b.zarr")
    back = open_dataset(tmp_path / "b.zarr")["t2m"]
    # latitudes are weighed by their bands, which a box of 2 x 2 of nearly equal bands shows in the fourth digit
    plain = open_dataset(source)["t2m"].values[:, :, 1:9].reshape(4, 4, 2, 4, 2).mean((2, 4))
    assert back.shape == (4, 4, 4) and np.allclose(back.values, plain, rtol=1e-3) and not np.array_equal(back.values, plain)
    other = save(earth(1, ny=4, nx=6).assign_coords(latitude=np.linspace(49, 41, 4), longitude=np.arange(6) * 4.0), tmp_path / "grid.nc")
    works("convert --grid.like", other, "--data", source, "--out", tmp_path / "like.nc")
    like = open_dataset(tmp_path / "like.nc")["t2m"]
    assert like.shape == (4, 4, 6) and np.allclose(like.longitude, np.arange(6) * 4.0) and np.isfinite(like.values).all()
    assert "expected ranges of axes" in refuses("convert", "--grid.region", "north", "--data", source, "--out", tmp_path / "c.nc")


def test_refusals(tmp_path):
    words = ("--data", save(box(), tmp_path / "a.nc"), "--out", tmp_path / "b.nc")
    assert "expected Cartesian axes of the data (y, x), got q" in refuses("convert", *words, "--periodic [q]")
    assert "found nothing there" in refuses("convert", "--data", tmp_path / "none.nc", "--out", tmp_path / "b.nc")
