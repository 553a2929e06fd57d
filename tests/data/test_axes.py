from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.axes import Axis, align, decode_times, role_of, space_axis


@pytest.mark.parametrize(
    ("dim", "attrs", "role"),
    [
        ("valid_time", {}, "time"),
        ("t", {}, "time"),
        ("number", {}, "member"),
        ("isobaricInhPa", {}, "level"),
        ("foo", {"units": "hPa"}, "level"),
        ("hybrid", {}, "model_level"),
        ("lat", {}, "latitude"),
        ("x", {"units": "degrees_east"}, "longitude"),
        ("x", {}, "x"),
        ("rows", {"axis": "Y"}, "y"),
        ("when", {"units": "days since 2000-01-01"}, "time"),
        ("prediction_timedelta", {}, "lead_time"),
        ("nonsense", {}, None),
    ],
)
def test_roles_come_from_names_and_attributes(dim, attrs, role):
    assert role_of(dim, attrs) == role


@pytest.mark.parametrize(
    ("stored", "house"),
    [
        ([0.0, 90.0, 180.0, 270.0], [0.0, 90.0, 180.0, 270.0]),
        ([-180.0, -90.0, 0.0, 90.0], [-180.0, -90.0, 0.0, 90.0]),
        ([0.0, 90.0, -180.0, -90.0], [0.0, 90.0, 180.0, 270.0]),
        ([350.0, 355.0, 0.0, 5.0], [-10.0, -5.0, 0.0, 5.0]),
        ([270.0, 180.0, 90.0, 0.0], [0.0, 90.0, 180.0, 270.0]),
        ([0.0, 90.0, 180.0, 270.0, 360.0], [0.0, 90.0, 180.0, 270.0]),
    ],
)
def test_longitude_becomes_increasing_and_keeps_its_places(stored, house):
    axis = space_axis("longitude", "lon", variable=xr.Variable("lon", stored), where="f.nc")
    np.testing.assert_array_equal(axis.values, house)
    order = np.arange(len(stored)) if axis.order is None else axis.order
    np.testing.assert_allclose(np.mod(np.asarray(stored)[order], 360), np.mod(axis.values, 360))


def test_latitude_stays_and_x_turns():
    north_first = space_axis("latitude", "lat", variable=xr.Variable("lat", [60.0, 50.0, 40.0]), where="f.nc")
    assert north_first.order is None and north_first.values[0] == 60
    x = space_axis("x", "x", variable=xr.Variable("x", [3.0, 2.0, 1.0]), where="f.nc")
    np.testing.assert_array_equal(x.values, [1, 2, 3])
    np.testing.assert_array_equal(x.order, [2, 1, 0])


@pytest.mark.parametrize(
    ("role", "variable", "message"),
    [
        ("x", None, "expected a coordinate variable 'd'"),
        ("latitude", xr.Variable("d", [1.0, 3.0, 2.0]), "monotonic"),
        ("longitude", xr.Variable("d", [0.0, 200.0, 100.0]), "monotonic"),
        ("y", xr.Variable("d", [0.0, np.nan]), "missing ones"),
    ],
)
def test_axes_that_cannot_be_read(role, variable, message):
    with pytest.raises(DataError, match=message):
        space_axis(role, "d", variable=variable, where="f.nc")


def test_align_reads_other_branches_and_directions_in_the_order_of_the_reference():
    reference = Axis("lon", np.array([0.0, 90.0, 180.0, 270.0]))
    other = align(Axis("lon", np.array([-180.0, -90.0, 0.0, 90.0])), reference, role="longitude")
    np.testing.assert_array_equal(other.order, [2, 3, 0, 1])
    flipped = align(Axis("lat", np.array([10.0, 20.0])), Axis("lat", np.array([20.0, 10.0])), role="latitude")
    np.testing.assert_array_equal(flipped.order, [1, 0])
    assert align(Axis("lat", np.array([10.0, 21.0])), Axis("lat", np.array([20.0, 10.0])), role="latitude") is None
    assert align(Axis("x", np.array([0.0, 360.0])), Axis("x", np.array([0.0, 1.0])), role="x") is None


def test_times_of_every_kind():
    old = xr.Variable("time", np.array([1, 2], "int32"), {"units": "hours since 1900-01-01 00:00:00.0", "calendar": "gregorian"})
    np.testing.assert_array_equal(decode_times(old, "t"), np.array(["1900-01-01T01", "1900-01-01T02"], "datetime64[ns]"))
    assert decode_times(xr.Variable("time", [0.5, 1.0], {"units": "s"}), "t").dtype == np.float64
    assert decode_times(xr.Variable((), 3, {"units": "days since 2000-01-01"}), "t") == np.datetime64("2000-01-04")
    # 151 years of 360 days; half-days count
    odd = xr.Variable("time", [1.5, 59.0], {"units": "days since 2001-01-01", "calendar": "360_day"})
    assert decode_times(odd, "t").tolist() == [151 * 360 + 1.5, 151 * 360 + 59]
    with pytest.raises(DataError, match="CF time units"):
        decode_times(xr.Variable("time", [1], {"units": "fortnights since yesterday"}), "t")
