from __future__ import annotations

import math
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch.utils.data import DataLoader

import physdiff.data.windows as module
from physdiff.base.errors import DataError, GridMismatch, InputError
from physdiff.data.convert import spec_of, to_tensor
from physdiff.data.open import open_dataset
from physdiff.data.split import split_time
from physdiff.data.windows import TrajectoryWindows, WindowRange, condition, condition_spec
from tests.data.files import HOUR, box, earth, save


@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 4))
def test_items_are_the_slices_of_the_tensor(history, horizon, stride):
    ds = box(frames=9)
    windows = TrajectoryWindows(ds, history=history, horizon=horizon, stride=stride)
    x, frames = to_tensor(ds, windows.spec), history + horizon
    starts = range(0, 9 - frames + 1, stride)
    assert len(windows) == 3 * len(starts) and windows.spec.frames == frames
    for i in range(len(windows)):
        item = windows[i]
        row, start = divmod(i, len(starts))
        assert item["index"] == i and windows.row_of(i) == {"sample": row}
        assert torch.equal(item["x"], x[row, :, starts[start] : starts[start] + frames])
        assert ("cond" in item) == (history > 0)
    assert torch.equal(windows[-1]["x"], windows[len(windows) - 1]["x"])
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_the_condition_knows_the_history_and_nothing_else():
    ds = box()
    windows = TrajectoryWindows(ds, history=2, horizon=3)
    item = windows[4]
    x, cond = item["x"], item["cond"]
    assert windows.cond_spec.names == ("u", "v", "known") and windows.cond_spec.frames == 5
    assert torch.equal(cond[:2, :2], x[:, :2])
    assert torch.equal(cond[:2, 2:], x[:, 1:2].expand(-1, 3, -1, -1))
    assert torch.equal(cond[2, :, 0, 0], torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]))
    changed = ds.copy(deep=True)
    changed.u[0, 6:] = 99.0
    # window 4 of 8 frames begins at 0: row 1; window 3 of row 0 holds frames 3 to 7 of which 6, 7 are to come
    a, b = windows[3], TrajectoryWindows(changed, history=2, horizon=3)[3]
    assert not torch.equal(a["x"], b["x"]) and torch.equal(a["cond"], b["cond"])


def test_forcings_statics_and_fill_stand_in_their_channels():
    ds = earth(30).assign(lsm=(("longitude", "latitude"), np.arange(24.0).reshape(6, 4), {"units": "1"}))
    fill = torch.full((1, 1, 4, 6), 270.0)
    windows = TrajectoryWindows(ds, history=0, horizon=4, extras=("hour_sin", "day_cos"), statics=("lsm",), fill=fill)
    item = windows[7]
    assert windows.cond_spec.names == ("t2m", "known", "hour_sin", "day_cos", "lsm")
    assert bool((item["cond"][0] == 270).all()) and bool((item["cond"][1] == 0).all())
    hours = torch.arange(7, 11) / 24
    torch.testing.assert_close(item["cond"][2, :, 0, 0], torch.sin(2 * math.pi * hours))
    torch.testing.assert_close(item["cond"][3, :, 3, 5], torch.cos(2 * math.pi * hours / 365.2425))
    np.testing.assert_array_equal(item["cond"][4, 2], ds.lsm.transpose("latitude", "longitude"))


