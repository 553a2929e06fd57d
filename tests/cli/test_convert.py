"""`physdiff convert`."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.data.open import open_dataset
from tests.cli.command import refuses, works
from tests.data.files import box, save

pytest.importorskip("dask", reason="the package dask is not installed")


def test_a_strangers_arrays_become_netcdf(tmp_path):
    source = box()
    np.savez(tmp_path / "a.npz", u=source["u"].values, v=source["v"].values, t=source["time"].values, x=source["x"].values, y=source["y"].values)
    said = works("convert --frames 2 --periodic [x,y] --select.variables u --data", tmp_path / "a.npz", "--out", tmp_path / "b.nc")
    assert f"wrote {tmp_path / 'b.nc'}" in said
    back = open_dataset(tmp_path / "b.nc")
    assert list(back) == ["u"] and np.array_equal(back["u"].values, source["u"].values) and back["x"].attrs["periodic"] == "true"


def test_refusals(tmp_path):
    words = ("--data", save(box(), tmp_path / "a.nc"), "--out", tmp_path / "b.nc")
    assert "expected Cartesian axes of the data (y, x), got q" in refuses("convert", *words, "--periodic [q]")
    assert "found nothing there" in refuses("convert", "--data", tmp_path / "none.nc", "--out", tmp_path / "b.nc")
