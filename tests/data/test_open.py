from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError, UnitError
from physdiff.data.convert import spec_of
from physdiff.data.open import open_dataset, open_forecast
from tests.data.files import HOUR, START, box, earth, packed, save, smooth

# Files of ../shared/data which are refused, and why; everything else must open.
REFUSED = {
    "era5_global_tl31_37lev_1959-01-02T00.nc": "no time dimension.*one time only",
    "era5_uv850_with_ncl_vo_div_sf_vp_2p5deg_2025-12-01T00.nc": "no time dimension",
    "cylinder_re100_steady_baseflow_256x128.nc": "no time dimension",
    "cylinder_nektar_vorticity_t0_points.nc": "no time dimension: w has point",
    "ns_backstep_no_obstacle.nc": "no time dimension: u has point",
}


def test_every_real_file_opens_or_is_refused_for_the_right_reason(shared_data):
    paths = [p for room in ("reanalysis", "cfd", "pde") for p in sorted((shared_data / room).rglob("*.nc"))]
    assert len(paths) > 20
    for path in paths:
        if path.name in REFUSED:
            with pytest.raises(DataError, match=REFUSED[path.name]):
                open_dataset(path)
            continue
        ds = open_dataset(path)
        for field in ds.data_vars.values():
            assert field.dtype == np.float32 and field.dims[-2:] in (("latitude", "longitude"), ("y", "x"), ("time", "x"), ("time", "point"))
        spec = spec_of(ds)
        assert spec.dt in (0.01, 3600.0, 6 * 3600.0, 12 * 3600.0) or spec.time_unit == "1"
        if spec.grid.dims == ("point",):
            np.testing.assert_array_equal(spec.grid.coordinates()[1], ds["y"])
            continue
        for dim, points in zip(spec.grid.dims, spec.grid.axes(), strict=True):
            # a uniform axis is rebuilt from its ends
            np.testing.assert_allclose(points, ds[dim], atol=1e-4 * float(abs(ds[dim][1] - ds[dim][0])))


def test_real_values_are_found_by_name_whatever_the_order(shared_data):
    path = shared_data / "reanalysis" / "era5_natlantic_upper_2019-01-01_dims_lon_lat_lev_time.nc"
    ds = open_dataset(path, variables=["t_250", "u"], units={"t_250": "K", "u": "m/s"})
    assert list(ds) == ["t_250", "u_200", "u_225", "u_250", "u_300"] and ds.u_250.attrs["units"] == "m s-1"
    with xr.open_dataset(path) as raw:
        raw = raw.sel(level=[250, 300])
        for lon, lat, hour in ((-39.75, 50.25, 0), (-21.0, 59.0, 12), (-29.75, 55.25, 7)):
            place = {"longitude": lon, "latitude": lat}
            here, there = ds.sel(place).isel(time=hour), raw.sel(place).isel(time=hour)
            # float32 of numbers near 230 K and 30 m/s
            assert float(here.t_250) == pytest.approx(float(there.air_temperature[0]), abs=2e-5)
            assert float(here.u_300) == pytest.approx(float(there.eastward_wind[1]), abs=4e-6)


def test_real_members_and_cylinder(shared_data):
    eda = open_dataset(shared_data / "reanalysis" / "era5_eda_members_global_3deg_2017-01-01.nc")
    assert dict(eda.sizes) == {"member": 10, "time": 2, "latitude": 61, "longitude": 120}
    # the spreads README.md of the shared data states, plain means over points and times
    for name, spread in (("z_850", 12.7), ("z_500", 13.1), ("t_850", 0.325), ("t_500", 0.200)):
        assert float(eda[name].std("member", ddof=1).mean()) == pytest.approx(spread, rel=3e-3)
    wake = open_dataset(shared_data / "cfd" / "cylinder_re100_traj_t60_140_128x64.nc")
    assert wake.u.dims == ("time", "y", "x") and wake.mask_fluid.dims == ("y", "x") and wake.time.dtype == np.float64


