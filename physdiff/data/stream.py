"""Trajectories made batch by batch, in memory or in a file that grows and can be gone on with.

A run is cut into batches of samples that do not know of one another. With a file to write, each finished batch becomes a netCDF file of its
own in the folder ``<out>.parts``; when all are there they are joined, batch by batch, under a temporary name, and the whole appears under
its own name at once. A process that is killed leaves whole batches behind, never half a file: the same call goes on with the first batch
that is missing, and since a batch is computed from its indices alone, the result is the same to the last bit. So it is on several processes
(`torch.distributed`, a folder that all see), each of which takes its turn of the batches; the first one joins them. What decides the values is
written beside the parts and into the file, so that a call with other arguments is told what differs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.errors import DataError, Diverged, InputError
from physdiff.base.whole_file import whole_file
from physdiff.data.convert import to_dataset
from physdiff.data.join import FORMATS, check_zarr, join_parts, run_of
from physdiff.data.open import open_dataset
from physdiff.data.write import write_dataset
from physdiff.grids.field_spec import FieldSpec

__all__ = ["Run", "make"]

Tick = Callable[[int], object]
_KEY, _CARD = "physdiff_run", "run.json"


@dataclass(frozen=True)
class Run:
    """What is to be made, and how one batch of it is.

    Args:
        spec: Names, units and grid of what is kept.
        times: Of the frames kept, (T,), float64.
        batch: Fields (count, T, *S) of the samples start, ..., start + count - 1, from (start, count, tick); `tick` is called with the
            number of frames done since the last call.
        settings: Everything that decides the values, by name, as text; what a call to go on is compared by.
        attrs: Attributes of the data set.
        dtype: Of the values.
    """

    spec: FieldSpec
    times: Tensor
    batch: Callable[[int, int, Tick], Mapping[str, Tensor]]
    settings: Mapping[str, str]
    attrs: Mapping[str, str]
    dtype: torch.dtype = torch.float32


def make(run: Run, samples: int, batch_size: int, *, out: Path | None = None) -> xr.Dataset:
    """All samples of a run: in memory, or in the file `out`, opened.

    Raises:
        InputError: If the numbers make no sense.
        DataError: If `out` cannot be written, or holds something else.
        Diverged: If a solution stops being finite; with `out`, the batches done stay, and the last good state lies in ``<out>.diverged.nc``.
    """
    if samples < 1 or batch_size < 1:
        raise InputError(f"generate: expected samples and batch_size of at least 1, got {samples} and {batch_size}")
    starts = range(0, samples, batch_size)
    if out is None:
        return _in_memory(run, samples, starts)
    settings = {**run.settings, "samples": str(samples), "batch_size": str(batch_size)}
    folder = out.with_name(f"{out.name}.parts")
    if not _finished(out, settings):
        _check(folder, out, settings)
        _fill(run, samples, starts, folder=folder, out=out, settings=settings)
        _meet()  # all batches are there
        if _place()[0] == 0:
            join_parts([_part(folder, start) for start in starts], out, attrs={_KEY: json.dumps(settings)})
    _meet()  # the file is there
    if _place()[0] == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return open_dataset(out, dtype=str(run.dtype).removeprefix("torch."))


def _place() -> tuple[int, int]:
    """Which of how many processes this is."""
    together = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if together else (0, 1)


def _meet() -> None:
    if _place()[1] > 1:
        dist.barrier()


def _in_memory(run: Run, samples: int, starts: range) -> xr.Dataset:
    wide = run.dtype == torch.float64
    shape = (samples, run.times.numel(), *run.spec.grid.shape)
    made = {n: np.empty(shape, dtype=np.float64 if wide else np.float32) for n in run.spec.names}
    with _bar(run, samples, done=0) as bar:
        for start in starts:
            count = min(starts.step, samples - start)
            for name, values in run.batch(start, count, bar.update).items():
                made[name][start : start + count] = values.detach().cpu().numpy()
    return to_dataset({n: torch.from_numpy(v) for n, v in made.items()}, run.spec, run.times, batch="sample", attrs=run.attrs)


def _fill(run: Run, samples: int, starts: range, *, folder: Path, out: Path, settings: Mapping[str, str]) -> None:
    """Solve this process's share of the batches that are missing, each to a file of its own."""
    _meet()  # nobody has made a batch yet, so that all see the same ones missing
    rank, processes = _place()
    missing = [start for start in starts if not _part(folder, start).exists()][rank::processes]
    _meet()
    left = sum(min(starts.step, samples - start) for start in missing)
    with _bar(run, left if processes > 1 else samples, done=0 if processes > 1 else samples - left) as bar:
        for start in missing:
            count = min(starts.step, samples - start)
            try:
                fields = run.batch(start, count, bar.update)
            except Diverged as error:
                kept = _keep_last_good(run, error, start, out)
                done = f"those done before lie in {folder}" if folder.exists() else "none was done before"
                error.args = (f"{error}; samples {start} to {start + count - 1} are concerned, {kept} {done}",)
                raise
            _begin(folder, settings)
            fields = {name: values.detach().cpu().to(run.dtype) for name, values in fields.items()}
            ds = to_dataset(fields, run.spec, run.times, batch="sample", attrs=run.attrs)
            write_dataset(ds.assign_coords(sample=np.arange(start, start + count)), _part(folder, start))


