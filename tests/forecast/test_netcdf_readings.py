"""Readings from netCDF: what was written comes back in every CF layout, gaps are no readings, and what does not fit is refused in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError, GridMismatch, UnitError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.forecast.netcdf_readings import netcdf_readings
from physdiff.forecast.readings import read_readings
from physdiff.forecast.reconstruct import reconstruct
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.distance import cell_places
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.exact import plain_prior
from physdiff.inference.guided import Guided

SPEC = FieldSpec(("t2m", "rain"), ("K", "kg m-2"), LatLonGrid(torch.tensor([50.0, 48.0, 46.0]), torch.arange(4.0)), 3600.0)
TIMES = np.array(["2019-03-16T12", "2019-03-16T15"], "datetime64[ns]")
PLACES = torch.tensor([[1.0, 48.0], [2.5, 46.0], [0.0, 50.0]], dtype=torch.float64)
VALUES = np.array([[280.0, 281.0, np.nan], [282.0, np.nan, 283.0]])


def stations(**changes) -> xr.Dataset:
    """A CF time series: (time, station), places by attributes alone."""
    ds = xr.Dataset(
        {"t2m": (("time", "station"), VALUES, {"units": "kelvin"})},
        {
            "time": TIMES,
            "where_n": ("station", PLACES[:, 1].numpy(), {"standard_name": "latitude", "units": "degrees_north"}),
            "where_e": ("station", PLACES[:, 0].numpy(), {"units": "degrees_east"}),
        },
        {"featureType": "timeSeries"},
    )
    return ds.assign(**changes)


def saved(ds: xr.Dataset, tmp_path, name: str = "readings.nc"):
    ds.to_netcdf(tmp_path / name, engine="netcdf4")
    return tmp_path / name


def check(found, places=PLACES) -> None:
    points, values, times = found
    expected = [(280.0, 0, 0), (281.0, 1, 0), (282.0, 0, 1), (283.0, 2, 1)]
    rows = sorted((float(v), p.tolist(), t) for v, p, t in zip(values[0], points, times, strict=True))
    assert [(v, p, t) for v, p, t in rows] == [(v, places[i].tolist(), TIMES[k]) for v, i, k in expected]
    assert values.shape == (2, 4) and bool(values[1].isnan().all())


def test_time_series_of_stations_either_way_round(tmp_path) -> None:
    check(netcdf_readings(saved(stations(), tmp_path), SPEC))
    turned = stations().transpose("station", "time")
    check(netcdf_readings(saved(turned, tmp_path), SPEC))
    named = stations().rename(t2m="2m_temperature")
    check(netcdf_readings(saved(named, tmp_path), SPEC))


def test_a_list_of_observations_and_moving_platforms(tmp_path) -> None:
    flat = stations().stack(obs=("time", "station"), create_index=False)
    flat = flat.reset_coords("time").assign_coords(time=("obs", np.repeat(TIMES, 3))) if "time" not in flat.coords else flat
    check(netcdf_readings(saved(flat, tmp_path), SPEC))
    moving = stations()
    for name in ("where_n", "where_e"):
        attrs = moving[name].attrs
        moving[name] = (("time", "station"), np.stack([moving[name].values] * 2), attrs)
    check(netcdf_readings(saved(moving, tmp_path), SPEC))
    still = stations().isel(time=0, drop=True)
    points, values, times = netcdf_readings(saved(still, tmp_path), SPEC)
    assert times is None and torch.equal(points, PLACES[:2]) and values[0].tolist() == [280.0, 281.0]


def test_packed_values_and_fill_values(tmp_path) -> None:
    path = tmp_path / "packed.nc"
    stations().to_netcdf(path, engine="netcdf4", encoding={"t2m": {"dtype": "int16", "scale_factor": 0.5, "add_offset": 270.0, "_FillValue": -99}})
    check(netcdf_readings(path, SPEC))


def gridded(latitude) -> xr.Dataset:
    values = np.full((2, 3, 4), np.nan)
    values[0, 0, 1], values[1, 2, 3] = 280.0, 281.0
    ds = xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {"time": TIMES, "latitude": [50.0, 48.0, 46.0], "longitude": np.arange(4.0)},
    )
    ds["latitude"].attrs["units"], ds["longitude"].attrs["units"] = "degrees_north", "degrees_east"
    return ds.sel(latitude=latitude)


@pytest.mark.parametrize("latitude", [[50.0, 48.0, 46.0], [46.0, 48.0, 50.0]])
def test_fields_with_gaps_are_read_cell_by_cell_whichever_way_the_latitudes_run(tmp_path, latitude) -> None:
    points, values, times = netcdf_readings(saved(gridded(latitude), tmp_path), SPEC)
    assert points.tolist() == [[1.0, 50.0], [3.0, 46.0]] and values[0].tolist() == [280.0, 281.0] and times.tolist() == TIMES.tolist()
    masked = FieldSpec(SPEC.names, SPEC.units, SPEC.grid, 3600.0, mask=torch.tensor([[True] * 4, [True] * 4, [False] * 4]))
    assert len(netcdf_readings(saved(gridded(latitude), tmp_path), masked)[0]) == 1


def test_on_a_plane(tmp_path) -> None:
    grid = CartesianGrid((3, 4), extent=(3.0, 4.0), periodic=True)
    spec = FieldSpec(("vorticity",), ("s-1",), grid, 0.5)
    ds = xr.Dataset(
        {"vorticity": (("t", "y", "x"), np.arange(12.0).reshape(1, 3, 4), {"units": "1/s"})},
        {"t": ("t", [0.5], {"units": "s"}), "y": ("y", np.arange(3.0), {"units": "m"}), "x": ("x", np.arange(4.0), {"units": "m"})},
    )
    points, values, times = netcdf_readings(saved(ds, tmp_path), spec)
    assert torch.equal(points, cell_places(grid)) and values[0].tolist() == list(range(12)) and times.tolist() == [0.5] * 12
    buoys = xr.Dataset({"vorticity": ("buoy", [1.0], {"units": "s-1"})}, {"x": ("buoy", [2.5], {"units": "km"}), "y": ("buoy", [0.5])})
    with pytest.raises(UnitError, match="coordinate 'x': expected the unit 'm', got 'km'"):
        netcdf_readings(saved(buoys, tmp_path), spec)


def test_draws_from_a_file(tmp_path) -> None:
    """The table and the file give the same readings, and so the same draws."""
    noon, later = "2019-03-16T12:00", "2019-03-16T15:00"
    rows = f"longitude,latitude,time,t2m [K]\n1,48,{noon},280\n2.5,46,{noon},281\n1,48,{later},282\n0,50,{later},283\n"
    (tmp_path / "table.csv").write_text(rows)
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), torch.full(SPEC.shape, 280.0), dense_covariance(torch.eye(24, dtype=torch.float64))), SPEC)
    one, other = (
        reconstruct(prior, read_readings(p, SPEC), Guided(steps=4), std=0.5, members=2, rng=Rng(0))
        for p in (tmp_path / "table.csv", saved(stations(), tmp_path))
    )
    assert np.array_equal(one["t2m"].values, other["t2m"].values)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda d: d.rename(t2m="sst"), DataError, "a variable for one of the fields t2m, rain, got sst"),
        (lambda d: d.assign(t2m=d.t2m.assign_attrs(units="degC")), UnitError, "variable 't2m': expected the unit 'K', got 'degC'; convert the file"),
        (lambda d: d.assign(t2m=d.t2m.assign_attrs(units="")), UnitError, "expected the unit 'K'"),
        (lambda d: d.drop_vars("where_e"), DataError, "coordinates longitude, latitude of the places, got none for longitude"),
        (lambda d: d.assign(t2m=d.t2m * np.nan).assign(t2m=lambda e: e.t2m.assign_attrs(units="K")), DataError, "missing values only"),
        (lambda d: d.assign(t2m=(d.t2m / 0).assign_attrs(units="K")), DataError, "got infinite ones"),
        (lambda d: d.isel(station=0), DataError, "one row per reading"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, error, said) -> None:
    made = change(stations())
    if said == "one row per reading":
        made = stations().assign_coords(where_n=("other", PLACES[:, 1].numpy(), stations().where_n.attrs))
    with pytest.raises(error, match=said):
        netcdf_readings(saved(made, tmp_path), SPEC)


def test_files_and_grids_that_are_none(tmp_path) -> None:
    (tmp_path / "text.nc").write_text("longitude,latitude\n")
    for path in (tmp_path / "text.nc", tmp_path / "none.nc"):
        with pytest.raises(DataError, match="expected a netCDF file of readings"):
            netcdf_readings(path, SPEC)
    with pytest.raises(GridMismatch, match="readings on a grid: expected LatLonGrid with latitude 3"):
        netcdf_readings(saved(gridded([50.0, 48.0]), tmp_path), SPEC)
