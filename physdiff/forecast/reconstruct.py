"""Fields from readings of point sensors or on the grid: one posterior per time, or one for the window after known frames.

A prior of single frames (no history) gives every time with readings its own posterior, conditioned on the time of day if the prior is. A prior
given known frames takes them from data and uses the readings at any of the frames of its window.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.data.leads import KnownFrames, positions_of
from physdiff.data.timeline import FORCINGS, show_time
from physdiff.data.windows import TrajectoryWindows, condition
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.forecast.readings import Readings
from physdiff.forecast.rollout import known_frames, static_names
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.constraints import constrain
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.mapped import Mapped, MappedLinear
from physdiff.inference.observation import LinearOperator, Observation
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.transforms.parameters import ParameterChannels

__all__ = ["noise_of", "parameters_of", "reconstruct"]

log = logging.getLogger(__name__)

_COLLAPSED = 2.0
_MISSED = 10.0


def reconstruct(
    prior: DiffusionPrior,
    readings: Readings,
    sampler: PosteriorSampler,
    *,
    std: float | Sequence[float] | None,
    members: int,
    rng: Rng,
    initial: xr.Dataset | np.generic | float | None = None,
    laws: Sequence[Observation] = (),
) -> xr.Dataset:
    """Draw fields from the posterior given readings.

    Args:
        prior: A prior of single frames, one of windows, or one given known frames.
        readings: What was read; those that are exact move the draws when they are made (`constrain`).
        sampler: Posterior sampler.
        std: Standard deviation of the readings' noise: one for each field, or for all; None where every reading has its own, or its law none.
        members: Number of draws.
        rng: Randomness.
        initial: Data with the known frames (the last ones) or static fields that a prior needs; else, of windows without a past, the first time.
        laws: What else is known of each window, see `calibrated`.

    Returns:
        (member, time, *space) in physical units, parameters (member,); what the sampler reports of itself are attributes of ``time``-wise means.

    Raises:
        DataError: If readings and window do not fit in time.
        InputError: If the prior needs known frames and none came, or the other way round; if one std came for fields of several units.
    """
    if members < 1:
        raise InputError(f"members: expected at least 1, got {members}")
    known = known_frames(prior)
    _check_initial(prior, initial, known)
    _check(prior, readings, std)
    draws: list[Tensor] = []
    stamps: list[np.ndarray] = []
    notes: list[dict[str, float]] = []
    reports: list[Mapping[str, Tensor]] = []
    jobs = _window(prior, readings, initial, known) if known and isinstance(initial, xr.Dataset) else _unconditional(prior, readings, initial)
    total = 1 if prior.spec.frames > 1 else len(readings.moments())
    for times, cond, placed in tqdm(jobs, total=total, desc="infer", unit="time", disable=None):
        tick = int(np.asarray(times)[-1].astype("int64") // 10**9) if times is not None and times.dtype.kind == "M" else len(draws)
        key = rng.child(tick) if tick >= 0 else rng.child("before", -tick)
        observed = tuple(_observation(part, y, std, prior.spec) for part, y in placed if not part.exact)
        ensemble = sampler.sample(Posterior(prior, (*observed, *laws), cond), members, rng=key)
        reports.append(ensemble.info)
        if not ensemble.equally_weighted:
            ensemble = ensemble.resample(key.child("equal"))
        ensemble = _obeying(ensemble, [(part, y) for part, y in placed if part.exact], prior.spec)
        draws.append(ensemble.members[:, :, known:])
        stamps.append(np.zeros(1) if times is None else times[known:])
        notes.append({k: float(v.double().mean()) for k, v in ensemble.info.items()})
    _warn_collapsed(reports)
    _warn_missed(reports)
    attrs = {f"mean_{k}": float(np.mean([n[k] for n in notes])) for k in notes[0]}
    when = np.concatenate(stamps)
    spec = prior.spec.with_frames(len(when))
    title = "posterior draws given sensor readings"
    return _single(to_dataset(torch.cat(draws, dim=2), spec, when, batch="member", attrs={"title": title, **attrs}), prior)


def _single(ds: xr.Dataset, prior: DiffusionPrior) -> xr.Dataset:
    """The draws with one number of each parameter for a member."""
    first = {d: 0 for d in ("time", *prior.spec.grid.dims)}
    return ds.assign({name: ds[name].isel(first, drop=True) for name in parameters_of(prior)})


def parameters_of(prior: DiffusionPrior) -> tuple[str, ...]:
    """Names of the channels that hold parameters of a law, not fields."""
    split = prior.transform
    return tuple(prior.spec.names[c] for c in split.channels) if isinstance(split, ParameterChannels) else ()


def _check_initial(prior: DiffusionPrior, initial: object, known: int) -> None:
    """Raise InputError unless what comes first is given as the prior needs it."""
    frames = isinstance(initial, xr.Dataset)
    if known > 0 and not frames:
        raise InputError(f"reconstruct: expected the {known} known frames of this prior (initial data), got {'none' if initial is None else initial}")
    statics = static_names(prior)
    if known == 0 and statics and not frames:
        raise InputError(f"reconstruct: expected data with {', '.join(statics)}, which this prior is told (initial), got {initial}")
    if known == 0 and not statics and (frames or (initial is not None and prior.spec.frames == 1)):
        first = "" if prior.spec.frames == 1 else " but the time of the first one at most"
        raise InputError(f"reconstruct: expected no initial data, for this prior knows no frames{first}, got {'some' if frames else initial}")


def _check(prior: DiffusionPrior, readings: Readings, std: float | Sequence[float] | None) -> None:
    """Refuse what does not fit before any work is done: places, standard deviations."""
    for part in readings.parts():
        part.look.operator(prior.spec, part.points)
        _scale(part, std, prior.spec)


def _warn_collapsed(reports: Sequence[Mapping[str, Tensor]]) -> None:
    """Say what to do where particles that carry the weight were fewer than two at some level."""
    least = [float(info["ess"].min()) for info in reports if "particles" in info]
    lost = [size for size in least if size < _COLLAPSED]
    if lost:
        log.warning(
            "weights collapsed at %d of %d times: at some noise level %.2g particles carried all weight, so that draws are copies of few and "
            "too sure of themselves; take another method (TwistedSMC, Guided), a larger std or fewer readings at once, and look at the unit",
            *(len(lost), len(least), min(lost)),
        )


def _warn_missed(reports: Sequence[Mapping[str, Tensor]]) -> None:
    """Say what to do where draws lie many standard deviations of the noise off their own readings (rms of the median draw)."""
    misses = [float(info["misfit"].double().median().sqrt()) for info in reports if "misfit" in info]
    off = [miss for miss in misses if miss > _MISSED]
    if off:
        log.warning(
            "draws miss their own readings at %d of %d times: by %.3g standard deviations of the noise at worst, so that they are no draws given "
            "these readings (the guidance has run away, or cannot follow readings so sharp); take Guided or TwistedSMC, more steps, or a larger std",
            *(len(off), len(misses), max(off)),
        )


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


_Job = tuple[np.ndarray | None, Tensor | None, list[tuple[Readings, Tensor]]]


def _scale(part: Readings, std: float | Sequence[float] | None, spec: FieldSpec) -> Tensor:
    """Standard deviations that broadcast against readings (C, T, n) of one kind; ones where the law of their noise has none."""
    if part.exact or not part.errors.needs_std:
        return torch.ones(1, dtype=torch.float64)
    if part.std is not None:
        bad = ~(part.std.isfinite() & (part.std > 0))
        if bool(bad.any()):
            got = float(part.std[bad][0])
            raise InputError(f"column 'std': expected positive finite numbers, got {got:g}; or say yes in a column 'exact'")
        return part.std
    if not part.look.plain:
        what = "line integrals" if part.look.derived is None else part.look.derived
        unit = " or ".join(part.look.units(spec))
        raise InputError(f"std: expected a column 'std' beside {what}, in {unit}, which is not the unit of the fields, got none; add it")
    if std is None:
        raise InputError("std: expected the standard deviation of the readings, got none; give --std, or a column 'std'")
    return torch.tensor(noise_of(std, part, spec), dtype=torch.float64).reshape(-1, 1, 1)


def _observation(part: Readings, y: Tensor, std: float | Sequence[float] | None, spec: FieldSpec) -> Observation:
    """Readings of one kind at their frames, y (C, T, n)."""
    noise = part.errors.built(_scale(part, std, spec), spec, part.look.places(part.points))
    return Observation(part.look.operator(spec, part.points), y, noise=noise)


def _obeying(ensemble: Ensemble, exact: list[tuple[Readings, Tensor]], spec: FieldSpec) -> Ensemble:
    """The ensemble moved onto all readings that are exact, together."""
    if not exact:
        return ensemble
    operators = [part.look.operator(spec, part.points) for part, _ in exact]
    seen = torch.cat([y.isfinite().flatten() for _, y in exact])
    value = torch.cat([y.flatten() for _, y in exact]).double()[seen]

    def read(x: Tensor) -> Tensor:
        return torch.cat([o(x).flatten(1) for o in operators], 1)[:, seen.to(x.device)]

    linear = all(isinstance(o, LinearOperator) for o in operators)
    members, count = len(ensemble.members), len(value)
    own = members > 2 * count + 2
    if not own:
        log.warning(
            "exact: %d members do not know the covariance along %d exact readings: draws are moved to the nearest fields that obey, which is no "
            "conditioning; take more than %d members",
            *(members, count, 2 * count + 2),
        )
    operator = MappedLinear(read, spec) if linear else Mapped(read, spec)
    return constrain(ensemble, operator, value.to(ensemble.members.device), metric="ensemble" if own else None)


def _unconditional(prior: DiffusionPrior, readings: Readings, initial: xr.Dataset | np.generic | float | None) -> Iterator[_Job]:
    """Every time that was read, for a prior of single frames; else the one window that begins at the given time, or at the first reading."""
    spec = prior.spec
    timed = any(part.times is not None for part in readings.parts())
    data, first = (initial, None) if isinstance(initial, xr.Dataset) else (None, initial)
    one = spec.with_frames(1)
    statics = {} if data is None else TrajectoryWindows(data, history=0, horizon=1, spec=one, statics=static_names(prior)).static_fields

    def told(times: np.ndarray | None) -> Tensor | None:
        if prior.cond_spec is None or prior.cond_transform is None:
            return None
        if times is None and set(FORCINGS) & set(prior.cond_spec.names):
            raise DataError("reconstruct: expected a column 'time' in the readings, for this prior depends on the time of day, got none")
        unknown = torch.full((1, *spec.shape), torch.nan)
        return condition(spec, prior.cond_spec.names, unknown, times=times, statics=statics, fill=prior.cond_transform.fill)

    if spec.frames > 1:
        if not timed:
            raise DataError(f"reconstruct: expected a column 'time' in the readings, for windows of {spec.frames} frames, got none")
        frames = _frame_times(spec, readings.moments()[0] if first is None else first)
        yield frames, told(frames), [(part, _placed(part, spec, frames, 0)) for part in readings.parts()]
        return
    for moment in readings.moments():
        times = np.array([moment]) if timed else None
        yield times, told(times), [(part, part.values[:, None]) for part in readings.at(moment).parts()]


def _window(prior: DiffusionPrior, readings: Readings, initial: xr.Dataset, known: int) -> Iterator[_Job]:
    assert prior.cond_spec is not None and prior.cond_transform is not None
    spec = prior.spec
    starts = KnownFrames(initial, history=known, spec=spec.with_frames(known), statics=static_names(prior))
    if starts.trajectories > 1:
        raise DataError(f"reconstruct: expected known frames of one trajectory, got {starts.trajectories} samples; write one to a file of its own")
    last = len(starts) - 1
    times = starts.times(last, ahead=spec.frames - known)
    placed = [(part, _placed(part, spec, times, known)) for part in readings.parts()]
    window = torch.full((1, *spec.shape), torch.nan)
    window[0, :, :known] = starts.frames(0, last)
    names, fill = prior.cond_spec.names, prior.cond_transform.fill
    yield times, condition(spec, names, window, times=times, statics=starts.static_fields, fill=fill), placed


def _placed(readings: Readings, spec: FieldSpec, times: np.ndarray, known: int) -> Tensor:
    """The readings at their frames (C, T, n), NaN at the others; without times at the last one, exact ones at all to come."""
    count = readings.points.shape[0]
    y = torch.full((len(readings.values), spec.frames, count), torch.nan)
    if readings.times is None:
        first = known if readings.exact else spec.frames - 1
        y[:, first:] = readings.values[:, None]
        return y
    where = positions_of(readings.times, times)
    early = (where >= known) & (where - readings.look.span + 1 < 0)
    if early.any():
        got = f"{readings.look.span} up to {show_time(readings.times[np.flatnonzero(early)[0]])}"
        raise DataError(f"readings: expected means over frames of the window, which begins at {show_time(times[0])}, got one over {got}; drop it")
    if (where < known).any():
        bad, span = readings.times[np.flatnonzero(where < known)[0]], f"{show_time(times[known])} to {show_time(times[-1])}"
        what = f"the {spec.frames - known} frames to come, {span}" if known else f"the window, {span} by {spec.dt:g} {spec.time_unit}"
        raise DataError(f"readings: expected times of {what}, got {show_time(bad)}; drop it{'' if known else ' or set initial'}")
    y[:, torch.from_numpy(where), torch.arange(count)] = readings.values
    return y


def _frame_times(spec: FieldSpec, first: np.generic | float) -> np.ndarray:
    """Times of the frames of a window, from the first on."""
    if isinstance(first, np.datetime64):
        if spec.time_unit != "s":
            raise DataError(f"initial: expected a number, in {spec.time_unit}, as this prior's times are, got the date {show_time(first)}")
        return np.asarray(first + np.round(np.arange(spec.frames) * spec.dt * 1e9).astype("timedelta64[ns]"))
    return np.asarray(float(first) + np.arange(spec.frames) * spec.dt)
