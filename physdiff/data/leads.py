"""Forecasts as data sets: where they start, what is known there, and how they are laid out.

A forecast is addressed by the time of its last known frame (`init_time`) and by the time since then (`lead_time` = 1, 2, ... steps);
simulated trajectories have a dimension `sample` besides. Models, baselines and scores share this one layout:
(sample?, init_time, member, lead_time, *space).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.data.timeline import as_times, is_calendar, show_time
from physdiff.data.windows import TrajectoryWindows
from physdiff.grids.field_spec import FieldSpec

__all__ = ["KnownFrames", "after", "check_lead", "forecast_dataset", "forecast_of", "lead_axis", "positions_of"]


def after(times: np.ndarray, steps: np.ndarray | int, dt: float) -> np.ndarray:
    """Times plus a number of steps of `dt` (seconds for calendar times); the arrays broadcast."""
    if is_calendar(times):
        return times + np.asarray(steps) * np.timedelta64(round(dt * 1e9), "ns")
    return times + np.asarray(steps) * dt


def lead_axis(lead: int, dt: float, *, calendar: bool) -> np.ndarray:
    """Lead times of 1 to `lead` steps, (lead,): timedelta64[ns] for calendar times, else numbers."""
    steps = np.arange(1, check_lead(lead) + 1)
    return steps * np.timedelta64(round(dt * 1e9), "ns") if calendar else steps * dt


def check_lead(lead: int) -> int:
    """Return `lead` if it is a whole number of steps, at least one, else raise InputError."""
    if isinstance(lead, bool) or not isinstance(lead, int | np.integer) or lead < 1:
        raise InputError(f"lead: expected a number of time steps, at least 1, got {lead!r}")
    return int(lead)


def positions_of(wanted: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Where each of the wanted times stands in `times` (n,), -1 where it is not there; any shape, int64.

    Calendar times must agree to a second, numbers to a thousandth of a step.

    Raises:
        DataError: If one of them has calendar times and the other numbers.
    """
    if is_calendar(wanted) != is_calendar(times):
        raise DataError("times: expected calendar times or plain numbers in both data sets, got one of each; decode the times of both")
    if is_calendar(times):
        have, want, near = times.astype("int64"), wanted.astype("int64"), 0.5e9
    else:
        have, want, near = times, wanted, 1e-3 * (float(np.diff(np.sort(times)).min()) if times.size > 1 else 1.0)
    order = np.argsort(have, kind="stable")
    after_it = np.clip(np.searchsorted(have[order], want), 0, have.size - 1)
    before = np.clip(after_it - 1, 0, have.size - 1)
    nearer = np.abs(have[order][before] - want) < np.abs(have[order][after_it] - want)
    best = order[np.where(nearer, before, after_it)]
    return np.where(np.abs(have[best] - want) <= near, best, -1)


class KnownFrames:
    """The last known frames before each start of a forecast, read when asked for.

    Args:
        ds: Data in house conventions, dims (sample?, time, *space).
        starts: Times of the last known frames; None: all that have `history` frames without a gap.
        history: Number of known frames.
        every: Take every n-th of the possible starts (with `starts` None).
        spec: Fields and grid the data must have; found from the data if None.
        statics: Names of static fields to read.

    Raises:
        DataError: If there is no start, or a given one has no history.
        GridMismatch: If the data are on another grid than the spec's.
    """

    def __init__(
        self,
        ds: xr.Dataset,
        starts: Any = None,  # noqa: ANN401 - whatever a user has as times
        *,
        history: int = 1,
        every: int = 1,
        spec: FieldSpec | None = None,
        statics: tuple[str, ...] = (),
    ) -> None:
        if history < 1 or every < 1:
            raise InputError(f"forecast starts: expected history >= 1 and every >= 1, got {history} and {every}")
        if ds.sizes.get("time", 0) < history:
            raise DataError(f"forecast starts: expected at least {history} known frames in a row, got {ds.sizes.get('time', 0)} in all")
        self._windows = TrajectoryWindows(ds, history=history - 1, horizon=1, spec=spec, statics=statics)
        if "member" in self._windows.row_dims:
            raise DataError("forecast starts: expected one trajectory to start from, got a dimension 'member'; select one member")
        self.history, self.spec = history, self._windows.spec
        self.static_fields = self._windows.static_fields
        self.calendar = is_calendar(self._windows.times)
        possible = self._windows.times[self._windows.starts + history - 1]
        self._places = np.arange(possible.size)[::every] if starts is None else _given(starts, possible, history)
        self.init_times = possible[self._places]
        """Times of the last known frames, (n,)."""
        self.samples: np.ndarray | None = None
        """Labels of the trajectories; None without a dimension `sample`."""
        if self._windows.row_dims:
            self.samples = np.asarray(ds["sample"].values) if "sample" in ds.coords else np.arange(ds.sizes["sample"])

    @property
    def trajectories(self) -> int:
        """Number of trajectories (samples), at least 1."""
        return self._windows.rows

    def __len__(self) -> int:
        """Number of start times of each trajectory."""
        return self._places.size

    def frames(self, trajectory: int, start: int) -> Tensor:
        """The known frames (C, history, *S) of one start, float32, NaN where missing."""
        return self._windows.fields_at(trajectory * self._windows.starts.size + int(self._places[start]))

    def times(self, start: int, *, ahead: int = 0) -> np.ndarray:
        """Times of the known frames and of `ahead` frames more, (history + ahead,)."""
        return after(self.init_times[start], np.arange(1 - self.history, ahead + 1), self.spec.dt)

    def rng(self, rng: Rng, trajectory: int, start: int) -> Rng:
        """The stream of one start, named by the trajectory and the time: independent of which other starts there are."""
        label = trajectory if self.samples is None else self.samples[trajectory]
        row = int(label) if isinstance(label, int | np.integer) and label >= 0 else trajectory
        time = self.init_times[start]
        tick = int(time.astype("datetime64[s]").astype("int64")) if self.calendar else round(float(time) / self.spec.dt)
        return rng.child("trajectory", row, "start", int(tick < 0), abs(tick))


