"""Baseline of what is usual at this hour and time of the year: stretches of the training part that begin at the same hour on days around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.data.leads import KnownFrames, check_lead, forecast_of
from physdiff.data.timeline import is_calendar
from physdiff.data.windows import TrajectoryWindows

__all__ = ["seasonal_climatology"]

_YEAR, _DAY, _HALF = 365.2425, np.timedelta64(1, "D"), 183.0


def seasonal_climatology(
    train: xr.Dataset,
    ds: xr.Dataset,
    starts: Any = None,  # noqa: ANN401 - whatever a user has as times
    *,
    lead: int,
    members: int = 20,
    days: float = 15.0,
) -> xr.Dataset:
    """Members are stretches of the training part that begin at the hour of the start, at most `days` before or after its day in any year.

    The distribution of a day of the year and hour, smoothed over days as climatologies are; where there are too few years for so many members
    the days are widened until there are enough. Each member is a trajectory. Only the stretches are read, so that the training part may be larger
    than memory.

    Args:
        train: Training part, with calendar times.
        ds: Data whose times are forecast; its values are not used.
        starts: Times of the last known frames; all times of `ds` if None.
        lead: Number of time steps.
        members: Number of members.
        days: Half width of the season.

    Returns:
        (sample?, init_time, member, lead_time, *space).

    Raises:
        DataError: If the times are plain numbers, or a start is not in the data.
        InputError: If there are too few stretches at the hour of a start, or the numbers make no sense.
        GridMismatch: If the two parts are on different grids.
    """
    if members < 1 or not days > 0:
        raise InputError(f"seasonal climatology: expected members >= 1 and days > 0, got {members} and {days}")
    known = KnownFrames(ds, starts)
    past = TrajectoryWindows(train, history=1, horizon=check_lead(lead), spec=known.spec.with_frames(1))
    if not known.calendar or not is_calendar(past.times):
        raise DataError("seasonal climatology: expected calendar times in both parts, got plain numbers; take climatology")
    begins = past.times[past.starts]
    hours, season = _of_day(begins), _of_year(begins)

    def make(_: int, start: int) -> Tensor:
        now = known.times(start, ahead=0)[-1:]
        same_hour = np.flatnonzero(np.abs(hours - _of_day(now)) < 0.5 / 86400)
        apart = np.abs(season[same_hour] - _of_year(now))
        apart = np.minimum(apart, _YEAR - apart)
        width, parts = days, list[Tensor]()
        while True:
            found = same_hour[apart <= width]
            if found.size * past.rows >= members or width > _HALF:
                parts = _evenly(past, np.concatenate([found + r * past.starts.size for r in range(past.rows)]), members)
            if len(parts) == members or width > _HALF:
                break
            width *= 1.5
        if len(parts) < members:
            raise InputError(f"seasonal climatology: expected {members} stretches at this hour, got {len(parts)}; ask for fewer members")
        return torch.stack(parts)

    return forecast_of(known, make, lead=lead, members=members, attrs={"title": "seasonal climatology"})


def _evenly(past: TrajectoryWindows, places: np.ndarray, members: int) -> list[Tensor]:
    """Evenly spaced stretches without a frame that is missing as a whole; others take the place of those that have one."""
    first = np.unique(np.linspace(0, max(places.size - 1, 0), members).round().astype(np.int64))[: places.size]
    order = [*first, *(i for i in range(places.size) if i not in set(first.tolist()))]
    parts: list[Tensor] = []
    for i in order:
        frames = past.fields_at(int(places[i]))[:, 1:]
        if bool(frames.flatten(2).isfinite().any(2).all()):
            parts.append(frames)
        if len(parts) == members:
            break
    return parts


def _of_day(times: np.ndarray) -> np.ndarray:
    """Share of the day that has passed."""
    return np.asarray((times - times.astype("datetime64[D]")) / _DAY)


def _of_year(times: np.ndarray) -> np.ndarray:
    """Days of the year that have passed."""
    return np.asarray((times.astype("datetime64[D]") - times.astype("datetime64[Y]").astype("datetime64[D]")) / _DAY)
