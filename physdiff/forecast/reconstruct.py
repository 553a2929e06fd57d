"""Fields from readings of point sensors or on the grid: one posterior per time, or one for the window after known frames.

A prior of single frames (no history) gives every time with readings its own posterior, conditioned on the time of day if the prior is. A prior
given known frames takes them from data and uses the readings at any of the frames of its window.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.data.leads import KnownFrames, positions_of
from physdiff.data.timeline import as_times, show_time
from physdiff.data.units import check_unit
from physdiff.data.windows import condition
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.forecast.netcdf_readings import netcdf_readings
from physdiff.forecast.rollout import known_frames
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.sensors import Sensors, read_stations

__all__ = ["Readings", "noise_of", "read_readings", "reconstruct"]


@dataclass(frozen=True, eq=False)
class Readings:
    """Values read at points.

    Args:
        points: (n, ndim), x, y, z order (longitude, latitude in degrees).
        values: (C, n) in the units of the fields; NaN where a field was not read.
        times: (n,) when; None if the table has no times.
    """

    points: Tensor
    values: Tensor
    times: np.ndarray | None = None

    def moments(self) -> np.ndarray:
        """The distinct times, in order."""
        return np.zeros(1) if self.times is None else np.unique(self.times)

    def at(self, moment: Any) -> Readings:  # noqa: ANN401 - a numpy scalar
        """The readings of one time."""
        if self.times is None:
            return self
        rows = torch.from_numpy(np.flatnonzero(self.times == moment))
        return Readings(self.points[rows], self.values[:, rows])


def read_readings(path: str | os.PathLike[str], spec: FieldSpec) -> Readings:
    """Read a CSV table or a netCDF file (`.nc`, see `netcdf_readings`) of readings.

    Columns of a table: the axes (``longitude, latitude`` or ``x[, y[, z]]``), ``time`` if there are several, and one per field, named as the field;
    a unit in brackets (``t2m [K]``) is checked. An empty cell is a reading that was not taken; lines without any are left out.

    Args:
        path: The table or file.
        spec: Fields and grid of the prior.

    Raises:
        DataError: If a column is missing, no field is among them, or a cell cannot be read; the message names the line.
        UnitError: If a unit in brackets is not the field's.
    """
    if Path(path).suffix in (".nc", ".nc4", ".cdf"):
        return Readings(*netcdf_readings(path, spec))
    points, columns = read_stations(path, spec.grid)
    named = {}
    for header, cells in columns.items():
        match = re.fullmatch(r"(.+?)\s*\[(.+)\]", header)
        name = match.group(1) if match else header
        if match and name in spec.names:
            check_unit(match.group(2), spec.units[spec.channel(name)], f"{path}, column {header!r}")
        named[name] = cells
    if not any(name in named for name in spec.names):
        raise DataError(f"{path}: expected a column for one of the fields {', '.join(spec.names)}, got {', '.join(columns) or 'places only'}")
    values = torch.full((len(spec.names), len(points)), torch.nan)
    for c, name in enumerate(spec.names):
        for i, cell in enumerate(named.get(name, [])):
            values[c, i] = _value(cell, f"{path}, line {i + 2}, column {name!r}")
    if not bool(values.isfinite().any()):
        raise DataError(f"{path}: expected at least one reading of {' or '.join(spec.names)}, got empty cells only; drop the table or fill it")
    times = _times(named["time"], f"{path}") if "time" in named else None
    taken = values.isfinite().any(0)
    return Readings(points[taken], values[:, taken], None if times is None else times[taken.numpy()])


def _times(cells: list[str], path: str) -> np.ndarray:
    """Dates, taken as UTC, or numbers."""
    if "" in cells:
        raise DataError(f"{path}, line {cells.index('') + 2}, column 'time': expected a date or a number, got an empty cell; drop the line")
    calendar = any(not _is_number(cell) for cell in cells)
    try:
        return as_times(np.array([_utc(c) for c in cells] if calendar else [float(c) for c in cells]))
    except ValueError as error:
        raise DataError(f"{path}: expected dates in UTC (2019-03-16T05:00) or numbers in the column 'time', got one that is none: {error}") from error


def _utc(cell: str) -> str:
    """The date without its zone, which numpy does not read."""
    if re.search(r"[+-]\d\d:?\d\d$", cell) and ":" in cell[:-6]:
        raise ValueError(f"{cell!r} has an offset; convert it to UTC")
    return cell.removesuffix("Z")


def _value(cell: str, where: str) -> float:
    if cell.lower() in ("", "nan", "na"):
        return float("nan")
    if not _is_number(cell):
        raise DataError(f"{where}: expected a number or an empty cell, got {cell!r}")
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def reconstruct(
    prior: DiffusionPrior,
    readings: Readings,
    sampler: PosteriorSampler,
    *,
    std: float | Sequence[float],
    members: int,
    rng: Rng,
    initial: xr.Dataset | None = None,
) -> xr.Dataset:
    """Draw fields from the posterior given readings.

    Args:
        prior: A prior of single frames, or one given known frames.
        readings: What was read.
        sampler: Posterior sampler.
        std: Standard deviation of the readings' noise, in the fields' unit: one for each field, or one for all.
        members: Number of draws.
        rng: Randomness.
        initial: Data whose last frames are the known ones, for a prior that needs them.

    Returns:
        (member, time, *space) in physical units; what the sampler reports of itself are attributes of ``time``-wise means.

    Raises:
        DataError: If readings and window do not fit in time.
        InputError: If the prior needs known frames and none came, or the other way round; if one std came for fields of several units.
    """
    if members < 1:
        raise InputError(f"members: expected at least 1, got {members}")
    known = known_frames(prior)
    if (known > 0) != (initial is not None):
        need = f"the {known} known frames of this prior (initial data)" if known else "no initial data, for this prior knows no frames"
        raise InputError(f"reconstruct: expected {need}, got {'none' if initial is None else 'some'}")
    each = noise_of(std, readings, prior.spec)
    Sensors(prior.spec, readings.points)  # a point outside is refused before any work is done
    draws: list[Tensor] = []
    stamps: list[np.ndarray] = []
    notes: list[dict[str, float]] = []
    jobs = _window(prior, readings, initial, known) if initial is not None else _single_frames(prior, readings)
    total = 1 if initial is not None else len(readings.moments())
    for times, posterior in tqdm(_posteriors(jobs, each), total=total, desc="infer", unit="time", disable=None):
        tick = int(np.asarray(times)[-1].astype("int64") // 10**9) if times is not None and times.dtype.kind == "M" else len(draws)
        key = rng.child(tick) if tick >= 0 else rng.child("before", -tick)
        ensemble = sampler.sample(posterior, members, rng=key)
        if not ensemble.equally_weighted:
            ensemble = ensemble.resample(key.child("equal"))
        draws.append(ensemble.members[:, :, known:])
        stamps.append(np.zeros(1) if times is None else times[known:])
        notes.append({k: float(v.double().mean()) for k, v in ensemble.info.items()})
    attrs = {f"mean_{k}": float(np.mean([n[k] for n in notes])) for k in notes[0]}
    when = np.concatenate(stamps)
    spec = prior.spec.with_frames(len(when))
    return to_dataset(torch.cat(draws, dim=2), spec, when, batch="member", attrs={"title": "posterior draws given sensor readings", **attrs})


def noise_of(std: float | Sequence[float], readings: Readings, spec: FieldSpec) -> tuple[float, ...]:
    """Standard deviation of the noise of each field.

    Raises:
        InputError: If there are not as many as fields, or one came where fields of several units were read.
    """
    given = (float(std),) if isinstance(std, int | float) else tuple(float(s) for s in std)
    read = [f"{n} in {u}" for n, u, v in zip(spec.names, spec.units, readings.values, strict=True) if bool(v.isfinite().any())]
    units = {r.rsplit(" in ", 1)[1] for r in read}
    if len(given) == len(spec.names):
        return given
    if len(given) > 1 or len(units) > 1:
        wanted = ", ".join(f"{n} in {u}" for n, u in zip(spec.names, spec.units, strict=True))
        raise InputError(f"std: expected one for each field ({wanted}), got {', '.join(f'{s:g}' for s in given) or 'none'}; write it as a list")
    return given * len(spec.names)


_Job = tuple[np.ndarray | None, DiffusionPrior, Tensor | None, Tensor, Tensor]


def _posteriors(jobs: Iterator[_Job], std: tuple[float, ...]) -> Iterator[tuple[np.ndarray | None, Posterior]]:
    for times, prior, cond, points, y in jobs:
        yield times, Posterior(prior, Observation(Sensors(prior.spec, points), y, std=torch.tensor(std, dtype=torch.float64).reshape(-1, 1, 1)), cond)


def _single_frames(prior: DiffusionPrior, readings: Readings) -> Iterator[_Job]:
    spec = prior.spec
    if spec.frames != 1:
        raise InputError(f"reconstruct: expected a prior of single frames or one given known frames, got windows of {spec.frames} without history")
    for moment in readings.moments():
        now = readings.at(moment)
        times = None if readings.times is None else np.array([moment])
        cond = None
        if prior.cond_spec is not None:
            if times is None:
                raise DataError("reconstruct: expected a column 'time' in the readings, for this prior depends on the time of day, got none")
            cond = condition(spec, prior.cond_spec.names, torch.full((1, *spec.shape), torch.nan), times=times)
        yield times, prior, cond, now.points, now.values[:, None]


def _window(prior: DiffusionPrior, readings: Readings, initial: xr.Dataset, known: int) -> Iterator[_Job]:
    assert prior.cond_spec is not None and prior.cond_transform is not None
    spec = prior.spec
    starts = KnownFrames(initial, history=known, spec=spec.with_frames(known))
    if starts.trajectories > 1:
        raise DataError(f"reconstruct: expected known frames of one trajectory, got {starts.trajectories} samples; write one to a file of its own")
    last = len(starts) - 1
    times = starts.times(last, ahead=spec.frames - known)
    y = torch.full((len(spec.names), spec.frames, readings.points.shape[0]), torch.nan)
    where = np.full(readings.points.shape[0], spec.frames - 1)
    if readings.times is not None:
        where = positions_of(readings.times, times)
        if (where < known).any():
            bad, coming = readings.times[np.flatnonzero(where < known)[0]], f"{show_time(times[known])} to {show_time(times[-1])}"
            raise DataError(f"readings: expected times of the {spec.frames - known} frames to come, {coming}, got {show_time(bad)}; drop it")
    y[:, torch.from_numpy(where), torch.arange(len(where))] = readings.values
    window = torch.full((1, *spec.shape), torch.nan)
    window[0, :, :known] = starts.frames(0, last)
    cond = condition(spec, prior.cond_spec.names, window, times=times, fill=prior.cond_transform.fill)
    yield times, prior, cond, readings.points, y