@given(st.lists(st.booleans(), min_size=24, max_size=24), st.booleans())
def test_filling_carries_the_last_known_value(there, with_fill):
    """Brute force, point by point."""
    spec = spec_of(box())
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 2, 3, 4, 6))).float()
    known = x.clone()
    pattern = torch.tensor(there).reshape(1, 4, 6).expand(3, 4, 6) & (torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0)) < 0.7)
    known[0, 0] = torch.where(pattern, known[0, 0], torch.nan)
    fill = torch.tensor([5.0, 7.0]).reshape(2, 1, 1, 1) if with_fill else None
    cond = condition(spec, ("u", "v", "known"), known, fill=fill)
    assert bool(cond.isfinite().all()) and torch.equal(cond[0, 2], pattern.float())
    values = known[0, 0][pattern]
    start = 5.0 if with_fill else (float(values.mean()) if values.numel() else 0.0)
    for j in range(4):
        for i in range(6):
            last = start
            for t in range(3):
                if pattern[t, j, i]:
                    last = float(known[0, 0, t, j, i])
                # the mean of at most 72 float32 numbers of order one
                assert float(cond[0, 0, t, j, i]) == pytest.approx(last, abs=1e-6)
    assert torch.equal(cond[0, 1], x[0, 1])


def test_windows_and_a_forecast_build_the_same_condition():
    ds = earth(12)
    windows = TrajectoryWindows(ds, history=2, horizon=3, extras=("hour_sin", "hour_cos"))
    known = torch.full((2, 1, 5, 4, 6), torch.nan)
    known[:, :, :2] = to_tensor(ds, windows.spec)[0, :, 3:5]
    times = np.stack([windows.window_times(3)] * 2)
    cond = condition(windows.spec, windows.cond_spec.names, known, times=times)
    assert torch.equal(cond[1], windows[3]["cond"])


def test_no_window_crosses_a_gap_or_the_bound_of_a_split():
    ds = earth(20, hours=np.delete(np.arange(23), [9, 10, 11]))
    windows = TrajectoryWindows(ds, history=1, horizon=3)
    for i in range(len(windows)):
        assert (np.diff(windows.window_times(i)) == HOUR).all()
    assert len(windows) == (9 - 3) + (11 - 3)
    train, test = split_time(earth(20), at=0.5, gap=2)
    last = max(TrajectoryWindows(train, history=1, horizon=3).window_times(i)[-1] for i in range(5))
    assert last == train.time.values[-1] < test.time.values[0] - 2 * HOUR


def test_missing_values_stay_missing_in_x_and_are_unknown_in_cond():
    ds = earth(6)
    ds.t2m[:, 1, 2] = np.nan
    item = TrajectoryWindows(ds, history=2, horizon=2)[0]
    assert bool(item["x"][0, :, 1, 2].isnan().all()) and int(item["x"].isnan().sum()) == 4
    assert bool(item["cond"].isfinite().all()) and bool((item["cond"][1, :2, 1, 2] == 0).all()) and float(item["cond"][1, :2].sum()) == 2 * 23
    mask = spec_of(ds, mask=True)
    static = TrajectoryWindows(ds, history=1, horizon=1, spec=mask, statics=("mask",))
    assert static.cond_spec.names[-1] == "mask" and float(static[0]["cond"][2, 0].sum()) == 23


