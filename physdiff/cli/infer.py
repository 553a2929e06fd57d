"""``physdiff infer``."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.base.checks import check_one_of
from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.cli.device import best_device
from physdiff.cli.options import Times, check_at_least, checked_file, checked_folder, cut_to, opened_for
from physdiff.cli.parse import command_line
from physdiff.cli.processes import joined_processes, processes
from physdiff.cli.scoring import standard_scores
from physdiff.data.convert import spec_of
from physdiff.data.field_statistics import check_like
from physdiff.data.leads import positions_of
from physdiff.data.open import open_dataset
from physdiff.data.timeline import as_times, show_time
from physdiff.data.write import write_dataset
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.optimal_interpolation import FieldCovariance, field_covariance, optimal_interpolation
from physdiff.forecast.look import Errors
from physdiff.forecast.readings import Readings, read_readings
from physdiff.forecast.reconstruct import noise_of, parameters_of, reconstruct
from physdiff.forecast.rollout import known_frames, static_names
from physdiff.inference.diffusion_path import count_of
from physdiff.inference.ensemble_guided import EnsembleGuided
from physdiff.inference.ensemble_posterior import EnsembleKalman
from physdiff.inference.feynman_kac import AnnealedSMC
from physdiff.inference.guided import Guided
from physdiff.inference.hmc import HMC, NUTS
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import PosteriorSampler
from physdiff.inference.restoration import Restoration
from physdiff.inference.sharding import Sharded
from physdiff.inference.splitting import DAPS, DiffPIR, REDDiff, SplitGibbs
from physdiff.inference.tempered_smc import TemperedSMC
from physdiff.inference.twisted_smc import TwistedSMC
from physdiff.report.html import run_facts
from physdiff.report.posterior_page import Readings as Shown, posterior_report_page

__all__ = ["Against", "Asked", "drawn", "infer", "interpolated"]

log = logging.getLogger(__name__)

METHODS: dict[str, Callable[..., PosteriorSampler]] = {
    "Guided": Guided,
    "FKC": partial(AnnealedSMC, guidance=0.5),
    "AFDPS": partial(AnnealedSMC, guidance=1.0),
    "BootstrapSMC": partial(AnnealedSMC, guidance=0.0),
    "TwistedSMC": TwistedSMC,
    "TemperedSMC": TemperedSMC,
    "EKI": partial(EnsembleKalman, "eki"),
    "ETKF": partial(EnsembleKalman, "etkf"),
    "EnKF": partial(EnsembleKalman, "enkf"),
    "EnKG": EnsembleGuided,
    "HMC": HMC,
    "NUTS": NUTS,
    "DPS": partial(Guided, spread="residual"),
    "PiGDM": partial(Guided, spread="unit"),
    "MMPS": partial(Guided, spread="moments"),
    "SDA": partial(Guided, spread="readings", strength=0.01),
    "MCG": partial(Restoration, "MCG"),
    "DDRM": partial(Restoration, "DDRM"),
    "DDNM": partial(Restoration, "DDNM"),
    "DiffPIR": DiffPIR,
    "DAPS": DAPS,
    "SplitGibbs": SplitGibbs,
    "REDDiff": REDDiff,
}
_WEIGHTED = ("FKC", "AFDPS", "BootstrapSMC", "TwistedSMC", "TemperedSMC")  # their particles can be on several processes


@dataclass(frozen=True)
class Against:
    """How the draws are made, and what they are compared with, if they are to be.

    Args:
        truth: Data that hold the true fields; gives scores and a report beside the output.
        train: Data from which optimal interpolation takes its covariance.
        stop: Last time of them used.
        seed: Seed of all draws.
        steps: Sampler steps; those of the prior if not given.
    """

    truth: str | None = None
    train: str | None = None
    stop: str | None = None
    seed: int = 0
    steps: int | None = None


def infer(
    prior: str,
    sensors: str | list[str],
    out: str,
    *,
    std: float | list[float] | Errors | None = None,
    method: str = "Guided",
    members: int = 20,
    initial: str | float | list[str] | None = None,
    against: Against = Against(),  # noqa: B008 - a frozen value
) -> None:
    """Draw fields from the posterior given readings.

    With ``--law.pde`` and the like beside them, the law is an observation too (``--law.pde Burgers --help`` tells these options).

    Args:
        prior: File of the prior: one of single frames or of windows without a past (trained with ``--recipe.history 0``), or one given known frames.
        sensors: CSV table: places (longitude, latitude or x, y), ``time`` if there are several, and a column per field, as ``t2m [K]``; or
            netCDF: a CF table of stations, or fields on the prior's grid with gaps or on a coarser one. Further columns say more: ``fwhm`` (beams),
            ``longitude_end, latitude_end`` (lines), ``time_start`` (means over time), ``wind_speed(u v)``, ``std``, ``exact``. Several files in
            brackets.
        out: netCDF file to write, dims (member, time, space).
        std: Standard deviation of the noise of the readings, in the field's unit; ``[0.3, 1]`` for two fields, in the prior's order. For another
            law of noise ``--std.scale 0.3 --std.law StudentNoise``, ``--std.length 1e5`` for errors that go together.
        method: Posterior sampler; ``Guided``, or by weighted particles ``FKC``, ``AFDPS``, ``BootstrapSMC``, ``TwistedSMC``, ``TemperedSMC``;
            by the ensemble's own covariances ``EKI``, ``ETKF``, ``EnKF``, ``EnKG``; by chains ``HMC``, ``NUTS``; or a heuristic ``DPS``, ``PiGDM``,
            ``MMPS``, ``SDA``, ``MCG``, ``DDRM``, ``DDNM``, ``DiffPIR``, ``DAPS``, ``SplitGibbs``, ``REDDiff`` (a point). Under torchrun
            the particles of the first five are shared out over its processes.
        members: Number of draws.
        initial: Data whose last frames are the known ones, for a prior that needs them; data with the static fields of a prior without a past that is
            told some; for other windows without a past the time of the first frame, that of the first reading if not given.
        against: What the result is compared with.
    """
    drawn(prior, sensors, out, asked=Asked(std, method, members, initial, against))


@dataclass(frozen=True)
class Asked:
    """What is drawn, as the verb takes it; `shared` as of `Guided`.

    Raises:
        PhysdiffError: If one of them makes no sense.
    """

    std: float | list[float] | Errors | None
    method: str
    members: int
    initial: str | float | list[str] | None
    against: Against
    shared: bool = False

    def __post_init__(self) -> None:
        check_one_of(self.method, METHODS, "infer method")
        if processes() > 1 and self.method not in _WEIGHTED:
            raise InputError(
                f"infer method: expected one of {', '.join(_WEIGHTED)} on {processes()} processes, which share its particles out, "
                f"got {self.method}; start it without torchrun"
            )
        wholes = (("members", self.members, 1), ("against.steps", self.against.steps, 1), ("against.seed", self.against.seed, 0))
        for what, value, least in wholes:
            check_at_least(value, least, what)

    @property
    def errors(self) -> Errors:
        """The law of the readings' noise."""
        return self.std if isinstance(self.std, Errors) else Errors(self.std)

    def sampler(self) -> PosteriorSampler:
        """The method, its particles on all processes there are."""
        more: dict[str, object] = {"shared": True} if self.shared and self.method == "Guided" else {}
        if processes() > 1:
            count = count_of(None, self.members, self.method)
            more["particles"] = count if isinstance(count, Sharded) else Sharded(count)
        return METHODS[self.method](steps=self.against.steps, **more)


