"""Which frame of the truth a forecast frame is compared with."""

from __future__ import annotations

import numpy as np
import torch

from physdiff.data.cases import matched
from physdiff.evaluation.persistence import persistence
from tests.evaluation.processes import hourly, simulations


def test_a_forecast_frame_meets_the_truth_of_its_time():
    ds = hourly(9)
    fc = persistence(ds, None, 4)
    seen = 0
    for case in matched(fc, ds):
        start = case.place["init_time"]
        assert case.frames.tolist() == [k for k in range(4) if start + k + 1 < 9]
        assert torch.equal(case.truth, torch.from_numpy(ds["t2m"].values[start + 1 + case.frames]))
        assert np.array_equal(case.members[0, 0].numpy(), ds["t2m"].values[start].astype(np.float32))
        seen += len(case.frames)
    assert seen == 8 + 7 + 6 + 5


def test_a_gap_of_the_truth_shifts_nothing():
    ds = hourly(12)
    holes = ds.isel(time=[0, 1, 2, 5, 6, 9, 10, 11])
    for case in matched(persistence(ds, None, 3), holes):
        times = ds["time"].values[case.place["init_time"] + 1 + case.frames]
        assert torch.equal(case.truth, torch.from_numpy(holes["t2m"].sel(time=times).values))


def test_samples_are_matched_by_label():
    ds = simulations(4, 5)
    cases = list(matched(persistence(ds.isel(sample=[3, 1]), None, 1), ds))
    assert len(cases) == 2 * 4 * 2
    for case in cases:
        label, start = (13, 11)[case.place["sample"]], case.place["init_time"]
        name = ("c", "d")[case.variable]
        assert np.array_equal(case.truth[0].numpy(), ds[name].sel(sample=label).values[start + 1])


def test_a_forecast_of_one_start_needs_no_dimension_for_it():
    ds = hourly(9)
    (case,) = matched(persistence(ds, None, 2).isel(init_time=3), ds)
    assert torch.equal(case.truth, torch.from_numpy(ds["t2m"].values[4:6])) and case.place == {}
