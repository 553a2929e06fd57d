from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.lazy import Files
from physdiff.data.scan import scan
from tests.data.files import HOUR, START, earth, save, smooth


def found(ds, tmp_path, **keywords):
    return {f.name: f for f in scan(str(save(ds, tmp_path / "f.nc", **keywords)), Files())}


def test_levels_become_names_in_hpa_also_a_single_one(tmp_path):
    dims = ("time", "plev", "lat", "lon")
    ds = xr.Dataset(
        {"z": (dims, smooth(3, 2, 4, 5))},
        coords={
            "time": START + np.arange(3) * HOUR,
            "plev": ("plev", [50000.0, 85000.0], {"units": "Pa"}),
            "lat": np.arange(4.0),
            "lon": np.arange(5.0),
        },
    )
    both = found(ds, tmp_path)
    assert list(both) == ["z_500", "z_850"]
    assert both["z_850"].dims == ("time", "latitude", "longitude") and both["z_850"].piece.axes == ("time", 1, "latitude", "longitude")
    assert list(found(ds.isel(plev=[1]), tmp_path)) == ["z_850"]
    assert list(found(ds.isel(plev=1), tmp_path)) == ["z_850"]


def test_model_levels_say_so(tmp_path):
    ds = earth(3).expand_dims({"hybrid": [1.0, 137.0]}, axis=1)
    assert list(found(ds, tmp_path)) == ["t2m_ml1", "t2m_ml137"]


def test_bounds_strings_and_series_are_left_out(tmp_path):
    ds = earth(3).assign(
        latitude_bnds=(("latitude", "bnds"), np.zeros((4, 2))),
        lat_edges=(("latitude", "bnds"), np.zeros((4, 2))),
        series=("time", np.zeros(3)),
        expver=("time", np.array(["0001", "0005", "0005"])),
        surface=((), 0.0),
    )
    ds["latitude"].attrs["bounds"] = "lat_edges"
    assert list(found(ds, tmp_path)) == ["t2m"]


def test_valid_time_is_the_time_of_a_cfgrib_file(tmp_path):
    ds = earth(3)
    ds = ds.assign_coords(valid_time=("time", ds.time.values + 6 * HOUR), step=((), 6 * HOUR))
    np.testing.assert_array_equal(found(ds, tmp_path)["t2m"].axes["time"].values, ds.time.values + 6 * HOUR)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda ds: ds.expand_dims(band=2), "dimension 'band' that is neither"),
        (lambda ds: ds.rename(latitude="x"), "longitude, x, expected latitude and longitude"),
        (lambda ds: ds.isel(latitude=0), "the directions longitude, expected"),
        (lambda ds: ds.expand_dims(lat=[1.0, 2.0]), "two dimensions that mean latitude"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path, change, problem):
    ds = change(earth(3))
    for name in ("x", "lat"):
        if name in ds.coords:
            ds[name].attrs = {}
    (field,) = found(ds, tmp_path).values()
    assert problem in field.problem


def test_a_length_one_dimension_of_any_name_does_no_harm(tmp_path):
    ds = earth(3).expand_dims(height=[2.0])
    field = found(ds, tmp_path)["t2m"]
    assert not field.problem and field.dims == ("time", "latitude", "longitude")


def test_scattered_points_have_places_and_no_order(tmp_path):
    coords = {"time": np.arange(3.0), "x": ("node", smooth(9)), "y": ("node", smooth(9) + 1), "area": ("node", np.ones(9))}
    ds = xr.Dataset({"u": (("time", "node"), smooth(3, 9))}, coords=coords)
    fields = found(ds, tmp_path)
    assert list(fields) == ["u"] and not fields["u"].problem and fields["u"].dims == ("time", "point")
    assert sorted(fields["u"].axes["point"].places) == ["area", "x", "y"]
    np.testing.assert_array_equal(fields["u"].axes["point"].places["y"].values, ds["y"].values)
    # places that are variables of the file are no fields either
    (tmp_path / "b").mkdir()
    assert list(found(ds.reset_coords(["x", "y", "area"]), tmp_path / "b")) == ["u"]


def test_points_of_a_sphere_are_refused(tmp_path):
    coords = {"time": np.arange(3.0), "lat": ("node", smooth(9)), "lon": ("node", smooth(9))}
    with pytest.raises(DataError, match="expected scattered points with coordinates x, y, z, got latitude, longitude along 'node'"):
        found(xr.Dataset({"u": (("time", "node"), smooth(3, 9))}, coords=coords), tmp_path)


def test_frames_without_times_are_refused(tmp_path):
    with pytest.raises(DataError, match="expected a coordinate variable 'time'"):
        found(earth(3).drop_vars("time"), tmp_path)
