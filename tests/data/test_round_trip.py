"""Data set to file to data set, exact, for every writer of data: values with holes, times, axes, units, attributes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st

from physdiff.data.open import open_dataset
from physdiff.data.rewrite import rewrite
from physdiff.data.write import write_dataset

finite = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def datasets(draw):
    """Any trajectory the house knows: on a sphere or in a box, with samples, members or neither, calendar or plain times, values at will."""
    frames = draw(st.integers(2, 4))
    rows = draw(st.sampled_from([(), ("sample",), ("member",), ("sample", "member")]))
    space = draw(st.sampled_from([("latitude", "longitude"), ("x",), ("y", "x"), ("z", "y", "x")]))
    sizes = {**dict.fromkeys(rows, 2), "time": frames, **{d: draw(st.integers(2, 3)) for d in space}}
    if draw(st.booleans()):
        step = draw(st.sampled_from([np.timedelta64(1, "h"), np.timedelta64(86_400, "s"), np.timedelta64(250_000_001, "ns")]))
        times = np.datetime64("1999-12-31T23:30", "ns") + np.arange(frames) * step
        time = xr.Variable(("time",), times)
    else:
        time = xr.Variable(("time",), np.arange(frames) * draw(st.floats(1e-3, 1e3)), {"units": draw(st.sampled_from(["s", "1", "day"]))})
    coords = {"time": time}
    for d in space:
        step, first = draw(st.floats(0.1, 9.0)), draw(st.floats(-20.0, 10.0))
        down = d == "latitude" and draw(st.booleans())
        attrs = {"units": {"latitude": "degrees_north", "longitude": "degrees_east"}.get(d, "m")}
        coords[d] = xr.Variable((d,), (first + step * np.arange(sizes[d]))[:: -1 if down else 1], attrs)
    data = {}
    for name in draw(st.sampled_from([("u",), ("t2m", "msl")])):
        count = int(np.prod(list(sizes.values())))
        values = np.array(draw(st.lists(finite, min_size=count, max_size=count)), dtype=np.float32)
        data[name] = xr.Variable(tuple(sizes), values.reshape(list(sizes.values())), {"units": "K", "long_name": "a name, with \u03b1"})
    return xr.Dataset(data, coords=coords, attrs={"title": draw(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8))})


def same(read: xr.Dataset, written: xr.Dataset) -> None:
    assert list(read.data_vars) == list(written.data_vars)
    for name in written.data_vars:
        assert read[name].dims == written[name].dims
        assert all(read[name].attrs[k] == written[name].attrs[k] for k in ("units", "long_name"))
        # bits, so that infinities, signs of zero and subnormal numbers count; NaN is one value, a missing one
        np.testing.assert_array_equal(np.isnan(read[name].values), np.isnan(written[name].values))
        there = ~np.isnan(written[name].values)
        assert np.array_equal(read[name].values[there].view(np.int32), written[name].values[there].view(np.int32))
    for name in written.coords:
        assert np.array_equal(read[name].values, written[name].values) and read[name].dtype == written[name].dtype
        assert read[name].attrs.get("units") == written[name].attrs.get("units")
    assert read.attrs["title"] == written.attrs["title"]


@settings(max_examples=15, deadline=None)
@given(datasets())
def test_netcdf(tmp_path_factory, ds):
    folder = tmp_path_factory.mktemp("round")
    same(open_dataset(write_dataset(ds, folder / "a.nc")), ds)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(datasets(), st.sampled_from([".nc", ".zarr"]), st.sampled_from([None, 1, 3]))
def test_convert_and_convert_again(tmp_path_factory, ds, suffix, frames):
    """By way of lazy blocks; the second writing reads the first."""
    pytest.importorskip("dask")
    pytest.importorskip("zarr")
    folder = tmp_path_factory.mktemp("round")
    once = rewrite(ds, folder / f"a{suffix}", frames=frames, progress=False)
    same(open_dataset(once), ds)
    same(open_dataset(rewrite(open_dataset(once), folder / "b.zarr", progress=False)), ds)
    same(open_dataset(rewrite(open_dataset(once), folder / "b.nc", progress=False)), ds)
