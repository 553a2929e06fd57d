from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from physdiff.base.errors import DataError
from physdiff.data.timeline import as_times, forcing, show_time, time_axis, window_starts

HOURS = np.datetime64("2020-02-28T00", "ns") + np.arange(48) * np.timedelta64(1, "h")


def test_step_and_gaps():
    axis = time_axis(HOURS)
    assert axis.dt == 3600.0 and axis.gaps == ()
    with_gap = time_axis(np.delete(HOURS, [10, 11, 30]))
    assert with_gap.dt == 3600.0 and with_gap.gaps == (9, 27) and with_gap.missing == (2, 1)


def test_plain_numbers_keep_their_unit_and_lose_rounding():
    times = np.linspace(0, 1, 11, dtype=np.float32).astype(np.float64)
    # float32 numbers of order 1 are good to 6e-8
    assert time_axis(times).dt == pytest.approx(0.1, abs=1e-8)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (HOURS[:1], "at least two time steps, got 1"),
        (np.concatenate([HOURS[:5], HOURS[4:]]), "the same time twice at index 5"),
        (HOURS[::-1], "a step backwards at index 1"),
        (np.array([0.0, 1.0, 2.0, 3.5, 4.5]), r"uniform time step, got 1.5 between 2 and 3.5 \(index 2\)"),
        (np.array([0.0, 1.0, 3.0, 6.0, 10.0]), "uniform time step"),
        (np.array([0.0, np.nan, 2.0]), "got none at index 1"),
        (np.array(["2020-01-01", "NaT", "2020-01-03"], "datetime64[ns]"), "got none at index 1"),
    ],
)
def test_bad_axes_say_where(times, message):
    with pytest.raises(DataError, match=message):
        time_axis(times)


@given(st.sets(st.integers(1, 46), max_size=8), st.integers(1, 6), st.integers(1, 5))
def test_windows_are_exactly_the_runs_without_gaps(dropped, frames, stride):
    """Brute force: a start is allowed if all its frames follow one another by one hour."""
    times = np.delete(HOURS, sorted(dropped))
    starts = window_starts(time_axis(times), times.size, frames=frames, stride=stride)
    steps = np.diff(times) == np.timedelta64(1, "h")
    allowed = {i for i in range(times.size - frames + 1) if steps[i : i + frames - 1].all()}
    assert set(starts) <= allowed
    if stride == 1:
        assert set(starts) == allowed
    assert sorted(starts) == list(starts)


def test_forcings_are_the_angle_of_day_and_year():
    times = np.array(["2021-01-01T06:00", "2021-07-02T12:30"], "datetime64[ns]")
    assert forcing("hour_sin", times)[0] == pytest.approx(1.0)
    assert forcing("hour_cos", times)[1] == pytest.approx(math.cos(2 * math.pi * 12.5 / 24))
    days = 182 + 12.5 / 24
    assert forcing("day_sin", times)[1] == pytest.approx(math.sin(2 * math.pi * days / 365.2425))
    assert forcing("day_cos", times[:1])[0] == pytest.approx(math.cos(2 * math.pi * 0.25 / 365.2425))


def test_forcings_need_calendar_times():
    with pytest.raises(DataError, match="expected calendar times"):
        forcing("hour_sin", np.arange(3.0))


def test_times_from_text_and_numbers():
    assert as_times(["2020-01-01T01", "2020-01-02"]).dtype == np.dtype("datetime64[ns]")
    assert as_times([0, 1]).dtype == np.float64
    assert show_time(np.datetime64("2020-01-01T05:00", "ns")) == "2020-01-01T05:00"
    assert show_time(1.5) == "1.5"