def test_real_files_of_two_months_join_with_their_own_packing(shared_data):
    folder = shared_data / "reanalysis"
    ds = open_dataset(str(folder / "era5_surf_norway_hourly_2018-1*.nc"), variables=["2m_temperature"])
    assert ds.sizes["time"] == 744 + 720 and list(ds) == ["2m_temperature"]
    with xr.open_dataset(folder / "era5_surf_norway_hourly_2018-11.nc") as raw:
        np.testing.assert_allclose(ds["2m_temperature"].isel(time=slice(744, None)), raw.t2m, rtol=1e-6)


def test_real_variables_in_files_of_their_own_stand_side_by_side(shared_data):
    ds = open_dataset(str(shared_data / "reanalysis" / "era5_pl_nweurope_2020-01-01" / "ERA5_*.nc"), variables=["q_500", "u10", "sp"])
    assert list(ds) == ["q_500", "u10", "sp"] and ds.sizes["time"] == 24


def test_packed_integers_equal_floats_within_half_a_step(tmp_path):
    values = 280 + 5 * smooth(6, 3, 4).astype(np.float64)
    step, offset = 7e-4, 281.3
    ds = open_dataset(packed(tmp_path / "p.nc", values, step=step, offset=offset, hole=(2, 1, 0)))
    back = ds.t2m.values.astype(np.float64)
    assert np.isnan(back[2, 1, 0]) and np.isnan(back).sum() == 1
    back[2, 1, 0] = values[2, 1, 0]
    # half a step of packing, and half a unit in the last place of float32 near 290
    assert np.abs(back - values).max() <= step / 2 + 1.6e-5
    assert ds.time.values[0] == np.datetime64("1900-01-01T00", "ns") + 1_051_896 * HOUR


def test_new_names_expver_and_number(tmp_path):
    ds = earth(4).rename(time="valid_time")
    ds["t2m"] = ds.t2m.expand_dims(pressure_level=[850.0], axis=1)
    ds = ds.assign_coords(expver=("valid_time", np.array(["0001", "0001", "0005", "0005"])), number=((), 0))
    opened = open_dataset(save(ds, tmp_path / "n.nc"))
    assert list(opened) == ["t2m_850"] and list(opened.coords) == ["time", "latitude", "longitude"]
    np.testing.assert_array_equal(opened.t2m_850, ds.t2m.isel(pressure_level=0))


def test_expver_dimension_is_merged_first_not_missing(tmp_path):
    ds = earth(4)
    final = ds.where(ds.time < ds.time[2])
    both = xr.concat([final, ds.where(ds.time >= ds.time[2])], dim=xr.Variable("expver", [1, 5])).transpose("time", "expver", ...)
    np.testing.assert_array_equal(open_dataset(save(both, tmp_path / "e.nc")).t2m, ds.t2m)


def test_the_order_of_the_file_does_not_matter(tmp_path):
    ds = box()
    turned = ds.transpose("x", "sample", "y", "time").isel(x=slice(None, None, -1))
    opened = open_dataset(save(turned.rename(sample="trajectory", time="t"), tmp_path / "b.nc"))
    assert opened.u.dims == ("sample", "time", "y", "x")
    np.testing.assert_array_equal(opened.u, ds.u)
    np.testing.assert_array_equal(opened.x, ds.x)


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    opened = open_dataset(save(earth(4), tmp_path / "l.nc"))
    (tmp_path / "l.nc").write_bytes(b"gone")
    assert opened.t2m.isel(time=slice(1, 3)).shape == (2, 4, 6)
    assert not opened.t2m.variable._in_memory


def test_several_files_of_one_frame_each(tmp_path):
    ds = earth(5)
    for k in range(5):
        save(ds.isel(time=4 - k), tmp_path / f"{k}.nc")
    np.testing.assert_array_equal(open_dataset(str(tmp_path / "*.nc")).t2m, ds.t2m)


def test_files_on_the_other_branch_of_longitude_are_read_in_the_order_of_the_first(tmp_path):
    ds = earth(4, nx=4).assign_coords(longitude=("longitude", [0.0, 90.0, 180.0, 270.0], {"units": "degrees_east"}))
    later = ds.assign_coords(time=ds.time + 4 * HOUR, longitude=(ds.longitude + 180) % 360 - 180).sortby("longitude").sortby("latitude")
    save(ds, tmp_path / "a.nc")
    save(later, tmp_path / "b.nc")
    opened = open_dataset([tmp_path / "a.nc", tmp_path / "b.nc"])
    np.testing.assert_array_equal(opened.t2m[4:], ds.t2m)
    np.testing.assert_array_equal(opened.longitude, [0, 90, 180, 270])


