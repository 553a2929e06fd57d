"""Training days at that hour."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import InputError
from physdiff.evaluation.climatology import climatology
from tests.evaluation.processes import hourly, simulations


def test_members_are_the_training_days_at_that_hour():
    ds = hourly(24 * 5 + 10)
    train, test = ds.isel(time=slice(0, 96)), ds.isel(time=slice(96, None))
    fc = climatology(train, test, lead=30)
    assert fc.sizes["member"] == 4 and fc.sizes["init_time"] == 34
    for start, lead in ((0, 1), (13, 11), (33, 30)):
        hour = (start + lead) % 24
        expected = train["t2m"].values[train["time"].dt.hour.values == hour].astype(np.float32)
        assert np.array_equal(fc["t2m"].values[start, :, lead - 1], expected)


def test_fewer_members_are_spread_over_the_days():
    ds = hourly(24 * 6)
    fc = climatology(ds.isel(time=slice(0, 120)), ds, ds["time"].values[[130]], lead=1, members=3)
    assert np.array_equal(fc["t2m"].values[0, :, 0], ds["t2m"].values[[11, 59, 107]].astype(np.float32))


def test_simulations_take_frames_of_all_samples():
    train, ds = simulations(6, 10, seed=1), simulations(2, 4)
    fc = climatology(train, ds, lead=3, members=30)
    assert fc["c"].shape == (2, 4, 30, 3, 5, 8)
    pool = train["c"].transpose("sample", "time", "y", "x").values.reshape(60, 5, 8).astype(np.float32)
    for member in fc["c"].values[1, 2, :, 0]:
        assert (pool == member).all((1, 2)).sum() == 1
    assert climatology(train, ds, lead=1).sizes["member"] == 60


def test_more_members_than_days_are_refused():
    ds = hourly(24 * 3)
    with pytest.raises(InputError, match="1 to 3 members"):
        climatology(ds, ds, lead=1, members=4)


def test_a_lost_frame_is_no_member():
    ds = hourly(24 * 5)
    train = ds.isel(time=slice(0, 96)).copy(deep=True)
    train["t2m"].values[30] = np.nan  # 06 UTC of the second day
    fc = climatology(train, ds, ds["time"].values[[100]], lead=3)
    assert fc.sizes["member"] == 3 and not bool(fc["t2m"].isnull().any())
    assert np.array_equal(fc["t2m"].values[0, :, 1], train["t2m"].values[[6, 54, 78]].astype(np.float32))
