from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.evaluation.seasonal_climatology import seasonal_climatology
from tests.data.files import box, earth


def years(count: int, *, first: str = "2001-01-01") -> xr.Dataset:
    """Twelve-hourly fields: the day of the year, plus 1000 at noon, plus a twentieth for every year."""
    times = np.arange(np.datetime64(first), np.datetime64(first) + np.timedelta64(365 * count, "D"), np.timedelta64(12, "h")).astype("datetime64[ns]")
    day = (times.astype("datetime64[D]") - times.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)
    noon = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "D") > 0.25
    year = times.astype("datetime64[Y]").astype(int) - 31
    values = (day + 1000.0 * noon + 0.05 * year)[:, None, None] * np.ones((1, 3, 4))
    return earth(2, ny=3, nx=4).isel(time=0, drop=True).drop_vars("t2m").assign_coords(time=times).assign(
        t2m=(("time", "latitude", "longitude"), values.astype(np.float32), {"units": "K"})
    )


def test_members_are_of_the_hour_and_the_season_of_any_year():
    train, ds = years(3), years(1, first="2010-01-01")
    start = np.datetime64("2010-06-20T12", "ns")
    got = seasonal_climatology(train, ds, [start], lead=3, members=6, days=10)["t2m"]
    assert got.sizes["member"] == 6 and got.sizes["lead_time"] == 3
    first = got.isel(init_time=0, lead_time=0, latitude=0, longitude=0).values
    # the first step ahead is midnight of the next day
    assert ((np.floor(first) >= 170 - 10) & (np.floor(first) <= 171 + 10)).all()
    assert len({round(20 * (v % 1)) for v in first}) > 1  # of several years
    steps = got.isel(init_time=0, latitude=0, longitude=0)
    np.testing.assert_allclose(steps.isel(lead_time=1) - steps.isel(lead_time=0), 1000, atol=1e-3)
    np.testing.assert_allclose(steps.isel(lead_time=2) - steps.isel(lead_time=0), 1, atol=1e-3)


def test_the_turn_of_the_year_is_near_and_few_years_are_smoothed():
    train, ds = years(2), years(1, first="2010-01-01")
    day = seasonal_climatology(train, ds, [np.datetime64("2010-01-02", "ns")], lead=1, members=4, days=6)["t2m"].values.ravel() % 1000
    assert ((day < 10) | (day > 355)).all() and (day > 355).any()
    many = seasonal_climatology(train, ds, [np.datetime64("2010-07-01", "ns")], lead=1, members=60, days=1)["t2m"]
    assert many.sizes["member"] == 60 and float(np.ptp(many.values)) > 20


def test_lost_frames_are_no_members_and_the_rest_is_refused():
    train, ds = years(1), years(1, first="2010-01-01")
    train["t2m"][100:104] = np.nan
    got = seasonal_climatology(train, ds, [np.datetime64("2010-02-20", "ns")], lead=2, members=12, days=4)
    assert bool(np.isfinite(got["t2m"]).all())
    with pytest.raises(InputError, match="ask for fewer members"):
        seasonal_climatology(train, ds, [np.datetime64("2010-02-20", "ns")], lead=2, members=900)
    with pytest.raises(InputError, match="members >= 1"):
        seasonal_climatology(train, ds, lead=1, members=0)
    with pytest.raises(DataError, match="calendar times"):
        seasonal_climatology(box(), box(), lead=1)
