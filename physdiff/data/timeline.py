r"""The time axis: its step, its gaps, windows that do not cross them, and the time of day and year as numbers.

The step is the median difference. A difference of $k > 1$ steps is a gap (missing frames); one that is no whole number of steps means that
the axis is not uniform, and is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from physdiff.base.errors import DataError

__all__ = ["FORCINGS", "TimeAxis", "as_times", "forcing", "is_calendar", "show_time", "time_axis", "window_starts"]

FORCINGS = ("hour_sin", "hour_cos", "day_sin", "day_cos")
_YEAR = 365.2425
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class TimeAxis:
    """A checked time axis.

    Args:
        dt: Time step, seconds for calendar times, else in the file's own unit.
        gaps: Indices i so that frames are missing between i and i + 1.
        missing: Number of frames missing in each gap.
    """

    dt: float
    gaps: tuple[int, ...]
    missing: tuple[int, ...]


def is_calendar(times: np.ndarray) -> bool:
    """Whether these are calendar times (datetime64)."""
    return bool(np.issubdtype(times.dtype, np.datetime64))


def as_times(values: Any) -> np.ndarray:  # noqa: ANN401 - whatever a user has as times
    """Times as a numpy array: datetime64[ns] for calendar times (also text), timedelta64[ns] for spans, else float64."""
    array = np.asarray(values)
    if array.dtype.kind in "US":
        array = array.astype("datetime64[ns]")
    if array.dtype.kind == "O":
        array = np.array([np.datetime64(v, "ns") for v in array.reshape(-1)]).reshape(array.shape)
    return array.astype({"M": "datetime64[ns]", "m": "timedelta64[ns]"}.get(array.dtype.kind, "float64"))


def show_time(value: Any) -> str:  # noqa: ANN401 - a numpy scalar of either kind
    """A time for messages: ``2019-03-01T05:00`` or a number."""
    value = np.asarray(value)[()]
    if isinstance(value, np.datetime64):
        text = str(value.astype("datetime64[s]"))
        return text.removesuffix(":00")
    return f"{float(value):g}"


def _seconds(times: np.ndarray) -> np.ndarray:
    """Differences of successive times, float64, seconds for calendar times."""
    steps = np.diff(times)
    return steps / np.timedelta64(1, "s") if is_calendar(times) else steps.astype(np.float64)


def time_axis(times: np.ndarray, what: str = "time") -> TimeAxis:
    """Check a time axis and find its step and gaps.

    Args:
        times: (n,) datetime64 or numbers.
        what: Name for messages.

    Raises:
        DataError: If there is one step only, a missing or repeated time, or the step is not uniform; the message says where.
    """
    if times.size < 2:
        raise DataError(f"{what}: expected at least two time steps, got {times.size}; a time step cannot be told from one frame")
    bad = np.isnat(times) if is_calendar(times) else ~np.isfinite(times)
    if bad.any():
        raise DataError(f"{what}: expected a time for every frame, got none at index {int(bad.argmax())}; repair the time axis")
    steps = _seconds(times)
    if (steps <= 0).any():
        i = int((steps <= 0).argmax())
        kind = "the same time twice" if steps[i] == 0 else "a step backwards"
        raise DataError(f"{what}: expected increasing times, got {kind} at index {i + 1} ({show_time(times[i + 1])}); sort it or drop repeats")
    dt = float(np.sort(steps)[(steps.size - 1) // 2])
    ratio = steps / dt
    whole = np.round(ratio)
    # times stored in float32 or as rounded decimals differ a little from step to step
    odd = (np.abs(ratio - whole) > 1e-3 * np.maximum(1.0, whole)) | (whole < 1)
    if odd.any():
        i = int(odd.argmax())
        raise DataError(
            f"{what}: expected a uniform time step, got {steps[i]:g} between {show_time(times[i])} and {show_time(times[i + 1])} "
            f"(index {i}) where most steps are {dt:g}; interpolate or select a uniform part"
        )
    gaps = np.flatnonzero(whole > 1)
    if gaps.size == 0 and not is_calendar(times):
        dt = float((times[-1] - times[0]) / (times.size - 1))
    return TimeAxis(dt, tuple(int(i) for i in gaps), tuple(int(whole[i]) - 1 for i in gaps))


def window_starts(axis: TimeAxis, n: int, *, frames: int, stride: int = 1) -> np.ndarray:
    """Indices of the first frames of all windows of `frames` frames that cross no gap, every `stride` frames, int64."""
    edges = [0, *(g + 1 for g in axis.gaps), n]
    pieces = [np.arange(a, b - frames + 1, stride) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return np.concatenate(pieces).astype(np.int64)


def forcing(name: str, times: np.ndarray) -> np.ndarray:
    r"""One of FORCINGS at calendar times, float64: sine and cosine of $2\pi h/24$ (UTC hour) or $2\pi d/365.2425$ (day of the year).

    Raises:
        DataError: If the times are plain numbers.
    """
    if not is_calendar(times):
        raise DataError(f"{name}: expected calendar times (CF units as in 'hours since 1900-01-01'), got plain numbers; leave {name} out")
    of = "D" if name.startswith("hour") else "Y"
    days = (times - times.astype(f"datetime64[{of}]")) / _DAY
    angle = 2 * math.pi * days / (1.0 if of == "D" else _YEAR)
    return np.sin(angle) if name.endswith("sin") else np.cos(angle)

