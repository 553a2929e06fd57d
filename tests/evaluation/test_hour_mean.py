"""What is expected at a time of day."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, GridMismatch
from physdiff.data.convert import spec_of
from physdiff.evaluation.hour_mean import TrainingFrames
from tests.evaluation.processes import hourly, latlon_spec, simulations


def test_the_table_is_the_mean_of_each_hour():
    ds = hourly(24 * 3 + 7)
    past = TrainingFrames(ds, spec_of(ds))
    hour = ds["time"].dt.hour.values
    for k in (0, 5, 23):
        mine = ds["t2m"].values[hour == k].mean(0)
        # float32 of 280 K
        np.testing.assert_allclose(past.mean.table[k, 0].numpy(), mine, rtol=0, atol=1e-4)
    at = past.mean.at(ds["time"].values[[30, 2]])
    assert torch.equal(at[:, 0], past.mean.table[6]) and torch.equal(at[:, 1], past.mean.table[2])
    assert abs(float(past.anomalies().mean())) < 1e-4


@pytest.mark.parametrize(("step", "offset"), [(1, 30), (6, 180), (6, 350)])
def test_frames_off_the_hour_get_the_mean_of_their_own_slot(step, offset):
    ds = hourly(24 * 4).isel(time=slice(None, None, step))
    ds = ds.assign_coords(time=ds["time"].values + np.timedelta64(offset, "m"))
    hour = ds["time"].dt.hour.values // step
    # the same value every day at the same time: nothing is left of it
    ds["t2m"] = ds["t2m"].copy(data=(280.0 + hour[:, None, None] + 0 * ds["t2m"].values).astype("float32"))
    past = TrainingFrames(ds, spec_of(ds))
    assert past.mean.slots(past.times).tolist() == hour.tolist()
    # float32 of 300 K
    assert float(past.anomalies().abs().max()) < 1e-4


def test_numbers_as_times_have_one_mean_over_all_samples():
    ds = simulations(3, 7)
    past = TrainingFrames(ds, spec_of(ds))
    assert past.mean.table.shape == (1, 2, 5, 8) and past.frames.shape == (3, 2, 7, 5, 8)
    np.testing.assert_allclose(past.mean.at(np.array([99.0]))[1, 0].numpy(), ds["d"].mean(("sample", "time")).values, atol=1e-6)


def test_steps_longer_than_a_day_have_one_mean():
    ds = hourly(24 * 6).isel(time=slice(None, None, 30))
    assert TrainingFrames(ds, spec_of(ds)).mean.table.shape[0] == 1
    assert TrainingFrames(hourly(48).isel(time=slice(None, None, 6)), spec_of(hourly(48).isel(time=slice(None, None, 6)))).mean.table.shape[0] == 4


def test_stretches_cross_no_gap():
    ds = hourly(12).isel(time=[0, 1, 2, 3, 6, 7, 8, 9, 10])
    past = TrainingFrames(ds, spec_of(ds, gaps=True))
    assert past.stretches(4).tolist() == [0, 4, 5]
    with pytest.raises(DataError, match="stretch of 6 frames"):
        past.stretches(6)


def test_another_step_or_grid_is_refused():
    ds = hourly(24)
    with pytest.raises(DataError, match="time step of 3600"):
        TrainingFrames(ds.isel(time=slice(None, None, 2)), spec_of(ds))
    with pytest.raises(GridMismatch):
        TrainingFrames(ds, latlon_spec(6, 8))
