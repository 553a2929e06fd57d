"""Starts, lead times and the layout of forecasts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.data.leads import KnownFrames, after, check_lead, forecast_dataset, forecast_of, lead_axis, positions_of
from physdiff.data.open import open_forecast
from physdiff.data.write import write_dataset
from tests.evaluation.processes import BEGIN, HOUR, hourly, hours, latlon_spec, simulations


def test_every_frame_with_enough_history_is_a_start():
    ds = hourly(20)
    known = KnownFrames(ds, history=3)
    assert (known.init_times == ds["time"].values[2:]).all()
    for start in (0, 7, 17):
        there = ds["t2m"].sel(time=known.times(start)).values
        assert np.array_equal(known.frames(0, start)[0].numpy(), there.astype(np.float32))
        assert known.times(start)[-1] == known.init_times[start]


def test_starts_do_not_reach_over_a_gap():
    ds = hourly(20).isel(time=[*range(8), *range(11, 20)])
    known = KnownFrames(ds, history=3)
    assert (known.init_times == np.concatenate([hours(20)[2:8], hours(20)[13:]])).all()


def test_given_starts_are_found_as_text_or_times():
    ds = hourly(20)
    known = KnownFrames(ds, ["2020-01-01T05:00", "2020-01-01T03:00"], history=2)
    assert (known.init_times == BEGIN + np.array([5, 3]) * HOUR).all()
    assert np.array_equal(known.frames(0, 1)[0].numpy(), ds["t2m"].values[2:4].astype(np.float32))
    assert len(KnownFrames(ds, every=6)) == 4


@pytest.mark.parametrize("start", ["2020-01-01T00:00", "2021-01-01T00:00"])
def test_a_start_without_history_is_refused(start):
    with pytest.raises(DataError, match="2 known frames"):
        KnownFrames(hourly(20), [start], history=2)


def test_data_that_cannot_be_started_from_are_refused():
    ds = hourly(20)
    with pytest.raises(DataError, match="at least 30 known frames"):
        KnownFrames(ds, history=30)
    with pytest.raises(DataError, match="select one member"):
        KnownFrames(ds.expand_dims(member=2))
    with pytest.raises(GridMismatch, match="regrid"):
        KnownFrames(ds, spec=latlon_spec(6, 8))
    with pytest.raises(InputError, match="every >= 1"):
        KnownFrames(ds, every=0)


def test_streams_of_a_start_do_not_depend_on_the_other_starts():
    ds = simulations(3, 9)
    every, some = KnownFrames(ds, history=2), KnownFrames(ds.isel(sample=[2], time=slice(3, 9)), [3.5])
    place = int(np.flatnonzero(every.init_times == 3.5)[0])
    assert every.rng(Rng(1), 2, place) == some.rng(Rng(1), 0, 0)
    streams = {every.rng(Rng(1), t, s).path for t in range(3) for s in range(len(every))}
    assert len(streams) == 3 * len(every)


def test_positions_tolerate_rounding_and_mark_what_is_missing():
    times = 0.1 * np.arange(10)
    wanted = np.array([[0.3 + 1e-9, 0.35], [0.9, -0.1]])
    assert positions_of(wanted, times).tolist() == [[3, -1], [9, -1]]
    stamps = hours(5)
    assert positions_of(stamps[[3, 0]] + np.timedelta64(3, "ns"), stamps).tolist() == [3, 0]
    assert positions_of(stamps[:1] + np.timedelta64(30, "m"), stamps).tolist() == [-1]
    with pytest.raises(DataError, match="one of each"):
        positions_of(stamps, times)


def test_lead_times_of_both_kinds():
    assert (lead_axis(3, 3600.0, calendar=True) == np.array([1, 2, 3]) * HOUR).all()
    assert np.allclose(lead_axis(3, 0.25, calendar=False), [0.25, 0.5, 0.75])
    assert after(hours(1), np.array([2]), 1800.0)[0] == BEGIN + HOUR
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="lead"):
            check_lead(wrong)


def test_a_forecast_survives_its_file(tmp_path):
    ds = hourly(12)
    known = KnownFrames(ds, every=5)
    fc = forecast_of(known, lambda t, s: torch.full((2, 1, 3, 6, 9), float(s)), lead=3, members=2)
    assert dict(fc.sizes) == {"init_time": 3, "member": 2, "lead_time": 3, "latitude": 6, "longitude": 9}
    assert fc["lead_time"].dtype.kind == "m" and fc["init_time"].attrs["standard_name"] == "forecast_reference_time"
    assert (fc["t2m"].isel(init_time=2) == 2.0).all()
    back = open_forecast(write_dataset(fc, tmp_path / "fc.nc"))
    assert back["t2m"].dims == fc["t2m"].dims and back["t2m"].attrs["units"] == "K"
    for name in ("init_time", "lead_time", "latitude", "longitude"):
        assert (back[name].values == fc[name].values).all()
    assert np.array_equal(back["t2m"].values, fc["t2m"].values)


def test_forecasts_of_simulations_keep_samples_and_numbers():
    ds = simulations(2, 6)
    known = KnownFrames(ds)
    fc = forecast_of(known, lambda t, s: torch.full((4, 2, 2, 5, 8), 10.0 * t + s), lead=2, members=4)
    assert fc["c"].dims == ("sample", "init_time", "member", "lead_time", "y", "x")
    assert fc["sample"].values.tolist() == [10, 11] and fc["lead_time"].values.tolist() == [0.25, 0.5]
    assert float(fc["d"].sel(sample=11).isel(init_time=3).mean()) == 13.0
    again = forecast_dataset({n: fc[n].values for n in ("c", "d")}, known.spec, known.init_times, samples=known.samples)
    assert again.identical(fc)