Laws = Callable[[DiffusionPrior], Sequence[Observation]]


def drawn(prior: str, sensors: str | list[str], out: str, *, asked: Asked, laws: Laws = lambda prior: ()) -> None:
    """What `infer` does, beside laws as observations; on several processes the first one writes."""
    with joined_processes() as first:
        _drawn((prior, sensors, out), asked, laws, first=first)


def _drawn(paths: tuple[str, str | list[str], str], asked: Asked, laws: Laws, *, first: bool) -> None:
    prior, sensors, out = paths
    begin, against, errors = time.monotonic(), asked.against, asked.errors
    target = checked_file(out)
    folder = checked_folder(f"{out}.report")
    model = DiffusionPrior.load(prior).to(best_device())
    files = [read_readings(path, model.spec) for path in ([sensors] if isinstance(sensors, str) else sensors)]
    readings = replace(files[0], more=(*files[0].more, *files[1:])).under(errors)
    start, card = _start(model, asked.initial), read(prior)[1].get("statistics", {})
    if isinstance(start, xr.Dataset):
        check_like(start, card, "initial")
    timed = any(part.times is not None for part in readings.parts())
    moments = None if start is not None and not timed else readings.moments()
    truth = None if against.truth is None else _truth(model, against.truth, moments)
    if truth is not None:
        check_like(truth, card, "against.truth")
    law = None if against.train is None or truth is None or not _for_interpolation(readings) else _law(model, against)
    if against.train is not None and (truth is None or law is None):
        log.warning(
            "against.train is not used: optimal interpolation is compared only with against.truth, at readings of fields at points that "
            "have times, with one normal std for each field"
        )
    sampler, observed = asked.sampler(), laws(model)
    result = reconstruct(model, readings, sampler, std=errors.scale, members=asked.members, rng=Rng(against.seed), initial=start, laws=observed)
    if not first:
        return
    path = write_dataset(result, target, command=command_line())
    count = sum(int(part.values.isfinite().sum()) for part in readings.parts())
    print(f"wrote {asked.members} draws at {_span(result)} from {count} readings to {path} in {time.monotonic() - begin:.0f} s")
    for name in parameters_of(model):
        _tell_parameter(result[name], truth)
    if truth is not None:
        found = {"posterior": result}
        if law is not None and errors.scale is not None:
            noise = noise_of(errors.scale, readings, model.spec)
            found["optimal interpolation"] = interpolated(law, readings, std=noise, members=asked.members, rng=Rng(against.seed).child("oi"))
        _compare(model, readings, found, truth=truth, folder=folder)


