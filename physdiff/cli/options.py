"""Groups of options that several verbs share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import xarray as xr

from physdiff.base.checks import check_positive
from physdiff.base.errors import DataError, InputError
from physdiff.cli.splits import as_list, ranges_of
from physdiff.data.join import is_zarr
from physdiff.data.masking import masked
from physdiff.data.names import unknown_variable
from physdiff.data.open import open_dataset
from physdiff.data.regrid import subset
from physdiff.data.tasks import Task
from physdiff.data.timeline import as_times, is_calendar, show_time, time_axis
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.rollout import static_names
from physdiff.grids.grid import Grid

__all__ = ["Select", "Times", "Training", "check_at_least", "checked_file", "checked_folder", "cut_to", "opened", "opened_for", "tasks_of"]


@dataclass(frozen=True)
class Select:
    """Which part of the data is used.

    Args:
        variables: Names of the fields; all if not given.
        start: First time used (a date or a number).
        stop: Last time used; a mere date is the whole day.
        region: Ranges of axes, as in 'latitude 40 to 60, longitude -10 to 20'.
        mask: A field that is zero where others have no values.
    """

    variables: str | list[str] | None = None
    start: str | None = None
    stop: str | None = None
    region: str | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Times:
    """Which times are used.

    Args:
        start: First time (a date, or a number where times are numbers).
        stop: Last time; a date without a time of day is the whole day.
        region: Ranges of axes, as the prior was trained on.
    """

    start: str | None = None
    stop: str | None = None
    region: str | None = None


@dataclass(frozen=True)
class Training:
    """How long and how training goes.

    Args:
        seconds: Budget of wall-clock time (at least `floor` steps).
        floor: Least number of steps under a budget of seconds.
        max_steps: Optimiser steps.
        lr: Peak learning rate.
        ema: Decay of mean weights.
        batch_size: Windows per batch.
        input_noise: Noise on the condition, in standard deviations.
        roll: Periodic axes to shift windows along at random.
        crop: Points of random crops by axis, 0 for all, as in [32, 0].
        coarser: Factors of resolution, drawn at random, as in [1, 2].
        fokker_planck: Weight of the Fokker-Planck residual, one batch in four.
        symmetry: Weight of the asymmetry of its Jacobian, likewise.
        save_every: Steps between checkpoints.
        workers: Processes that read ahead.
        precision: Arithmetic of the network; weights stay in float32.
        compile: Compile the network.
        recompute: Far less memory for 1.3 to 1.4 times the time.
        figures: Steps between pictures, 0 for none.
        trainer: Options of Lightning's Trainer, as in ``--trainer.strategy ddp``.
        seed: Seed of everything random.
    """

    seconds: float | None = None
    floor: int = 300
    max_steps: int | None = None
    lr: float = 1e-3
    ema: float = 0.99
    batch_size: int = 16
    input_noise: float = 0.05
    roll: str | list[str] | None = None
    crop: list[int] | None = None
    coarser: list[int] | None = None
    fokker_planck: float = 0.0
    symmetry: float = 0.0
    save_every: int = 100
    workers: int = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False
    recompute: bool = False
    figures: int = 0
    trainer: dict[str, bool | int | float | str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for what in ("floor", "max_steps", "batch_size", "save_every"):
            check_at_least(getattr(self, what), 1, f"training.{what}")
        for what in ("seed", "workers", "figures"):
            check_at_least(getattr(self, what), 0, f"training.{what}")
        if self.seconds is not None:
            check_positive(self.seconds, "training.seconds")
        check_positive(self.lr, "training.lr")
        taken = sorted({"max_epochs", "max_steps", "precision", "callbacks", "plugins"} & (self.trainer or {}).keys())
        if taken:
            raise InputError(f"trainer: expected no {taken[0]}, which is an option of fit itself (--max_epochs, --training.{taken[0]}), got one")
        for what in ("input_noise", "fokker_planck", "symmetry"):
            check_positive(getattr(self, what), f"training.{what}", zero=True)
        if not 0 <= self.ema < 1:
            raise InputError(f"training.ema: expected a number from 0 to below 1, got {self.ema}")


def opened_for(path: str | list[str], prior: WindowPrior, select: Times | None = None) -> xr.Dataset:
    """The fields of a prior, and the static ones that it is told, cut to its grid if the data reach further.

    Raises:
        DataError: If one of them is missing.
    """
    chosen, statics = select or Times(), static_names(prior)
    try:
        ds = opened(path, Select(list(prior.spec.names), chosen.start, chosen.stop, chosen.region), statics=statics)
    except DataError as error:
        absent = [n for n in statics if f"expected a variable {n!r}" in str(error)]
        if not absent:
            raise
        given = path if isinstance(path, str) else ", ".join(path)
        what = f"expected the static field {absent[0]!r} too, which the prior is told, got none"
        raise DataError(f"{given}: {what}; give the file that holds it besides, as in [fields.nc, {absent[0]}.nc]") from error
    return cut_to(ds, prior.spec.grid)


def cut_to(ds: xr.Dataset, grid: Grid) -> xr.Dataset:
    """The part of the data that lies where a grid lies, along axes of which they have more points than it."""
    if grid.dims == ("point",):
        return ds
    more = {d: axis for d, axis, n in zip(grid.dims, grid.axes(), grid.shape, strict=True) if ds.sizes.get(d, 0) > n}
    return subset(ds, {d: (float(axis.min()), float(axis.max())) for d, axis in more.items()}) if more else ds


def opened(path: str | list[str], select: Select, *, statics: Sequence[str] = ()) -> xr.Dataset:
    """Open files in house conventions and select; static fields come along."""
    names = as_list(select.variables)
    more = [*statics, *([] if select.mask is None else [select.mask])]
    ds = open_dataset(path, variables=None if names is None else list(dict.fromkeys([*names, *more])))
    if select.region is not None:
        ds = subset(ds, ranges_of(select.region))
    if select.mask is not None:
        ds = _masked(ds, select.mask, keep=select.mask in statics)
    if select.start is None and select.stop is None:
        return ds
    if not ds.indexes["time"].is_monotonic_increasing:
        time_axis(as_times(ds["time"].values))  # says where
    calendar = is_calendar(ds["time"].values)
    try:
        part = slice(*(v if v is None or calendar else float(v) for v in (select.start, select.stop)))
        chosen = ds.sel(time=part)
    except (ValueError, KeyError, TypeError) as error:
        kind = "dates as 2019-03-15" if calendar else "numbers"
        raise DataError(f"select: expected {kind} for start and stop, got {select.start} and {select.stop}; inspect shows the times") from error
    if chosen.sizes["time"] == 0:
        first, last = (show_time(ds["time"].values[i]) for i in (0, -1))
        got = f"none from {select.start or first} to {select.stop or last}"
        raise DataError(f"select: expected times within {first} to {last}, got {got}; shift start or stop")
    return chosen


def _masked(ds: xr.Dataset, name: str, *, keep: bool) -> xr.Dataset:
    """Fields without values where the one of this name is zero or missing; it is no field of its own then, unless it is kept as a static one."""
    if name not in ds.data_vars:
        raise unknown_variable(name, map(str, ds.data_vars), "select.mask")
    where = ds[name].isel(time=0, drop=True) if "time" in ds[name].dims else ds[name]
    there = where.fillna(0) != 0
    if not bool(there.any()):
        raise DataError(f"select.mask: expected {name} to be other than zero where fields have values, got zeros alone")
    fields = {n: masked(ds[n], there) for n in map(str, ds.data_vars) if n != name and set(there.dims) <= set(ds[n].dims) and "time" in ds[n].dims}
    return ds.assign(fields) if keep else ds.assign(fields).drop_vars(name)


def check_at_least(value: int | None, least: int, what: str) -> None:
    """Raise InputError if a whole number is too small; None is not given and passes."""
    if value is not None and value < least:
        raise InputError(f"{what}: expected a whole number, at least {least}, got {value}")


def tasks_of(given: Sequence[Mapping[str, list[int] | str]], what: str) -> list[Task]:
    """Tasks as they were typed: frames of each field, or all of them.

    Raises:
        InputError: If a field has neither a list of frames nor ``all``.
    """
    for task in given:
        for name, frames in task.items():
            if frames != "all" and not isinstance(frames, list | tuple):
                form = '{"u": [0], "force": "all"}'
                raise InputError(f"{what}: expected 'all' or frames in a list for {name}, as in {form}, got {frames}; a single frame is a list, too")
    return [{name: frames if isinstance(frames, str) else tuple(frames) for name, frames in task.items()} for task in given]


def checked_file(path: str, *, store: bool = False) -> Path:
    """The path of a file to be written, before any work is done: no folder stands in its place and one that may be written to holds it.

    Args:
        path: As it was given.
        store: Whether a Zarr store may stand there, for a run that looks whether it is its own.

    Raises:
        DataError: If it could not be written.
    """
    target = Path(path)
    folder = target.is_dir() and not (store and is_zarr(path))
    if not path or folder or path.endswith(os.sep):
        raise DataError(f"out: expected the name of a file to write, got {f'the folder {path}' if path else 'none'}; add a file name")
    _check_writable(target.absolute().parent, target)
    return target


def checked_folder(path: str) -> Path:
    """The path of a folder to be written to, likewise.

    Raises:
        DataError: If it could not be made or written to.
    """
    target = Path(path)
    if not path:
        raise DataError("out: expected the name of a folder to write to, got none")
    _check_writable(target.absolute(), target)
    return target


def _check_writable(folder: Path, target: Path) -> None:
    there = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not there.is_dir():
        raise DataError(f"{target}: expected a folder to write into, got {there}, which is none; choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise DataError(f"{target}: expected a folder that may be written to, got {there}, which may not; check its permissions")
