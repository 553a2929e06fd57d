"""Ensemble forecasts over many start times: block after block, each drawn given the last frames of the one before.

A prior of windows with `history` known and `horizon` coming frames draws the next `horizon` frames of every member; their last `history`
frames are the known ones of the next block, until the lead time is reached. Members of one or several starts go through the network
together. Noise is keyed by (start, block, member), so that a start's forecast depends neither on the other starts nor on the size of a batch
(up to rounding in the network). Batches are the same on any number of processes, which take them in turns: so is the forecast, to the last bit.
With a file to write, every finished start is kept, and an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.errors import DataError, Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.data.leads import KnownFrames, check_lead, forecast_dataset
from physdiff.data.timeline import FORCINGS, show_time
from physdiff.data.windows import condition
from physdiff.data.write import write_dataset
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.conserved import Conserved
from physdiff.forecast.crew import Crew
from physdiff.forecast.drawn_parts import prior_digest
from physdiff.forecast.keyed_rows import KeyedRows
from physdiff.forecast.restless import Watch
from physdiff.inference.sharding import Sharded
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import DropHistory

__all__ = ["Rollout", "history_of", "known_frames", "rollout", "static_names"]

log = logging.getLogger(__name__)

_FINGERPRINT = "rollout_fingerprint"


def rollout(
    prior: WindowPrior,
    ds: xr.Dataset,
    *,
    every: int = 1,
    lead: int,
    members: int | Sharded,
    rng: Rng,
    starts: Any = None,  # noqa: ANN401 - whatever a user has as times
    out: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Forecast an ensemble from many start times; `Rollout` is the same with a choice of batch size.

    Args:
        prior: Prior given known frames.
        ds: Data to start from, dims (sample?, time, *space), on the prior's grid.
        every: Take every n-th of the possible start times.
        lead: Number of time steps to forecast.
        members: Number of members; ``Sharded(20)``: so many, on several processes, each of which calls this and gets the whole.
        rng: Randomness.
        starts: Times of the last known frames; all that have enough known frames if None.
        out: netCDF file to write. Finished starts are kept in the folder ``<out>.parts`` until the file is complete; the same call
            after an interruption goes on from there.

    Returns:
        (sample?, init_time, member, lead_time, *space) float32, in memory; lead_time is timedelta64 for calendar times.

    Raises:
        InputError: If the prior has no known frames, or lead, members or every make no sense.
        DataError: If no start has enough known frames, or the data cannot be used.
        GridMismatch: If the data are on another grid.
        Diverged: If a forecast leaves the finite numbers.
    """
    if starts is not None and every != 1:
        raise InputError(f"rollout: expected either starts or every, got both (every = {every}); thin the starts yourself")
    return Rollout(prior, lead, members, rng=rng).run(ds, starts, every=every, out=out)


def history_of(prior: WindowPrior) -> int:
    """Number of known frames that the windows of a prior begin with.

    Raises:
        InputError: If the prior is not conditioned on known frames.
    """
    found = known_frames(prior)
    if found < 1:
        whole = prior.cond_spec is not None and f"known_{prior.spec.names[0]}" in prior.cond_spec.names
        todo = "draw whole trajectories with forecast --known (draw_trajectories)" if whole else "train it on windows with history >= 1"
        raise InputError(f"forecast: expected a prior given known frames, got one without; {todo}")
    return found


def known_frames(prior: WindowPrior) -> int:
    """Number of known frames of a prior's windows, 0 if it is not conditioned on any: what `DropHistory` says, else the condition's spec."""
    if prior.cond_spec is None:
        return 0
    parts = list(prior.transform) if isinstance(prior.transform, Compose) else [prior.transform]
    return next((p.history for p in parts if isinstance(p, DropHistory)), prior.cond_spec.history)