def _span(result: xr.Dataset) -> str:
    """How many times, and which where they are known."""
    said = f"{result.sizes['time']} times"
    if "time" not in result.coords:
        return said
    first, last = (show_time(as_times(result["time"].values)[k]) for k in (0, -1))
    return f"{said}, {first} to {last}," if first != last else f"{said}, {first},"


def _tell_parameter(draws: xr.DataArray, truth: xr.Dataset | None) -> None:
    """Print the posterior of a parameter of a law."""
    low, middle, high = np.quantile(draws.values, [0.05, 0.5, 0.95])
    true = "" if truth is None else f"; truth {float(truth[draws.name].values.reshape(-1)[0]):.4g}"
    print(f"{draws.name}: median {middle:.4g}, 90 % of the draws from {low:.4g} to {high:.4g}{true}")


def _start(model: DiffusionPrior, initial: str | float | list[str] | None) -> xr.Dataset | np.generic | float | None:
    """What comes first: known frames or static fields, read from a file, or the time of the first frame of a window without a past."""
    if initial is None or isinstance(initial, int | float):
        return initial
    if known_frames(model) > 0 or model.spec.frames == 1 or static_names(model):
        return opened_for(initial, model)
    if not isinstance(initial, str):
        raise DataError(f"initial: expected the time of the first frame, a number or a date as 2019-03-16T05:00, got {', '.join(initial)}")
    try:
        return float(initial)
    except ValueError:
        pass
    try:
        return np.datetime64(initial, "ns")
    except ValueError as error:
        raise DataError(f"initial: expected the time of the first frame, a number or a date as 2019-03-16T05:00, got {initial!r}") from error


def _truth(model: DiffusionPrior, path: str, moments: np.ndarray | None) -> xr.Dataset:
    """The true fields, on the prior's grid and at some of the times that were read, before any work is done."""
    truth = cut_to(open_dataset(path, variables=list(model.spec.names)), model.spec.grid)
    model.check_grid(spec_of(truth, model.spec.names, gaps=True), "against.truth")
    if truth.sizes.get("sample") == 1:
        truth = truth.isel(sample=0)
    times = as_times(truth["time"].values)
    if moments is not None and (positions_of(moments, times) < 0).all():
        got = f"{show_time(times.min())} to {show_time(times.max())}"
        raise DataError(f"against.truth: expected some of the times that were read, {show_time(moments[0])} to {show_time(moments[-1])}; got {got}")
    return truth


def _for_interpolation(readings: Readings) -> bool:
    """Whether optimal interpolation can take the readings."""
    only = len(readings.parts()) == 1 and readings.times is not None and readings.std is None and not readings.exact
    errors = readings.errors
    return only and readings.look.at_points and errors == Errors(errors.scale)


def _compare(model: DiffusionPrior, readings: Readings, found: dict[str, xr.Dataset], *, truth: xr.Dataset, folder: Path) -> None:
    names = [n for n in model.spec.names if n not in parameters_of(model)]
    found = {name: ds[names] for name, ds in found.items()}
    tables = {name: evaluate(ds, truth, standard_scores(ds.sizes["member"]), by=()) for name, ds in found.items()}
    for name, table in tables.items():
        for variable in names:
            row = table.sel(variable=variable)
            print(f"{name:24} {variable:10} " + "  ".join(f"{k} {float(v):.3g}" for k, v in row.data_vars.items() if v.ndim == 0))
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    shown = None
    if readings.look.at_points:  # the page compares readings at points
        shown = Shown(readings.points.numpy(), {name: readings.values[model.spec.channel(name)].numpy() for name in names}, readings.times)
    print(f"wrote {posterior_report_page(folder, found['posterior'], readings=shown, truth=truth, tables=tables, facts=facts)}")


def _law(model: DiffusionPrior, against: Against) -> FieldCovariance:
    """The Gaussian law of the training data that optimal interpolation takes."""
    train = opened_for(against.train or "", model, Times(stop=against.stop))
    model.check_grid(spec_of(train, model.spec.names, gaps=True), "against.train")
    return field_covariance(train)


def interpolated(train: xr.Dataset | FieldCovariance, readings: Readings, *, std: float | Sequence[float], members: int, rng: Rng) -> xr.Dataset:
    """Optimal interpolation of every time's readings, members as the posterior's."""
    law = train if isinstance(train, FieldCovariance) else field_covariance(train)
    parts = []
    for k, moment in enumerate(readings.moments()):
        now = readings.at(moment)
        analysis = optimal_interpolation(law, now.points, now.values, std=std, time=moment, members=members, rng=rng.child(k))
        parts.append(analysis.members)
    return xr.concat(parts, dim="time")
