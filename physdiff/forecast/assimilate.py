r"""Assimilation: forecast, compare with what was read, correct, and on from there.

From an ensemble at a start time every cycle forecasts to the next readings and lets an `Analysis` move the members to them. The record of every cycle
says whether to trust it: with d the readings less the mean forecast of them and $v = $ ensemble variance $+$ noise variance, the ``innovation`` ratio
$\sqrt{\langle d^2 / v \rangle}$ is about 1 where spread and noise are right, above 1 where the ensemble is too sure of itself. References: Evensen,
Sequential data assimilation with a nonlinear quasi-geostrophic model, 1994; Desroziers and others, Diagnosis of observation, background and
analysis-error statistics in observation space, 2005.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.errors import DataError, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset, to_tensor
from physdiff.data.leads import after, positions_of
from physdiff.data.timeline import as_times, is_calendar, show_time
from physdiff.data.write import write_dataset
from physdiff.forecast.analysis import Analysis, Cycle
from physdiff.forecast.forecast_models import ForecastModel
from physdiff.forecast.readings import Readings
from physdiff.forecast.reconstruct import noise_of
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.ensemble_posterior import flat_readings
from physdiff.inference.noise import GaussianNoise
from physdiff.inference.sensors import Sensors

__all__ = ["assimilate", "ensemble_of", "gridded_readings"]

log = logging.getLogger(__name__)

_SAVE_EVERY = 20.0  # seconds between two states kept for going on after an interruption
_LOST = 5.0  # innovation ratio at which a filter no longer follows
_RECORD = {
    "readings": "number of readings of the cycle",
    "innovation": "root mean square of readings minus mean forecast over their expected standard deviation; 1 if spread and noise are right",
    "innovation_bias": "mean of readings minus mean forecast over their expected standard deviation",
    "spread_forecast": "root mean variance of the forecast readings over their noise",
    "spread_analysis": "root mean variance of the readings after the analysis over their noise",
    "misfit_analysis": "root mean square of readings minus mean analysis over their noise",
    "ess": "effective number of members",
    "inflation": "factor of the anomalies before the analysis, from the misfits of the cycle",
}


def gridded_readings(ds: xr.Dataset, spec: FieldSpec) -> Readings:
    """Readings at grid points from a data set on the grid, NaN where nothing was read.

    Args:
        ds: Dims (time, *space), in house conventions.
        spec: Fields and grid.

    Raises:
        GridMismatch: If the data set is on another grid.
        DataError: If there is no value at all.
    """
    x = to_tensor(ds, spec.with_frames(ds.sizes["time"]))[0]
    coordinates = [c.double().flatten() for c in spec.grid.coordinates()]
    points = torch.stack(coordinates, 1)
    if "latitude" in spec.grid.dims:
        points = torch.rad2deg(points)
    times, where, values = as_times(ds["time"].values), [], []
    moments: list[Any] = []
    for t, now in enumerate(x.unbind(1)):
        seen = now.isfinite().flatten(1).any(0)
        where.append(points[seen])
        values.append(now.flatten(1)[:, seen])
        moments += [times[t]] * int(seen.sum())
    return Readings(torch.cat(where), torch.cat(values, 1), np.array(moments))


def ensemble_of(ds: xr.Dataset, model: ForecastModel) -> tuple[Tensor, Any]:
    """Known frames (N, C, history, *S) and the time of the last one, from a data set (member, time, *space).

    Raises:
        GridMismatch: If it is on another grid than the model.
        DataError: If it has no members or fewer frames than the model needs.
    """
    if "member" not in ds.dims or ds.sizes["member"] < 2 or ds.sizes.get("time", 0) < model.history:
        raise DataError(
            f"initial: expected two members or more and {model.history} frames or more, got {dict(ds.sizes)}; perturb a field for a start"
        )
    if ds.sizes["time"] > 1:
        found = spec_of(ds, model.spec.names)
        if abs(found.dt - model.spec.dt) > 1e-6 * model.spec.dt:
            raise DataError(f"initial: expected frames {model.spec.dt:g} {model.spec.time_unit} apart, got {found.dt:g}; subsample it")
    last = ds.isel(time=slice(-model.history, None))
    return to_tensor(last, model.spec.with_frames(model.history)), as_times(ds["time"].values)[-1]


def assimilate(
    model: ForecastModel,
    initial: xr.Dataset | tuple[Tensor, Any],
    readings: Readings | xr.Dataset,
    *,
    analysis: Analysis,
    std: float | Sequence[float],
    rng: Rng,
    every: int | None = None,
    out: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Cycle forecast and analysis from a start to the last reading.

    Args:
        model: Forecast model.
        initial: The ensemble to start from: (member, time, *space), whose last frames are taken; or known frames (N, C, history, *S) and the time of
            the last of them.
        readings: What was read where and when; on the grid (NaN where not) or at points.
        analysis: How readings change the ensemble.
        std: Standard deviation of the readings' noise, in the fields' units: one for each field, or one for all.
        rng: Randomness; every cycle has its own stream, so that an interrupted run goes on to the same numbers.
        every: Number of time steps between analyses; None: an analysis at every time that was read.
        out: netCDF file to write. The state is kept in ``<out>.part`` until it is complete; the same call goes on from there.

    Returns:
        Each field after the analysis, NAME, and before, NAME_forecast (member, time, *space), float32, with CF attributes; and by ``cycle`` the
        number of readings, the innovation ratio (see above), spreads, the effective size, and what the method reports, with ``cycle_time``.

    Raises:
        DataError: If readings lie outside the time range or off its steps, or there are none; if the start does not fit.
        InputError: If a number makes no sense, or the analysis cannot work with the model.
        GridMismatch: If grids differ.
        CollapsedWeights: If all members have become one.
    """
    read = gridded_readings(readings, model.spec) if isinstance(readings, xr.Dataset) else readings
    known, start = ensemble_of(initial, model) if isinstance(initial, xr.Dataset) else initial
    start = as_times(start)[()]
    shape = (len(model.spec.names), model.history, *model.spec.grid.shape)
    if known.ndim != len(shape) + 1 or known.shape[1:] != shape or len(known) < 2:
        raise ShapeError(f"assimilate: expected two members or more of {shape}, got {tuple(known.shape)}")
    plan = _plan(model, read, start, every)
    analysis.check(model, max(n for n, _ in plan.cycles))
    noise = torch.tensor(noise_of(std, read, model.spec), dtype=torch.float64)
    Sensors(model.spec, read.points)  # a point outside is refused before any work is done
    return _Run(_Task(model, analysis, plan, read, noise, start, rng), known, None if out is None else Path(out)).finish()