def test_names_and_units(tmp_path):
    ds = earth(3, **{"2m_temperature": smooth(3, 4, 6), "u10": smooth(3, 4, 6)})
    ds.u10.attrs["units"] = "m s**-1"
    path = save(ds, tmp_path / "w.nc")
    assert list(open_dataset(path)) == ["2m_temperature", "u10"]
    assert list(open_dataset(path, variables=["u10", "t2m"])) == ["u10", "t2m"]
    assert open_dataset(path, units={"u10": "m/s", "t2m": "kelvin"}).u10.attrs["units"] == "m s-1"
    with pytest.raises(UnitError, match="u10 in .*expected the unit 'kt', got 'm s-1'"):
        open_dataset(path, units={"u10": "kt"})
    with pytest.raises(DataError, match="expected a variable 'sp', got only 2m_temperature, u10"):
        open_dataset(path, units={"sp": "Pa"})


def test_forecasts_have_a_door_of_their_own(tmp_path):
    dims = ("init_time", "member", "lead_time", "latitude", "longitude")
    ds = earth(2)
    coords = {"init_time": START + np.arange(2) * 24 * HOUR, "lead_time": np.arange(3) * HOUR, "latitude": ds.latitude, "longitude": ds.longitude}
    fc = xr.Dataset({"t2m": (dims, smooth(2, 5, 3, 4, 6))}, coords=coords)
    path = save(fc, tmp_path / "f.nc", encoding={"lead_time": {"units": "hours", "dtype": "int64"}})
    opened = open_forecast(path)
    np.testing.assert_array_equal(opened.t2m, fc.t2m)
    np.testing.assert_array_equal(opened.lead_time, fc.lead_time)
    assert opened.lead_time.dtype == np.dtype("timedelta64[ns]") and opened.init_time.dtype == np.dtype("datetime64[ns]")
    with pytest.raises(DataError, match="open_forecast"):
        open_dataset(path)
    with pytest.raises(DataError, match="expected t2m with init_time and lead_time"):
        open_forecast(save(ds, tmp_path / "a.nc"))


def two_grids():
    return earth(3).assign(u=(("time", "lat2", "longitude"), smooth(3, 2, 6))).assign_coords(lat2=("lat2", [1.0, 2.0], {"units": "degrees_north"}))


def without_units():
    ds = earth(3)
    del ds.t2m.attrs["units"]
    return ds


