"""``physdiff assimilate``."""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.cli.device import best_device
from physdiff.cli.generate import grid_for, state_for
from physdiff.cli.infer import METHODS
from physdiff.cli.options import check_at_least, checked_file, checked_folder, cut_to, opened_for
from physdiff.cli.parse import command_line
from physdiff.cli.threads import threads_for
from physdiff.data.convert import spec_of, to_tensor
from physdiff.data.field_statistics import check_like
from physdiff.data.open import open_dataset
from physdiff.data.timeline import as_times, show_time
from physdiff.data.windows import TrajectoryWindows
from physdiff.data.write import write_dataset
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.analysis import Analysis, KalmanAnalysis, ParticleAnalysis, PosteriorAnalysis
from physdiff.forecast.assimilate import assimilate as assimilated
from physdiff.forecast.forecast_models import PriorModel, SolverModel
from physdiff.forecast.readings import Readings, read_readings
from physdiff.forecast.rollout import history_of, static_names
from physdiff.forecast.twin import assimilation_scores, twin_experiment
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.pde import PDE
from physdiff.report.assimilation_page import assimilation_report
from physdiff.report.html import run_facts
from physdiff.report.posterior_page import Readings as Shown
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper import Stepper
from physdiff.solvers.stepper_for import stepper_for

__all__ = ["Real", "Twin", "Update", "assimilate"]

_KALMAN = ("etkf", "enkf", "letkf", "eki")


@dataclass(frozen=True)
class Update:
    """How readings change the ensemble.

    Args:
        method: etkf, enkf, letkf or eki (ensemble Kalman), particles, or with a prior a posterior sampler of the verb infer, as Guided.
        members: Number of members.
        inflation: Factor of the anomalies after each analysis (ensemble Kalman), or adaptive: by the misfits of each cycle.
        radius: Of letkf: half of the distance at which a reading's influence ends; degrees on the sphere.
        jitter: Noise on resampled particles, as a share of the ensemble's standard deviation.
        steps: Steps of a posterior sampler; those of the prior if not given.
        every: Time steps between analyses; an analysis at every time that was read if not given.
        seed: Seed of everything random.
    """

    method: str = "etkf"
    members: int = 20
    inflation: float | Literal["adaptive"] = 1.0
    radius: float | None = None
    jitter: float = 0.0
    steps: int | None = None
    every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_one_of(self.method, (*_KALMAN, "particles", *METHODS), "analysis.method")
        for what, least in (("members", 2), ("steps", 1), ("every", 1), ("seed", 0)):
            check_at_least(getattr(self, what), least, f"analysis.{what}")

    @property
    def built(self) -> Analysis:
        """The analysis."""
        if self.method in _KALMAN:
            return KalmanAnalysis(self.method, inflation=self.inflation, radius=self.radius)
        if self.method == "particles":
            return ParticleAnalysis(jitter=self.jitter)
        return PosteriorAnalysis(METHODS[self.method](steps=self.steps))


@dataclass(frozen=True)
class Twin:
    """A twin experiment: truth and readings made by the law itself.

    Args:
        dt: Time step between frames, in the law's unit.
        spin_up: Time solved and thrown away before, so that states are the law's own.
        count: Number of readings in time.
        every: Time steps from one reading to the next.
        sensors: Number of places that are read, drawn at random; every grid point if not given.
        substeps: Solver steps between frames; by half the stable limit if not given.
    """

    dt: float = 0.05
    spin_up: float = 5.0
    count: int = 100
    every: int = 1
    sensors: int | None = None
    substeps: int | None = None

    def __post_init__(self) -> None:
        check_positive(self.dt, "twin.dt")
        check_positive(self.spin_up, "twin.spin_up", zero=True)
        for what in ("count", "every", "sensors", "substeps"):
            check_at_least(getattr(self, what), 1, f"twin.{what}")


@dataclass(frozen=True)
class Real:
    """Real readings and a trained prior.

    Args:
        prior: File of a prior given known frames.
        sensors: CSV table of readings: places, time, and a column per field, as ``t2m [K]``.
        initial: Data whose last frames before the first reading are the known ones, with the static fields that the prior is told.
        truth: Data that hold the true fields, for scores; also of a forecast without readings.
    """

    prior: str | None = None
    sensors: str | None = None
    initial: str | list[str] | None = None
    truth: str | None = None


def assimilate(
    out: str,
    *,
    std: float | list[float],
    pde: PDE | None = None,
    grid: CartesianGrid | None = None,
    analysis: Update = Update(),  # noqa: B008 - a frozen value
    twin: Twin = Twin(),  # noqa: B008 - a frozen value
    real: Real = Real(),  # noqa: B008 - a frozen value
) -> None:
    """Forecast an ensemble and correct it by readings, cycle after cycle; run again to go on after an interruption.

    With a law (``--pde Lorenz96 --grid.shape 40 --grid.extent 40 --std 1``) a twin experiment: truth and readings come from the law. With a prior
    (``--real.prior FILE --real.sensors FILE --real.initial FILE``) real readings.

    Args:
        out: netCDF file to write: fields after and before each analysis, dims (member, time, space), and a record of every
            cycle; a page goes to ``out.report``.
        std: Standard deviation of the readings' noise, in the field's unit; one for all fields or one for each.
        pde: The law of a twin experiment.
        grid: Its grid.
        analysis: How readings change the ensemble.
        twin: What the twin experiment is.
        real: Real readings and a prior.
    """
    begin, target, folder = time.monotonic(), checked_file(out), checked_folder(f"{out}.report")
    shown = None
    for each in [std] if isinstance(std, float | int) else std:
        check_positive(each, "std")
    if (pde is None) == (real.prior is None):
        raise InputError("assimilate: expected a law (--pde, a twin experiment) or a prior (--real.prior), got both or neither")
    if pde is not None:
        if grid is None:
            raise InputError("grid: expected the grid of the law, as in --grid.shape 40, got none")
        result = _twin(stepper_for(pde, grid_for(pde, grid)), analysis, twin, std=std, out=out)
    else:
        result, readings = _real(analysis, real, std=std, out=out)
        shown = Shown(readings.points.numpy(), {}, readings.times)
    path = write_dataset(result, target, command=command_line())
    cycles, count, seconds = result.sizes["cycle"], int(result["readings"].sum()), time.monotonic() - begin
    print(f"wrote {analysis.members} members at {result.sizes['time']} times, {cycles} cycles, {count} readings, to {path} in {seconds:.0f} s")
    print(f"innovation ratio {float(np.sqrt((result['innovation'] ** 2).mean())):.3g} (1: spread and noise are right)")
    _say_scores(result)
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    print(f"wrote {assimilation_report(folder, result, readings=shown, facts=facts)}")