@dataclass(frozen=True, eq=False)
class _Plan:
    """When what is read: for each cycle its number of steps and, by step from 1, the rows of the readings."""

    cycles: list[tuple[int, dict[int, np.ndarray]]]

    @property
    def frames(self) -> int:
        return sum(n for n, _ in self.cycles)


def _plan(model: ForecastModel, read: Readings, start: Any, every: int | None) -> _Plan:  # noqa: ANN401
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise InputError(f"assimilate every: expected a whole number of time steps, at least 1, got {every!r}")
    if read.times is None or not len(read.times):
        raise DataError("assimilate: expected readings with times, got none; add a column 'time'")
    if is_calendar(read.times) != isinstance(start, np.datetime64):
        raise DataError(f"assimilate: expected times of one kind, got a start at {show_time(start)} and readings at {show_time(read.times[0])}")
    first, last = read.times.min(), read.times.max()
    length = (last - start) / np.timedelta64(1, "s") if is_calendar(read.times) else float(last - start)
    if first <= start:
        raise DataError(f"readings: expected times after the start at {show_time(start)}, got {show_time(first)}; leave these out or start earlier")
    count = round(length / model.spec.dt)
    axis = after(start, np.arange(1, max(count, 1) + 1), model.spec.dt)
    where = positions_of(read.times, axis)
    if (where < 0).any():
        bad, dt = read.times[int((where < 0).argmax())], f"{model.spec.dt:g} {model.spec.time_unit}"
        raise DataError(f"readings: expected times at whole steps of {dt} after {show_time(start)}, got {show_time(bad)}; round or interpolate them")
    ends = np.unique(where) + 1 if every is None else np.arange(every, every * -(-count // every) + 1, every)
    cycles, before = [], 0
    for end in ends:
        rows = {int(k - before): np.flatnonzero(where + 1 == k) for k in range(before + 1, int(end) + 1)}
        cycles.append((int(end) - before, {k: r for k, r in rows.items() if r.size}))
        before = int(end)
    empty = sum(not r for _, r in cycles)
    if empty:
        log.warning("assimilate: %d of %d cycles have no reading: these are forecasts only", empty, len(cycles))
    return _Plan(cycles)


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be done."""

    model: ForecastModel
    analysis: Analysis
    plan: _Plan
    read: Readings
    std: Tensor
    start: Any
    rng: Rng


class _Run:
    """The state of a run, and how it is kept."""

    def __init__(self, task: _Task, known: Tensor, out: Path | None) -> None:
        self.task, self.known, self.out, self.done = task, known, out, 0
        shape = (len(known), len(task.model.spec.names), task.plan.frames, *task.model.spec.grid.shape)
        self.moved, self.forecast = (torch.full(shape, torch.nan, dtype=torch.float32) for _ in range(2))
        self.record: dict[str, list[float]] = {}
        if out is not None:
            if out.is_dir():
                raise DataError(f"{out}: expected the name of a file to write, got a folder; add a file name")
            self.part = out.with_name(out.name + ".part")
            self.mark = self._mark()
            self._resume()

    def _mark(self) -> str:
        """What the run depends on: readings, start, method and seed; of the model its kind, fields and step."""
        task, spec = self.task, self.task.model.spec
        text: list[object] = [type(task.model).__name__, spec.names, spec.dt, type(task.analysis).__name__, task.rng.seed, task.rng.path]
        text += [f"{k}={v}" for k, v in sorted(vars(task.analysis).items()) if isinstance(v, int | float | str)] + [str(task.start)]
        digest = hashlib.sha256(repr(text + [n for n, _ in self.task.plan.cycles]).encode())
        for t in (self.task.read.points, self.task.read.values, self.task.std, self.known):
            digest.update(t.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _resume(self) -> None:
        if not self.part.is_file():
            return
        kept = torch.load(self.part, weights_only=True)
        if kept["mark"] != self.mark:
            log.warning("%s was made from other readings, another start, method or seed: computed anew", self.part)
            return
        self.done, self.known, self.record = kept["done"], kept["known"], kept["record"]
        self.moved, self.forecast = kept["moved"], kept["forecast"]
        log.info("assimilate: going on after %d of %d cycles", self.done, len(self.task.plan.cycles))

    def _keep(self) -> None:
        self.part.parent.mkdir(parents=True, exist_ok=True)
        state = {k: getattr(self, k) for k in ("mark", "done", "known", "record", "moved", "forecast")}
        fresh = self.part.with_name(self.part.name + ".new")
        torch.save(state, fresh)
        os.replace(fresh, self.part)

    def finish(self) -> xr.Dataset:
        """Do the cycles that are left, and lay all out."""
        saved = clock.monotonic()
        with tqdm(total=len(self.task.plan.cycles), initial=self.done, desc="assimilate", unit="cycle", disable=None) as bar:
            while self.done < len(self.task.plan.cycles):
                self._cycle()
                bar.update(1)
                if self.out is not None and clock.monotonic() - saved > _SAVE_EVERY:
                    self._keep()
                    saved = clock.monotonic()
        result = self._laid_out()
        if self.out is not None:
            write_dataset(result, self.out)
            self.part.unlink(missing_ok=True)
        return result

    @torch.no_grad()
    def _cycle(self) -> None:
        begin = sum(n for n, _ in self.task.plan.cycles[: self.done])
        steps, rows = self.task.plan.cycles[self.done]
        now, history = after(self.task.start, begin, self.task.model.spec.dt), self.task.model.history
        key = self.task.rng.child("cycle", self.done)
        forecast = self.task.model.forecast(self.known, now, steps=steps, rng=key.child("forecast"))
        window, notes = torch.cat([self.known, forecast], 2), {"readings": 0.0}
        if rows:
            cycle = Cycle(self.task.model, self.known, forecast, now, *self._read(rows, steps), self.task.std)
            window, found = self.task.analysis(cycle, rng=key.child("analysis"))
            notes = {**_statistics(cycle, window), **found}
            if notes["innovation"] > _LOST:
                log.warning(
                    "assimilate: readings of the cycle after %s lie %.1f expected standard deviations off: the ensemble has lost the truth, std is "
                    "too small, or a unit is wrong; raise inflation, std or members",
                    *(show_time(now), notes["innovation"]),
                )
        here = slice(begin, begin + steps)
        self.forecast[:, :, here], self.moved[:, :, here] = forecast.float(), window[:, :, history:].float()
        self.known = window[:, :, -history:]
        self.done += 1
        for name in {*notes, *self.record}:
            self.record.setdefault(name, [float("nan")] * (self.done - 1)).append(notes.get(name, float("nan")))

    def _read(self, rows: dict[int, np.ndarray], steps: int) -> tuple[Tensor, Tensor]:
        """Points (n, ndim) and readings (C, h + s, n) of a cycle."""
        index = torch.from_numpy(np.concatenate(list(rows.values())))
        frame = torch.cat([torch.full((len(r),), self.task.model.history + k - 1) for k, r in rows.items()])
        y = torch.full((len(self.task.read.values), self.task.model.history + steps, len(index)), torch.nan, dtype=torch.float64)
        y[:, frame, torch.arange(len(index))] = self.task.read.values[:, index].double()
        return self.task.read.points[index], y

    def _laid_out(self) -> xr.Dataset:
        spec = self.task.model.spec.with_frames(self.task.plan.frames)
        times = after(self.task.start, np.arange(1, self.task.plan.frames + 1), spec.dt)
        attrs = {"title": "assimilation by physdiff", "method": type(self.task.analysis).__name__}
        result = to_dataset(self.moved, spec, times, batch="member", attrs=attrs)
        ahead = to_dataset(self.forecast, spec, times, batch="member")
        for name in spec.names:
            field = ahead[name].variable
            told = str(field.attrs.get("long_name", name))
            result[f"{name}_forecast"] = xr.Variable(field.dims, field.values, {**field.attrs, "long_name": f"{told}, before the analysis"})
        ends = np.cumsum([n for n, _ in self.task.plan.cycles])
        for name, values in self.record.items():
            result[name] = ("cycle", np.array(values), {"long_name": _RECORD.get(name, f"{name} reported by the method"), "units": "1"})
        unit = {} if is_calendar(times) else {"units": spec.time_unit}
        return result.assign_coords(cycle_time=("cycle", times[ends - 1], {"long_name": "time of the analysis", **unit}))


def _statistics(cycle: Cycle, window: Tensor) -> dict[str, float]:
    o = (cycle.here,)
    (before, y, std), after_it = flat_readings(o, cycle.window), flat_readings(o, window)[0]
    misfit, expected = y - before.mean(0), (before.var(0) + std**2).sqrt()
    return {
        "readings": float(y.numel()),
        "innovation": float((misfit / expected).square().mean().sqrt()),
        # turned for their correlated noise readings have no sign
        "innovation_bias": float((misfit / expected).mean()) if isinstance(cycle.here.noise, GaussianNoise) else math.nan,
        "spread_forecast": float((before.var(0) / std**2).mean().sqrt()),
        "spread_analysis": float((after_it.var(0) / std**2).mean().sqrt()),
        "misfit_analysis": float(((y - after_it.mean(0)) / std).square().mean().sqrt()),
    }