def _keep_last_good(run: Run, error: Diverged, start: int, out: Path) -> str:
    """Write the last finite state of a batch that failed; says where it is."""
    if error.last_good is None or error.last_time is None:
        return "their last state is not known,"
    grid = run.spec.grid
    names = tuple(n for n, v in error.last_good.items() if tuple(v.shape[-grid.ndim :]) == grid.shape)
    if not names:
        return "their last state lies on another grid than is kept,"
    spec = FieldSpec(names, ("1",) * len(names), grid, run.spec.dt, time_unit=run.spec.time_unit)
    fields = {n: error.last_good[n].detach().cpu().reshape(-1, 1, *grid.shape) for n in names}
    attrs = {**run.attrs, "title": f"Last finite state before field {error.field} left the finite numbers at time {error.time:g}"}
    ds = to_dataset(fields, spec, np.array([error.last_time]), batch="sample", attrs=attrs)
    count = ds.sizes["sample"]
    path = write_dataset(ds.assign_coords(sample=np.arange(start, start + count)), out.with_name(f"{out.name}.diverged.nc"))
    return f"their last finite state (time {error.last_time:g}) is {path},"


def _bar(run: Run, samples: int, *, done: int) -> tqdm:
    """A bar over frames, which says how much is made; tqdm adds the time it will take."""
    frames = run.times.numel()
    size = samples * frames * len(run.spec.names) * int(np.prod(run.spec.grid.shape)) * run.dtype.itemsize
    text = f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
    return tqdm(total=samples * frames, initial=done * frames, desc=f"generate {samples} samples, {text}", unit="frame", disable=None)


def _part(folder: Path, start: int) -> Path:
    return folder / f"{start:08d}.nc"


def _check(folder: Path, out: Path, settings: Mapping[str, str]) -> None:
    """Refuse, before any work, a place that cannot be written to or that belongs to another run."""
    there = next(p for p in out.absolute().parents if os.path.lexists(p))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise DataError(f"{out}: expected a folder to write into, got {there}, which is none that may be written to; choose another place")
    if (folder / _CARD).exists():
        _compare(json.loads((folder / _CARD).read_text(encoding="utf-8")), settings, f"{out}: an unfinished run lies in {folder}")
    elif folder.exists() and (not folder.is_dir() or any(not p.name.startswith(f".{_CARD}.") for p in folder.iterdir())):  # killed while it began
        raise DataError(f"{folder}: expected no folder or an unfinished run, got other files; move them away")


def _begin(folder: Path, settings: Mapping[str, str]) -> None:
    """Make the folder of parts with the settings in it."""
    if (folder / _CARD).exists():
        return
    with whole_file(folder / _CARD) as fresh:
        fresh.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def _finished(out: Path, settings: Mapping[str, str]) -> bool:
    """Whether the file is there and holds this run; an error if it holds something else."""
    if out.suffix not in FORMATS:
        known = ", ".join(s for s in FORMATS if s)
        raise InputError(f"{out}: expected a file name that ends in {known} (or in nothing, for netCDF), got {out.suffix!r}; choose one of these")
    if FORMATS[out.suffix] == "zarr":
        check_zarr(out)
    if not out.exists():
        return False
    text = run_of(out, _KEY)
    if text is None:
        raise DataError(f"{out}: expected a new file or the same run, got a file of something else; choose another name or remove it")
    _compare(json.loads(text), settings, f"{out}: the file is there")
    return True


def _compare(old: Mapping[str, str], new: Mapping[str, str], where: str) -> None:
    other = [k for k in (*old, *(k for k in new if k not in old)) if old.get(k) != new.get(k)]
    if other:
        told = "; ".join(f"{k} was {_short(old.get(k))}, is {_short(new.get(k))}" for k in other)
        raise DataError(f"{where}, expected the same settings, got others: {told}; take those, choose another name, or remove it")


def _short(text: str | None) -> str:
    return "none" if text is None else text if len(text) <= 120 else f"{text[:60]} ... {text[-50:]}"
