"""The last frame, and the last frame dressed with the past."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.base.rng import Rng
from physdiff.evaluation.persistence import damped_persistence, drawn_rows, dressed_persistence, persistence
from tests.evaluation.processes import daily_cycle, hourly, hours, latlon_spec, simulations


def test_persistence_repeats_the_last_frame():
    ds = hourly(9)
    fc = persistence(ds, ds["time"].values[[4, 2]], 3)
    assert fc["t2m"].shape == (2, 1, 3, 6, 9)
    expected = np.broadcast_to(ds["t2m"].values[[4, 2]][:, None, None], fc["t2m"].shape).astype(np.float32)
    assert np.array_equal(fc["t2m"].values, expected)
    assert persistence(ds, None, 3).sizes["init_time"] == 9


def cycle_alone(frames: int) -> xr.Dataset:
    ds = hourly(frames)
    return ds.assign(t2m=(ds["t2m"].dims, 280.0 + daily_cycle(hours(frames), latlon_spec())[0, 0].numpy(), ds["t2m"].attrs))


def test_a_pure_daily_cycle_is_forecast_exactly():
    ds = cycle_alone(24 * 4)
    truth = ds.isel(time=slice(72, None))
    fc = dressed_persistence(ds.isel(time=slice(0, 72)), truth, lead=9, members=4, rng=Rng(0))
    for i in range(10):
        # sums of float32 numbers near 280
        np.testing.assert_allclose(fc["t2m"].values[i], np.broadcast_to(truth["t2m"].values[i + 1 : i + 10], (4, 9, 6, 9)), atol=3e-4)


def test_a_path_with_a_lost_frame_is_no_member():
    ds = hourly(24 * 4)
    ds["t2m"].values[30] = np.nan                             # a frame that is lost, and a cell that is missing in others
    ds["t2m"].values[:, 0, 0] = np.nan
    train, test = ds.isel(time=slice(0, 72)), ds.isel(time=slice(72, None))
    fc = dressed_persistence(train, test, test["time"].values[[5]], lead=4, members=63, rng=Rng(0))["t2m"]
    # of 68 stretches of five frames five have the lost one
    assert bool(fc.isel(latitude=slice(1, None)).notnull().all()) and bool(fc.isel(latitude=0, longitude=0).isnull().all())
    assert len(np.unique(fc.values[0, :, 0, 2, 2])) == 63
    train["t2m"].values[::3] = np.nan
    with pytest.raises(DataError, match="expected 5 training frames in a row with values, got none"):
        dressed_persistence(train, test, test["time"].values[[5]], lead=4, members=2, rng=Rng(0))


def test_the_members_are_past_increments_of_the_anomaly():
    ds = hourly(24 * 4)
    train, test = ds.isel(time=slice(0, 72)), ds.isel(time=slice(72, None))
    fc = dressed_persistence(train, test, test["time"].values[[5]], lead=4, members=68, rng=Rng(0))
    hour, x = train["time"].dt.hour.values, train["t2m"].values
    mean = np.stack([x[hour == k].mean(0) for k in range(24)])
    anomaly = x - mean[hour]
    expected = [test["t2m"].values[5] + mean[(5 + np.arange(1, 5)) % 24] - mean[5] + anomaly[s + 1 : s + 5] - anomaly[s] for s in range(68)]
    # as many members as stretches of 5 frames: each comes once
    order = np.argsort([m[0, 0, 0] for m in fc["t2m"].values[0]]), np.argsort([m[0, 0, 0] for m in expected])
    np.testing.assert_allclose(fc["t2m"].values[0][order[0]], np.stack(expected)[order[1]], atol=5e-4)


def test_the_draw_of_a_start_does_not_depend_on_the_others():
    ds = simulations(3, 12)
    train = simulations(4, 12, seed=1)
    every = dressed_persistence(train, ds, lead=2, members=5, rng=Rng(3))
    one = dressed_persistence(train, ds.isel(sample=[1]), ds["time"].values[[7]], lead=2, members=5, rng=Rng(3))
    assert np.array_equal(one["d"].values[0, 0], every["d"].values[1, 7])


def test_rows_come_once_before_they_come_twice():
    assert drawn_rows(7, 7, Rng(0)).sort().values.tolist() == list(range(7))
    counts = torch.bincount(drawn_rows(7, 16, Rng(0)), minlength=7)
    assert sorted(counts.tolist()) == [2, 2, 2, 2, 2, 3, 3]


def test_a_training_part_shorter_than_the_lead_is_refused():
    ds = hourly(30)
    with pytest.raises(DataError, match="shorter lead"):
        dressed_persistence(ds.isel(time=slice(0, 10)), ds, lead=10, members=2, rng=Rng(0))


def test_damping_keeps_what_an_autoregression_keeps():
    ds = hourly(24 * 40, 0.9)
    fc = damped_persistence(ds, ds, ds["time"].values[[30]], lead=5)
    hour, x = ds["time"].dt.hour.values, ds["t2m"].values.astype(np.float64)
    mean = np.stack([x[hour == k].mean(0) for k in range(24)])
    anomaly = x[30] - mean[6]
    for lead in range(1, 6):
        kept = (fc["t2m"].values[0, 0, lead - 1] - mean[(6 + lead) % 24]) / anomaly
        share = np.median(kept)  # float32 near 280 K: a small anomaly makes a bad quotient
        # one of 54 cells has a factor with std sqrt(1/2400) or so; their common one a seventh of that, and hour means of 40 days cost 2 %
        assert abs(share - 0.9**lead) < 0.04
    assert fc.sizes["member"] == 1


def test_damping_of_simulations_and_gaps():
    ds = simulations(3, 40, phi=0.8)
    whole = damped_persistence(ds, ds, lead=1)
    assert np.isfinite(whole["c"].values).all()
    gaps = ds.where(ds["x"] > 0.3)
    some = damped_persistence(gaps, gaps, lead=1)
    assert np.isfinite(some["c"].values[..., -1]).all() and np.isnan(some["c"].values[..., 0]).all()
