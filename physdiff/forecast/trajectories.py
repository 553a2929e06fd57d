r"""Whole trajectories drawn from what is known of them: simulation, control by conditioning, resolution, into an ensemble on disk.

A prior of whole trajectories (`prepare_trajectories`) draws all frames at once given some: the first frame and a force (what happens?), the first
and the last frame (which force leads from here to there?), a coarse trajectory (what lies between its cells?). What is known stays as it is.

Reference: P. Hu et al., Wavelet diffusion neural operator, ICLR 2025 (arXiv 2412.04833).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from physdiff.base.errors import DataError, GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_tensor
from physdiff.data.leads import forecast_dataset
from physdiff.data.tasks import Task, task_condition, task_spec
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.cascade import on_finer_grid
from physdiff.forecast.crew import Crew
from physdiff.forecast.drawn_parts import DrawnParts, prior_digest
from physdiff.forecast.keyed_rows import KeyedRows
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.sharding import Sharded
from physdiff.transforms.coarse_residual import CoarseResidual

__all__ = ["draw_trajectories", "known_windows", "laid_out"]


def draw_trajectories(
    prior: WindowPrior,
    known: Task,
    ds: xr.Dataset | None = None,
    *,
    coarse: xr.Dataset | None = None,
    members: int | Sharded = 1,
    rng: Rng,
    max_batch: int = 64,
    out: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """An ensemble of whole trajectories.

    Args:
        prior: Of whole trajectories, by `prepare_trajectories`.
        known: Which frames of which fields are taken from `ds`, as in ``{"u": (0,), "force": "all"}``; best a task that the prior was trained on.
        ds: Trajectories (sample?, time, *space) on the prior's grid, from their first frame on; None if nothing is known. Only what `known`
            names has to be there.
        coarse: All fields of all frames on a coarser grid, for a prior that adds resolution; its result is on cells as much finer than these as in
            training, whatever the prior's own grid.
        members: Draws of each trajectory; ``Sharded(20)``: so many, on several processes, each of which calls this and gets the whole.
        rng: Randomness; a draw depends on the numbers of its trajectory and its member alone.
        max_batch: Trajectories drawn at once.
        out: netCDF file to write. Batches that are done are kept in the folder ``<out>.parts`` until the file is complete; the same call after an
            interruption goes on from there.

    Returns:
        (sample?, init_time, member, lead_time, *space) float32, all frames: init_time is that of the first, which has lead time 0.

    Raises:
        InputError: If the prior is none of whole trajectories, a field or frame is not there, or a number makes no sense.
        DataError: If the data lack what is known of them, or `out` is a folder.
        GridMismatch: If the data are on another grid or have another time step.
    """
    _check(prior, coarse, ds, known)
    crew = Crew(members)
    if crew.count < 1 or max_batch < 1:
        raise InputError(f"draw_trajectories: expected members and max_batch >= 1, got {crew.count} and {max_batch}")
    prior, low = (prior, None) if coarse is None else _finer(prior, coarse)
    window = known_windows(prior.spec, known, ds, count=1 if low is None else len(low))
    if low is not None and len(low) != len(window):
        raise DataError(f"coarse: expected as many trajectories as the data have, {len(window)}, got {len(low)}; select the same samples")
    count = len(window)
    settings = [crew.count, rng.seed, rng.path, max_batch, count]
    parts = None if out is None or crew.rank else DrawnParts(Path(out), prior_digest(prior, settings))
    drawn = _drawn(prior, window, low, members=members, rng=rng, max_batch=max_batch, parts=parts)
    result = laid_out(drawn, prior.spec, coarse if ds is None else ds, count=count)
    if parts is not None:
        parts.finish(result)
    return result


def _drawn(
    prior: WindowPrior, window: Tensor, low: Tensor | None, *, members: int | Sharded, rng: Rng, max_batch: int, parts: DrawnParts | None
) -> Tensor:
    """Members of every trajectory, batch by batch, every process its own batches (trajectories times members, C, T, *S)."""
    crew = Crew(members)
    rows = [(s, m) for s in range(len(window)) for m in range(crew.count)]
    batches = {start: rows[start : start + max_batch] for start in range(0, len(rows), max_batch)}

    def given(start: int) -> list[Tensor]:
        samples = [s for s, _ in batches[start]]
        return [x[samples] for x in (window, low) if x is not None]

    def work(start: int) -> Tensor:
        keyed = KeyedRows.of(rng.child("sample", s).child("member", m) for s, m in batches[start])
        return prior.sample(len(batches[start]), cond=task_condition(prior.spec, *given(start)), rng=keyed, max_batch=max_batch).cpu()

    done: dict[int, Tensor | None] = crew.told({k: None if parts is None else parts.take(k, given(k)) for k in batches})
    left = [start for start, found in done.items() if found is None]
    training = prior.training
    prior.eval()
    try:
        with tqdm(total=len(batches), initial=len(batches) - len(left), desc="trajectories", unit="batch", disable=None) as bar:
            for start, found in crew.done(left, work):
                done[start] = found
                if parts is not None:
                    parts.keep(start, given(start), found)
                bar.update(1)
    finally:
        prior.train(training)
    return torch.cat([x for x in done.values() if x is not None])


def _check(prior: WindowPrior, coarse: xr.Dataset | None, ds: xr.Dataset | None, known: Task) -> None:
    names = () if prior.cond_spec is None else prior.cond_spec.names
    wide = names == task_spec(prior.spec, coarse=True).names
    if not wide and names != task_spec(prior.spec).names:
        got = f"one that is told {', '.join(names) or 'nothing'}"
        raise InputError(f"draw_trajectories: expected a prior of whole trajectories, got {got}; train it with --tasks, or forecast with it")
    if wide != (coarse is not None):
        wanted, got = ("a coarse trajectory, from which this prior adds resolution", "none") if wide else ("no coarse trajectory", "one")
        raise InputError(f"coarse: expected {wanted}, got {got}; priors trained with --coarse take one, others do not")
    if known and ds is None:
        raise InputError(f"known: expected data that hold {', '.join(known)}, got none; give them, or an empty task")


def _finer(prior: WindowPrior, coarse: xr.Dataset) -> tuple[WindowPrior, Tensor]:
    """The prior on the grid that the coarse trajectories lead to, and these."""
    part = next((p for p in prior.transform.modules() if isinstance(p, CoarseResidual)), None)
    if not isinstance(prior, DiffusionPrior) or part is None:
        raise InputError("coarse: expected a prior made by prepare_trajectories(..., coarse=2), got one that does not say its factor; train it anew")
    own, factor = on_finer_grid(prior, 1).spec.grid, part.factor  # which refuses what is no uniform box
    assert isinstance(own, CartesianGrid)
    sizes = tuple(int(coarse.sizes.get(d, 0)) for d in own.dims)
    shape = tuple(n * factor for n in sizes)
    times = shape[-1] // own.shape[-1]
    if times < 1 or shape != tuple(n * times for n in own.shape):
        wanted = f"a whole multiple of {tuple(n // factor for n in own.shape)} points"
        raise GridMismatch(f"coarse: expected {wanted} for a prior trained on {own.shape} with --coarse {factor}, got {sizes}")
    # a circle begins where the data let it begin
    cells = [length / n for length, n in zip(own.extent, shape, strict=True)]
    begin = tuple(
        float(coarse[d].values[0]) - (factor - 1) / 2 * h if closed else start
        for d, start, closed, h in zip(own.dims, own.origin, own.periodic, cells, strict=True)
    )
    fine = on_finer_grid(prior, times, origin=begin)
    starts = tuple(o + closed * (factor - 1) / 2 * h for o, closed, h in zip(begin, own.periodic, cells, strict=True))
    under = CartesianGrid(sizes, own.extent, starts, periodic=own.periodic, length_unit=own.length_unit)
    x = _frames(coarse, FieldSpec(fine.spec.names, fine.spec.units, under, fine.spec.dt, frames=fine.spec.frames))
    if x.shape[2] < fine.spec.frames:
        raise DataError(f"coarse: expected {fine.spec.frames} frames, got {x.shape[2]}; the prior knows trajectories of that length")
    return fine, x[:, :, : fine.spec.frames]


def known_windows(spec: FieldSpec, known: Task, ds: xr.Dataset | None, *, count: int) -> Tensor:
    """Windows (B, C, T, *S) of what a task knows of trajectories, NaN elsewhere; `count` of them where it knows nothing.

    Raises:
        InputError: If a field or a frame is not there.
        DataError: If the data lack it, or their fields differ in number of trajectories.
        GridMismatch: If they are on another grid or have another time step.
    """
    found: dict[str, Tensor] = {}
    for name, frames in known.items():
        c = spec.channel(name)
        assert ds is not None
        x = _frames(ds, replace(spec, names=(name,), units=(spec.units[c],)))[:, 0]
        places = list(range(spec.frames)) if isinstance(frames, str) else [int(t) for t in frames]
        if (isinstance(frames, str) and frames != "all") or any(not -spec.frames <= t < spec.frames for t in places):
            raise InputError(f"known: expected 'all' or frames of {spec.frames} for {name}, got {frames!r}")
        places = [t % spec.frames for t in places]
        if max(places, default=0) >= x.shape[1]:
            raise DataError(f"{name}: expected frame {max(places)} of each trajectory, got {x.shape[1]} frames; they are counted from the first, 0")
        found[name] = torch.full((len(x), spec.frames, *spec.grid.shape), torch.nan)
        found[name][:, places] = x[:, places]
        missing = found[name][:, places].isnan() if spec.mask is None else found[name][:, places].isnan() & spec.mask
        if bool(missing.any()):
            raise DataError(f"{name}: expected values at the known frames {places}, got gaps; fill them, or know fewer frames")
    sizes = {len(x) for x in found.values()} or {count}
    if len(sizes) > 1:
        raise DataError(f"expected as many trajectories of each field, got {sorted(sizes)}; select the same samples")
    size = sizes.pop()
    return torch.stack([found.get(n, torch.full((size, spec.frames, *spec.grid.shape), torch.nan)) for n in spec.names], 1)


def _frames(ds: xr.Dataset, spec: FieldSpec) -> Tensor:
    """The fields of a data set, whose time step has to be that of the prior."""
    x = to_tensor(ds, spec)
    if x.shape[2] > 1:
        step = spec_of(ds[list(spec.names)], gaps=True, mask=True).dt
        if abs(step - spec.dt) > 1e-3 * spec.dt:
            raise GridMismatch(f"time: expected steps of {spec.dt:g} {spec.time_unit} as in training, got {step:g}; take every n-th frame")
    return x


def laid_out(x: Tensor, spec: FieldSpec, ds: xr.Dataset | None, *, count: int) -> xr.Dataset:
    """Draws (sample times member, C, T, *S) as a forecast from the first frame."""
    values = x.unflatten(0, (count, -1))[:, None].numpy()  # sample, init_time, member, C, T, *S
    first: Any = np.zeros(1) if ds is None or "time" not in ds.coords else np.atleast_1d(ds["time"].values)[:1]
    samples = None if ds is None or "sample" not in ds.dims else ds["sample"].values if "sample" in ds.coords else np.arange(count)
    fields = {name: values[:, :, :, c] if samples is not None else values[0, :, :, c] for c, name in enumerate(spec.names)}
    made = forecast_dataset(fields, spec, first, samples=samples, attrs={"title": "trajectories drawn by physdiff"})
    made["init_time"].attrs["long_name"] = "time of the first frame"
    lead = made["lead_time"]
    return made.assign_coords(lead_time=lead.copy(data=lead.values - lead.values[0]))