def _given(starts: Any, possible: np.ndarray, history: int) -> np.ndarray:  # noqa: ANN401
    wanted = as_times(starts).reshape(-1)
    if not wanted.size:
        raise DataError("forecast starts: expected at least one start time, got none")
    places = positions_of(wanted, possible)
    if (places < 0).any():
        missing = wanted[int((places < 0).argmax())]
        raise DataError(
            f"forecast starts: expected times with {history} known frames up to them, {show_time(possible[0])} to {show_time(possible[-1])}; "
            f"got {show_time(missing)}, which has not"
        )
    return places


def forecast_dataset(
    fields: Mapping[str, np.ndarray],
    spec: FieldSpec,
    init_times: np.ndarray,
    *,
    samples: Sequence[Any] | np.ndarray | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Lay forecasts out.

    Args:
        fields: (sample?, init_time, member, lead_time, *S) for each field of the spec, physical units.
        spec: Names, units, grid and time step.
        init_times: Times of the last known frames, datetime64 or numbers, (n,).
        samples: Labels of the trajectories; None without a dimension `sample`.
        attrs: Attributes of the data set.

    Returns:
        A data set with CF names, units and attributes; `lead_time` is timedelta64 for calendar times, else in the spec's time unit.
    """
    like = to_dataset(torch.empty(len(spec.names), 1, *spec.grid.shape), spec)
    dims = (*(("sample",) if samples is not None else ()), "init_time", "member", "lead_time", *spec.grid.dims)
    shape = fields[spec.names[0]].shape
    calendar = is_calendar(init_times)
    unit = {} if calendar else {"units": spec.time_unit}
    member, lead = shape[dims.index("member")], shape[dims.index("lead_time")]
    coords: dict[str, Any] = {
        "init_time": ("init_time", init_times, {"standard_name": "forecast_reference_time", "long_name": "time of the last known frame", **unit}),
        "member": ("member", np.arange(member), {"standard_name": "realization", "units": "1"}),
        "lead_time": ("lead_time", lead_axis(lead, spec.dt, calendar=calendar), {"standard_name": "forecast_period", **unit}),
    }
    if samples is not None:
        coords["sample"] = ("sample", np.asarray(samples), {"long_name": "trajectory"})
    data = {name: xr.Variable(dims, fields[name], like[name].attrs) for name in spec.names}
    space = {d: like[d].variable for d in spec.grid.dims}
    space |= {str(n): c.variable for n, c in like.coords.items() if c.dims == ("point",)}  # where each point is
    return xr.Dataset(data, coords={**coords, **space}, attrs={"Conventions": "CF-1.8", **dict(attrs or {})})


def forecast_of(
    known: KnownFrames, make: Callable[[int, int], Tensor], *, lead: int, members: int, attrs: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Make the forecast of every start, one after another, and lay them out.

    Args:
        known: The starts.
        make: From (trajectory, start) to members (members, C, lead, *S), physical units.
        lead: Number of time steps.
        members: Number of members.
        attrs: Attributes of the data set.
    """
    spec, check = known.spec, check_lead(lead)
    if isinstance(members, bool) or not isinstance(members, int | np.integer) or members < 1:
        raise InputError(f"members: expected a number of members, at least 1, got {members!r}")
    shape = (known.trajectories, len(known), int(members), check, *spec.grid.shape)
    fields = {name: np.empty(shape, dtype=np.float32) for name in spec.names}
    for trajectory in range(known.trajectories):
        for start in range(len(known)):
            drawn = make(trajectory, start)
            for c, name in enumerate(spec.names):
                fields[name][trajectory, start] = drawn[:, c].numpy()
    if known.samples is None:
        fields = {name: values[0] for name, values in fields.items()}
    return forecast_dataset(fields, spec, known.init_times, samples=known.samples, attrs=attrs)