BAD = {
    "no time dimension": (lambda: earth(3).isel(time=0, drop=True), {}, DataError, "no time dimension"),
    "scalar time": (lambda: earth(3).isel(time=0), {}, DataError, r"no time dimension.*one time only \(2020-01-01T00:00\)"),
    "two grids": (two_grids, {}, DataError, r"got two grids: t2m on \(latitude 4, longitude 6\).* and u on \(lat2 2, longitude 6\)"),
    "unknown variable": (lambda: earth(3), {"variables": ["t3m"]}, DataError, "expected a variable 't3m', got only t2m; did you mean t2m"),
    "wrong unit": (lambda: earth(3), {"units": {"t2m": "degC"}}, UnitError, "expected the unit 'degC', got 'K'"),
    "no unit": (without_units, {"units": {"t2m": "K"}}, UnitError, "no unit at all"),
    "no grid": (lambda: xr.Dataset({"a": ("time", [1.0, 2.0])}, {"time": [0.0, 1.0]}), {}, DataError, "expected a variable on a grid"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_words(tmp_path, case):
    make, keywords, kind, message = BAD[case]
    path = save(make(), tmp_path / "bad.nc")
    with pytest.raises(kind, match=message):
        open_dataset(path, **keywords)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_other_calendars_are_days_of_their_own(tmp_path, calendar):
    """Two files of daily frames over the end of February, each counting from its own day."""
    days = xr.date_range("2001-02-27", periods=6, calendar=calendar, use_cftime=True)
    for k in range(2):
        ds = earth(3).assign_coords(time=days[3 * k : 3 * k + 3])
        ds["time"].encoding = {"units": f"hours since {('1990-01-01', '1995-03-01')[k]}"}
        save(ds, tmp_path / f"{k}.nc")
    found = open_dataset(str(tmp_path / "*.nc"))
    first = 151 * 360 + 30 + 26 if calendar == "360_day" else 151 * 365 + 31 + 26
    assert found["time"].values.tolist() == [first + k for k in range(6)] and found["time"].attrs["units"] == "day"
    spec = spec_of(found)
    assert spec.dt == 1 and spec.time_unit == "d" and calendar in found["time"].attrs["comment"]


def test_a_variable_of_one_of_two_grids_can_be_chosen(tmp_path):
    assert list(open_dataset(save(two_grids(), tmp_path / "g.nc"), variables=["u"])) == ["u"]


def test_bad_sets_of_files(tmp_path):
    a = save(earth(4), tmp_path / "a.nc")
    overlapping = save(earth(4, hours=np.arange(3, 7)), tmp_path / "b.nc")
    elsewhere = save(earth(4, hours=np.arange(4, 8)).assign_coords(latitude=np.arange(4.0)), tmp_path / "c.nc")
    other = save(earth(4, hours=np.arange(4, 8), u10=smooth(4, 4, 6)), tmp_path / "d.nc")
    celsius = earth(4, hours=np.arange(4, 8))
    celsius.t2m.attrs["units"] = "degC"
    warm = save(celsius, tmp_path / "e.nc")
    for second, kind, message in (
        (overlapping, DataError, "one after another in time, got 2020-01-01T03:00"),
        (elsewhere, DataError, "two grids"),
        (other, DataError, "at the same times, got 4 frames"),
        (warm, UnitError, "expected the unit 'K', got 'degC'"),
    ):
        with pytest.raises(kind, match=message):
            open_dataset([a, second])


def test_paths_that_lead_nowhere(tmp_path):
    for path, message in (
        (tmp_path / "none.nc", "found nothing there"),
        (str(tmp_path / "*.nc"), "files that match the pattern, found none"),
        ([], "at least one file"),
        ("http://127.0.0.1:9/a.nc", "expected a Zarr store or an HDF5 file, got one that cannot be read .*; check the address and the network"),
    ):
        with pytest.raises(DataError, match=message):
            open_dataset(path)


def test_dimensions_of_unknown_names_are_told_with_the_line_that_renames_them(tmp_path):
    field = xr.Dataset({"TEMP": (("when", "north", "east"), np.zeros((3, 2, 2)))})
    field.to_netcdf(tmp_path / "own.nc")
    told = r"got TEMP\(when, north, east\); rename .*\.rename\(when='time', north='latitude', east='longitude'\)"
    with pytest.raises(DataError, match=told):
        open_dataset(tmp_path / "own.nc")
    field.mean(("when", "north")).to_netcdf(tmp_path / "line.nc")
    with pytest.raises(DataError, match=r"rename\(east='longitude'\)"):
        open_dataset(tmp_path / "line.nc")


def test_files_of_one_cloud_are_joined_and_those_of_two_are_not(tmp_path):
    def cloud(start: float, shift: float = 0.0) -> xr.Dataset:
        coords = {"time": start + np.arange(2.0), "x": ("point", smooth(5)), "y": ("point", smooth(5) + 1 + shift)}
        return xr.Dataset({"u": (("time", "point"), smooth(2, 5) + start, {"units": "1"})}, coords=coords)

    paths = [save(cloud(t), tmp_path / f"{t}.nc") for t in (0.0, 2.0)]
    ds = open_dataset(paths)
    assert ds["u"].dims == ("time", "point") and ds["y"].dims == ("point",) and ds["time"].values.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(ds["u"].values[2:], ds["u"].values[:2] + 2, rtol=1e-6)
    with pytest.raises(DataError, match="two grids"):
        open_dataset([paths[0], save(cloud(2.0, 0.5), tmp_path / "other.nc")])
