"""Training and test parts, lazily, with a gap between them so that no test window has seen a training frame."""

from __future__ import annotations

import datetime
import re

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.data.timeline import as_times, is_calendar, show_time

__all__ = ["split_samples", "split_time"]

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


def split_time(
    ds: xr.Dataset, *, at: str | float | np.datetime64, gap: int | str | np.timedelta64 | datetime.timedelta = 0
) -> tuple[xr.Dataset, xr.Dataset]:
    """Split along time.

    Args:
        ds: Data set with a time dimension.
        at: First time of the second part: a date (``"2018-01-01"``), or the share of all frames in the first part, between 0 and 1.
        gap: What is dropped from the END of the first part, in frames or as a span (``numpy.timedelta64(12, "h")``, ``"12h"``); the second
            part does not depend on it, so scores on it stay comparable.

    Returns:
        The frames before the gap, and those from `at` on; nothing is read.

    Raises:
        DataError: If a part would be empty.
    """
    if "time" not in ds.dims:
        raise DataError("split_time: expected a time dimension, got none; open files with open_dataset")
    n = ds.sizes["time"]
    times = as_times(ds["time"].values) if "time" in ds.coords else np.arange(n, dtype=np.float64)
    cut = _cut(times, at)
    end = cut - gap if isinstance(gap, int) else _before(times, cut, gap)
    if end > cut:
        raise InputError(f"split_time gap: expected 0 or more frames, got {gap!r}")
    if end < 1 or cut >= n:
        raise DataError(
            f"split_time: expected frames on both sides of {at!r}, got {max(end, 0)} before (gap {gap!r}) and {n - cut} after in "
            f"{show_time(times[0])} to {show_time(times[-1])}; choose another place"
        )
    return ds.isel(time=slice(0, end)), ds.isel(time=slice(cut, n))


def _cut(times: np.ndarray, at: str | float | np.datetime64) -> int:
    if isinstance(at, str | np.datetime64 | datetime.date):
        if not is_calendar(times):
            raise InputError(f"split_time at: expected a share between 0 and 1 for times that are plain numbers, got {at!r}")
        try:
            moment = np.datetime64(at).astype("datetime64[ns]")
        except ValueError as error:
            raise InputError(f"split_time at: expected a date as in '2018-01-01' or a share between 0 and 1, got {at!r}") from error
        return int(np.searchsorted(times, moment))
    if not 0 < at < 1:
        raise InputError(f"split_time at: expected a share between 0 and 1, got {at!r}; write a date as text")
    return round(times.size * at)


def _before(times: np.ndarray, cut: int, gap: str | np.timedelta64 | datetime.timedelta) -> int:
    if not is_calendar(times):
        raise InputError(f"split_time gap: expected a number of frames for times that are plain numbers, got {gap!r}")
    if isinstance(gap, str):
        parts = re.fullmatch(r"\s*(\d+)\s*(s|min|h|d)\s*", gap, re.IGNORECASE)
        if parts is None:
            raise InputError(f"split_time gap: expected a number of frames or a span as in '12h' (s, min, h, d), got {gap!r}")
        gap = datetime.timedelta(**{_UNITS[parts[2].lower()]: int(parts[1])})
    span = np.timedelta64(gap)
    if span < np.timedelta64(0, "s"):
        raise InputError(f"split_time gap: expected a span of 0 or more, got {gap!r}")
    return cut if cut >= times.size else int(np.searchsorted(times, times[cut] - span, side="left"))


def split_samples(ds: xr.Dataset, *, at: float | int, dim: str = "sample") -> tuple[xr.Dataset, xr.Dataset]:
    """Split along the samples: the first ones, and the rest.

    Args:
        ds: Data set with that dimension.
        at: Share of the samples in the first part (below 1), or their number (an integer).
        dim: The dimension, as in ``"member"``.

    Raises:
        DataError: If the dimension is missing or a part would be empty.
    """
    if dim not in ds.dims:
        raise DataError(f"split_samples: expected a dimension {dim!r}, got {', '.join(map(str, ds.dims))}; split_time splits along time")
    n = ds.sizes[dim]
    cut = at if isinstance(at, int) else round(n * at)
    if not 0 < cut < n:
        raise DataError(f"split_samples: expected samples in both parts, got {cut} and {n - cut} of {n} with at = {at!r}; choose another share")
    return ds.isel({dim: slice(0, cut)}), ds.isel({dim: slice(cut, n)})
