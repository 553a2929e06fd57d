"""Parts joined along the samples keep values, types, chunks, attributes."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.join import is_zarr, join_parts, run_of
from physdiff.data.write import write_dataset


def part(path, start, count):
    values = np.arange(start * 6, (start + count) * 6, dtype=np.float32).reshape(count, 2, 3)
    values[0, 0, 0] = np.nan
    ds = xr.Dataset({"u": (("sample", "time", "x"), values, {"units": "m"})}, attrs={"title": "t"})
    return write_dataset(ds.assign_coords(sample=np.arange(start, start + count), time=[0.0, 1.0], x=[0.0, 1.0, 2.0]), path)


def test_the_whole_is_the_sum_of_its_parts(tmp_path):
    parts = [part(tmp_path / f"{s}.nc", s, n) for s, n in ((0, 2), (2, 3), (5, 1))]
    whole = join_parts(parts, tmp_path / "all.nc", attrs={"more": "yes"})
    with xr.open_dataset(whole) as ds:
        want = xr.concat([xr.open_dataset(p) for p in parts], "sample")
        xr.testing.assert_equal(ds, want)
        assert ds.attrs["title"] == "t" and ds.attrs["more"] == "yes" and ds.u.attrs["units"] == "m"
    with netCDF4.Dataset(whole) as raw, netCDF4.Dataset(parts[0]) as one:
        assert raw["u"].chunking() == one["u"].chunking() and raw["u"].filters()["fletcher32"] and raw["u"].dtype == np.float32
    assert run_of(whole, "more") == "yes" and run_of(whole, "none") is None and not is_zarr(tmp_path)


def test_a_part_that_is_missing_leaves_nothing_behind(tmp_path):
    with pytest.raises(DataError, match="expected to join 2 parts"):
        join_parts([part(tmp_path / "0.nc", 0, 1), tmp_path / "1.nc"], tmp_path / "all.nc", attrs={})
    assert [p.name for p in tmp_path.iterdir()] == ["0.nc"]