def _twin(stepper: Stepper, update: Update, twin: Twin, *, std: float | list[float], out: str) -> xr.Dataset:
    model = SolverModel(stepper, twin.dt, substeps=twin.substeps)
    rng, shape = Rng(update.seed), model.spec.grid.shape
    with threads_for(math.prod(shape)):
        drawn = state_for(stepper, None).sample(
            stepper.pde,
            stepper.operators,
            grid=model.spec.grid,
            indices=range(update.members + 1),
            rng=rng.child("state"),
            like=torch.zeros(1).double(),
        )
        if twin.spin_up:
            span = torch.linspace(-twin.spin_up, 0, max(2, round(twin.spin_up / twin.dt) + 1), dtype=torch.float64)
            drawn = {name: v[:, -1] for name, v in solve(stepper, drawn, span, substeps=twin.substeps).items()}
        states = torch.stack([drawn[name] for name in model.spec.names], 1)[:, :, None]
        places = None if twin.sensors is None else _places(model, twin.sensors, rng)
        return twin_experiment(
            model, states[0], states[1:], analysis=update.built, std=std, rng=rng.child("twin"), sensors=(places, twin.every, twin.count), out=out
        )


def _places(model: SolverModel, count: int, rng: Rng) -> Tensor:
    """Grid points drawn at random, (count, ndim)."""
    points = torch.stack([c.double().flatten() for c in model.spec.grid.coordinates()], 1)
    if "latitude" in model.spec.grid.dims:
        points = torch.rad2deg(points)
    if count > len(points):
        raise InputError(f"twin.sensors: expected at most the {len(points)} grid points, got {count}")
    return points[rng.child("places").permutation(len(points))[:count]]


def _real(update: Update, real: Real, *, std: float | list[float], out: str) -> tuple[xr.Dataset, Readings]:
    for what in ("sensors", "initial"):
        if getattr(real, what) is None:
            raise InputError(f"real.{what}: expected a file beside real.prior, got none")
    prior = WindowPrior.load(real.prior or "").to(best_device())
    names, history = list(prior.spec.names), history_of(prior)
    readings = read_readings(real.sensors or "", prior.spec).only_points("assimilate")
    if readings.times is None:
        raise DataError(f"{real.sensors}: expected a column 'time', got none; every reading needs its time")
    before = opened_for(real.initial or "", prior)
    prior.check_grid(spec_of(before[names], names, gaps=True), "real.initial")
    check_like(before[names], read(real.prior or "")[1].get("statistics", {}), "real.initial")
    times = as_times(before["time"].values)
    chosen = np.flatnonzero(times < readings.times.min())[-history:]
    if len(chosen) < history:
        first = show_time(readings.times.min())
        raise DataError(f"real.initial: expected {history} frames before the first reading at {first}, got {len(chosen)}; give earlier data")
    fixed = TrajectoryWindows(before, history=0, horizon=1, spec=prior.spec.with_frames(1), statics=static_names(prior))
    model = PriorModel(prior, statics=fixed.static_fields)
    known = to_tensor(before.isel(time=chosen), prior.spec.with_frames(history)).repeat(update.members, *[1] * (prior.spec.grid.ndim + 2))
    start, rng = times[chosen[-1]], Rng(update.seed)
    result = assimilated(model, (known, start), readings, analysis=update.built, std=std, rng=rng, every=update.every, out=out)
    if real.truth is None:
        return result, readings
    truth = cut_to(open_dataset(real.truth, variables=names), prior.spec.grid)
    prior.check_grid(spec_of(truth, names, gaps=True), "real.truth")
    free = model.forecast(known, start, steps=result.sizes["time"], rng=rng.child("free"))
    for c, name in enumerate(names):
        field = result[name].variable
        told = f"{field.attrs.get('long_name', name)}, forecast without readings"
        result[f"{name}_free"] = xr.Variable(field.dims, free[:, c].numpy(), {**field.attrs, "long_name": told})
    return assimilation_scores(result, truth), readings


def _say_scores(result: xr.Dataset) -> None:
    """A line per field: means over the second half of the times, when the start is forgotten."""
    half = result.isel(time=slice(result.sizes["time"] // 2, None))
    for name in (n for n in result.data_vars if f"rmse_{n}_forecast" in result):
        for tag, what in (("", "analysis"), ("_forecast", "forecast"), ("_free", "no readings")):
            if f"rmse_{name}{tag}" in result:
                found = {k: float(half[f"{k}_{name}{tag}"].mean()) for k in ("rmse", "spread", "crps", "coverage") if f"{k}_{name}{tag}" in half}
                print(f"{what:12} {name:10} " + "  ".join(f"{k} {v:.3g}" for k, v in found.items()))