def static_names(prior: WindowPrior) -> tuple[str, ...]:
    """Names of the static fields that a prior is told and data have to bring; ``mask`` is the spec's own where it has one."""
    names, own = () if prior.cond_spec is None else prior.cond_spec.names, len(prior.spec.names)
    if names[own : own + 1] != ("known",):  # a mask for each field: what is told there comes with the task
        return ()
    return tuple(n for n in names[own + 1 :] if n not in FORCINGS and not (n == "mask" and prior.spec.mask is not None))


@dataclass(frozen=True, eq=False)
class Rollout:
    """How to forecast.

    Args:
        prior: See `rollout`.
        lead: Number of time steps.
        members: Number of members, or `Sharded`, see `rollout`.
        rng: Randomness.
        max_batch: Largest number of windows that go through the network at once.
        watch: Notes how restless members are while they are drawn.
        keep: What the law keeps: fields whose mean over the grid stays that of the last known frame, and ``divergence(u v)`` for a velocity
            whose divergence stays that of the last known frame (its components in the order x, y, z). Each frame moves to the nearest one, and
            the next block begins from there.
    """

    prior: WindowPrior
    lead: int
    members: int | Sharded
    rng: Rng
    max_batch: int = 64
    watch: Watch | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_lead(self.lead)
        _ = self._conserved
        if not isinstance(self.rng, Rng):
            raise InputError(f"rollout rng: expected a source of randomness, as in rng=Rng(0), got {self.rng!r}")
        for what, value in (("members", self.count), ("max_batch", self.max_batch)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{what}: expected a whole number, at least 1, got {value!r}")

    @cached_property
    def _conserved(self) -> Conserved:
        return Conserved(self.prior.spec, self.keep)

    @property
    def count(self) -> int:
        """Number of members."""
        return Crew(self.members).count

    @property
    def history(self) -> int:
        """Number of known frames."""
        return history_of(self.prior)

    @property
    def blocks(self) -> int:
        """Number of blocks until the lead time is reached."""
        return -(-self.lead // (self.prior.spec.frames - self.history))

    def run(
        self,
        ds: xr.Dataset,
        starts: Any = None,  # noqa: ANN401 - whatever a user has as times
        *,
        every: int = 1,
        out: str | os.PathLike[str] | None = None,
    ) -> xr.Dataset:
        """Forecast from all starts; arguments, result and errors as in `rollout`."""
        known = KnownFrames(ds, starts, history=self.history, every=every, spec=self.prior.spec, statics=static_names(self.prior))
        spec = self.prior.spec
        shape = (known.trajectories, len(known), self.count, self.lead, *spec.grid.shape)
        fields = {name: np.empty(shape, dtype=np.float32) for name in spec.names}
        crew = Crew(self.members)
        parts = _Parts(Path(out), self, known) if out is not None and crew.rank == 0 else None
        groups = list(self._groups(known))
        if crew.rank == 0:
            self._announce(known, groups)
        training = self.prior.training
        self.prior.eval()
        try:
            self._fill(known, groups, fields, crew=crew, parts=parts)
        finally:
            self.prior.train(training)
        if known.samples is None:
            fields = {name: values[0] for name, values in fields.items()}
        result = forecast_dataset(fields, spec, known.init_times, samples=known.samples, attrs={"title": "ensemble forecast by physdiff"})
        if parts is not None:
            parts.finish(result)
        return result

    def _fill(
        self, known: KnownFrames, groups: list[list[tuple[int, int]]], fields: dict[str, np.ndarray], *, crew: Crew, parts: _Parts | None
    ) -> None:
        """Take what is done already, and forecast the rest batch by batch, every process its own batches."""
        taken = crew.told([parts is not None and parts.take(cases, fields) for cases in groups] if crew.rank == 0 else None)
        if crew.processes > 1 and any(taken):
            fields.update(crew.told(fields))
        sizes = [len(cases) * self.count for cases in groups]
        batches = [(g, range(i, min(i + self.max_batch, size))) for g, size in enumerate(sizes) for i in range(0, size, self.max_batch)]
        pieces = [(g, part) for g, part in batches if not taken[g]]
        total, first = len(batches) * self.blocks, (len(batches) - len(pieces)) * self.blocks
        with tqdm(total=total, initial=first, desc="rollout", unit="block", disable=None) as bar:
            for (g, part), values in crew.done(pieces, lambda piece: self._forecast(known, groups[piece[0]], piece[1], bar)):
                for row, value in zip(part, values, strict=True):
                    case, member = groups[g][row // self.count], row % self.count
                    for c, name in enumerate(self.prior.spec.names):
                        fields[name][case][member] = value[c]
                if parts is not None and part.stop == sizes[g]:
                    parts.keep(groups[g], fields)

    def _groups(self, known: KnownFrames) -> Iterator[list[tuple[int, int]]]:
        """The starts that share a batch; which ones does not depend on what is done already, so that a resumed run repeats the same sums."""
        cases = [(t, s) for t in range(known.trajectories) for s in range(len(known))]
        size = max(1, self.max_batch // self.count)
        yield from (cases[i : i + size] for i in range(0, len(cases), size))

    def _announce(self, known: KnownFrames, groups: list[list[tuple[int, int]]]) -> None:
        """Log what it will cost, from one timed evaluation of the network."""
        first = range(min(self.max_batch, len(groups[0]) * self.count))
        cond = self._condition(known, groups[0], first, known_frames=self._start(known, groups[0], first), block=0)
        with torch.no_grad():
            completed = self.prior.complete(cond.to(_device(self.prior)))
            encoded = self.prior.encode_cond(completed)
            z = torch.zeros(cond.shape[0], *self.prior.latent_shape, device=_device(self.prior))
            begun = time.perf_counter()
            self.prior.model(z, torch.tensor(0.5, dtype=torch.float64, device=z.device), encoded)
            seconds = time.perf_counter() - begun
        rows = known.trajectories * len(known) * self.count
        steps = rows / cond.shape[0] * self.blocks * self.prior.steps
        size = rows * self.lead * self.prior.spec.with_frames(1).grid.weights().numel() * len(self.prior.spec.names) * 4 / 2**20
        log.info(
            "rollout: %d starts x %d members x %d steps in %d blocks of %d sampler steps; about %.0f to %.0f s, %.0f MiB",
            *(known.trajectories * len(known), self.count, self.lead, self.blocks, self.prior.steps),
            *(seconds * steps, 2 * seconds * steps, size),
        )

    def _start(self, known: KnownFrames, cases: list[tuple[int, int]], rows: range) -> Tensor:
        """Known frames of some of the members of all starts, (rows, C, history, *S)."""
        frames = {i: known.frames(*cases[i]) for i in {row // self.count for row in rows}}
        return torch.stack([frames[row // self.count] for row in rows])

    def _condition(self, known: KnownFrames, cases: list[tuple[int, int]], rows: range, *, known_frames: Tensor, block: int) -> Tensor:
        """Condition windows of a block, (rows, C', history + horizon, *S)."""
        prior, horizon = self.prior, self.prior.spec.frames - self.history
        assert prior.cond_spec is not None and prior.cond_transform is not None
        unknown = known_frames.new_full((*known_frames.shape[:2], horizon, *known_frames.shape[3:]), torch.nan)
        first = block * horizon
        times = np.stack([known.times(s, ahead=first + horizon)[first:] for _, s in cases])[[row // self.count for row in rows]]
        window, fill = torch.cat([known_frames, unknown], dim=2), prior.cond_transform.fill
        return condition(prior.spec, prior.cond_spec.names, window, times=times, statics=known.static_fields, fill=fill)

    def _forecast(self, known: KnownFrames, cases: list[tuple[int, int]], rows: range, bar: Any) -> np.ndarray:  # noqa: ANN401 - a tqdm bar
        """Forecasts of a batch, rows (start, member) of a group of starts: (rows, C, lead, *S)."""
        streams = [known.rng(self.rng, *cases[row // self.count]).child("member", row % self.count) for row in rows]
        numbers = [row % self.count for row in rows]
        frames, drawn = self._start(known, cases, rows), []
        for block in range(self.blocks):
            prior = self.prior.onward if block else self.prior
            cond = self._condition(known, cases, rows, known_frames=frames, block=block)
            keyed = KeyedRows.of(r.child("block", block) for r in streams)
            new = prior.sample(len(rows), cond=cond, rng=keyed, max_batch=len(rows), numbers=numbers).cpu()[:, :, self.history :]
            drawn.append(self._conserved(new, frames) if self.keep else new)
            if self.watch is not None:
                self.watch.note([(*cases[row // self.count], row % self.count) for row in rows])
            self._check_finite(drawn[-1], known, cases, rows, block=block)
            frames = torch.cat([frames, drawn[-1]], dim=2)[:, :, -self.history :]
            bar.update(1)
        values: np.ndarray = torch.cat(drawn, dim=2)[:, :, : self.lead].numpy()
        return values

    def _check_finite(self, new: Tensor, known: KnownFrames, cases: list[tuple[int, int]], rows: range, *, block: int) -> None:
        spec = self.prior.spec
        bad = ~new.isfinite() if spec.mask is None else ~new.isfinite() & spec.mask
        if bool(bad.any()):
            row, channel, frame = (int(i) for i in bad.nonzero()[0][:3])
            start = show_time(known.init_times[cases[rows[row] // self.count][1]])
            step = block * (spec.frames - self.history) + frame + 1
            member = rows[row] % self.count
            raise Diverged(spec.names[channel], step * spec.dt, f"member {member} of start {start}; train longer or take more sampler steps")


def _device(prior: WindowPrior) -> torch.device:
    return next((p.device for p in prior.model.parameters()), torch.device("cpu"))


class _Parts:
    """Finished starts of a run in the folder ``<out>.parts``, one netCDF file each, marked with what they were made from."""

    def __init__(self, out: Path, run: Rollout, known: KnownFrames) -> None:
        self.out, self.run, self.known = out, run, known
        self.folder = out.with_name(out.name + ".parts")
        if out.is_dir():
            raise DataError(f"{out}: expected the name of a file to write, got a folder; add a file name")
        settings = [run.lead, run.count, run.rng.seed, run.rng.path, run.max_batch, len(known), *run.keep]
        self._made_by = prior_digest(run.prior, settings)

    def _path(self, case: tuple[int, int]) -> Path:
        return self.folder / f"start_{case[0]:04d}_{case[1]:06d}.nc"

    def _mark(self, cases: list[tuple[int, int]]) -> str:
        """What the forecasts of a group depend on."""
        digest = self._made_by.copy()
        for trajectory, start in cases:
            digest.update(f"{trajectory} {self.known.init_times[start]}".encode() + self.known.frames(trajectory, start).numpy().tobytes())
        return digest.hexdigest()

    def take(self, cases: list[tuple[int, int]], fields: dict[str, np.ndarray]) -> bool:
        """Read the starts of a group if all of them are there and made from the same; whether they were."""
        if not all(self._path(case).is_file() for case in cases):
            return False
        mark = self._mark(cases)
        for case in cases:
            with xr.open_dataset(self._path(case), engine="netcdf4", decode_times=False) as part:
                if part.attrs.get(_FINGERPRINT) != mark:
                    log.warning("%s was made from another prior, seed or data: computed anew", self._path(case))
                    return False
                for name, values in fields.items():
                    values[case] = part[name].values.reshape(values[case].shape)
        return True

    def keep(self, cases: list[tuple[int, int]], fields: dict[str, np.ndarray]) -> None:
        """Write the starts of a group."""
        mark = self._mark(cases)
        for trajectory, start in cases:
            own = {name: values[trajectory, start : start + 1] for name, values in fields.items()}
            made = forecast_dataset(own, self.run.prior.spec, self.known.init_times[start : start + 1], attrs={_FINGERPRINT: mark})
            write_dataset(made, self._path((trajectory, start)))

    def finish(self, result: xr.Dataset) -> None:
        """Write the whole forecast and remove the parts."""
        write_dataset(result, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)