@pytest.mark.parametrize("memory", [0, 2**30])
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_read_what_the_process_reads(tmp_path, monkeypatch, memory, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this system")
    monkeypatch.setattr(module, "_IN_MEMORY", memory)
    save(earth(10), tmp_path / "a.nc")
    save(earth(10, hours=np.arange(10, 20)), tmp_path / "b.nc")
    windows = TrajectoryWindows(open_dataset(str(tmp_path / "*.nc")), history=2, horizon=2, extras=("hour_sin",))
    expected = torch.stack([windows[i]["x"] for i in range(len(windows))])
    assert all(v._in_memory == (memory > 0) for v in windows._fields.values())
    loader = DataLoader(windows, batch_size=4, num_workers=2, multiprocessing_context=start)
    batches = list(loader)
    assert torch.equal(torch.cat([b["x"] for b in batches]), expected)
    assert torch.equal(torch.cat([b["index"] for b in batches]), torch.arange(len(windows)))


def test_a_lazy_window_set_pickles_without_its_data(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IN_MEMORY", 0)
    windows = TrajectoryWindows(save(earth(50, ny=20, nx=30), tmp_path / "a.nc"), history=1, horizon=1)
    text = pickle.dumps(windows)
    assert len(text) < 20_000 and torch.equal(pickle.loads(text)[7]["x"], windows[7]["x"])


def test_real_temperature(shared_data):
    ds = open_dataset(shared_data / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc")
    windows = TrajectoryWindows(ds, history=2, horizon=12, extras=("hour_sin", "hour_cos"))
    assert len(windows) == 480 - 13 and windows[0]["cond"].shape == (4, 14, 33, 49)
    x = torch.stack([windows[i]["x"] for i in range(0, len(windows), 5)])
    # persistence over 1 h and 6 h, README.md of the shared data: 0.44 and 1.69 K
    for lead, rmse in ((1, 0.44), (6, 1.69)):
        assert float((x[:, :, 1 + lead] - x[:, :, 1]).square().mean().sqrt()) == pytest.approx(rmse, rel=0.03)


def test_what_cannot_be_windowed_is_refused():
    spec = spec_of(earth(6))
    for make, kind, message in (
        (lambda: TrajectoryWindows(earth(3), history=2, horizon=2), DataError, r"stretch of 2 \+ 2 frames"),
        (lambda: TrajectoryWindows(earth(3), history=-1, horizon=2), InputError, "history >= 0"),
        (lambda: TrajectoryWindows(box(), history=1, horizon=1, extras=("hour_sin",)), DataError, "calendar times"),
        (lambda: TrajectoryWindows(earth(3), history=1, horizon=1, extras=("moon",)), InputError, "got moon"),
        (lambda: TrajectoryWindows(earth(3), history=1, horizon=1, statics=("lsm",)), DataError, "expected a variable 'lsm'"),
        (lambda: TrajectoryWindows(earth(3, ny=5), history=1, horizon=1, spec=spec), GridMismatch, "windows"),
        (lambda: TrajectoryWindows(earth(4, hours=np.arange(4) * 2), history=1, horizon=1, spec=spec), DataError, "time step of 3600 s, got 7200 s"),
        (lambda: condition(spec, ("known", "t2m"), torch.zeros(1, 1, 2, 4, 6)), InputError, "expected t2m, known first"),
        (lambda: condition(spec, ("t2m", "known", "hour_sin"), torch.zeros(1, 1, 2, 4, 6)), DataError, "pass times"),
        (lambda: condition(spec, ("t2m", "known", "lsm"), torch.zeros(1, 1, 2, 4, 6)), DataError, "static field 'lsm'"),
    ):
        with pytest.raises(kind, match=message):
            make()


def test_condition_spec_has_units_and_the_same_grid():
    spec = spec_of(earth(6), frames=4)
    cond = condition_spec(spec, ("hour_sin",), {"z": "m2 s-2"})
    assert cond.names == ("t2m", "known", "hour_sin", "z") and cond.units == ("K", "1", "1", "m2 s-2")
    assert cond.grid is spec.grid and cond.frames == 4


def test_the_condition_says_how_many_frames_are_known():
    windows = TrajectoryWindows(earth(30), history=3, horizon=2)
    assert windows.cond_spec.history == 3
    known = windows[0]["cond"][1]
    assert bool((known[:3] == 1).all()) and bool((known[3:] == 0).all())


def test_a_range_is_those_windows_and_nothing_else():
    windows = TrajectoryWindows(box(frames=9), history=1, horizon=1)
    part = WindowRange(windows, 10, 20)
    assert len(part) == 10 and part.spec == windows.spec and part.cond_spec == windows.cond_spec
    assert torch.equal(part[3]["x"], windows[13]["x"]) and part[-1]["index"] == 19
    with pytest.raises(IndexError):
        part[10]
    for first, stop in ((5, 5), (-1, 3), (0, len(windows) + 1)):
        with pytest.raises(InputError, match="first < stop"):
            WindowRange(windows, first, stop)
