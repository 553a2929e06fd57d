"""``physdiff demo``: the whole chain on turbulence that it generates itself."""

from __future__ import annotations

import csv
import datetime
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.cli.evaluate import baseline_forecasts, joined, show_table
from physdiff.cli.fit import train_prior
from physdiff.cli.options import Training, check_at_least, checked_folder
from physdiff.cli.parse import command_line
from physdiff.cli.scoring import standard_scores
from physdiff.cli.threads import threads_for
from physdiff.data.convert import to_tensor
from physdiff.data.generate import generate
from physdiff.data.split import split_samples
from physdiff.data.write import write_dataset
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.evaluation.evaluate import evaluate
from physdiff.forecast.readings import Readings, read_readings
from physdiff.forecast.reconstruct import reconstruct
from physdiff.forecast.rollout import Rollout
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.interpolate import interpolation
from physdiff.inference.guided import Guided
from physdiff.networks.unet import UNet
from physdiff.operators.spectral import Spectral
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.report.forecast_page import forecast_sections, training_section
from physdiff.report.html import Section, run_facts, write_report
from physdiff.report.posterior_page import Readings as Shown, posterior_sections
from physdiff.scores.spectrum import band_power_ratio
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField
from physdiff.training.recipe import Recipe

__all__ = ["Size", "demo", "turbulence"]

_STEP = 0.25
_NOISE = 0.3
_FIELD = "vorticity"


@dataclass(frozen=True)
class Size:
    """How large the demo is; the defaults take 3 to 5 minutes on two cores.

    Args:
        points: Grid points along each side of the box.
        samples: Trajectories generated; the last sixth is for testing.
        frames: Frames per trajectory.
        cases: Forecasts.
        lead: Frames forecast.
        seconds: Training budget.
        floor: Least number of training steps.
        sensors: Share of grid points that have a sensor.
    """

    points: int = 64
    samples: int = 84
    frames: int = 40
    cases: int = 8
    lead: int = 20
    seconds: float = 140.0
    floor: int = 600
    sensors: float = 0.05

    def __post_init__(self) -> None:
        # windows of two known frames and four to come; forcing and spectra need some waves
        for what, least in (("points", 16), ("samples", 2), ("frames", 8), ("cases", 1), ("lead", 1), ("floor", 1)):
            check_at_least(getattr(self, what), least, f"size.{what}")
        check_positive(self.seconds, "size.seconds")
        if not 0 < self.sensors <= 1:
            raise InputError(f"size.sensors: expected a share above 0, at most 1, got {self.sensors}")


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
        print(f"   {self.seconds[name]:.1f} s", flush=True)


def demo(out: str = "demo", *, members: int = 20, seed: int = 0, size: Size = Size()) -> None:  # noqa: B008 - a frozen value
    """Generate forced turbulence, train a wavelet diffusion prior, forecast, score, reconstruct from sensors, and write a report.

    Args:
        out: Folder for all files; the report is ``report/index.html`` in it.
        members: Members of the ensembles.
        seed: Seed of everything.
        size: How large it all is.
    """
    folder, clock = checked_folder(out), _Clock()
    check_at_least(members, 1, "members")
    check_at_least(seed, 0, "seed")
    check_at_least(size.frames, size.lead + 2, "size.frames")  # two known ones before the first forecast
    with clock.stage("generate turbulence"):
        train, test = turbulence(folder, size, seed)
    with clock.stage("train the prior"):
        prior = _trained(folder, train, size, seed)
    with clock.stage("forecast"):
        start = float(test["time"].values[min(9, size.frames - size.lead - 1)])
        # one block of members of all cases at a time through the network
        forecast = Rollout(prior, size.lead, members, rng=Rng(seed).child("forecast")).run(test, [start], out=folder / "forecast.nc")
    with clock.stage("score against baselines"):
        tables = _scores(folder, forecast, train=train, test=test, members=members, seed=seed)
    with clock.stage("reconstruct from sensors"):
        found = _reconstructed(folder, prior, test, size=size, members=members, seed=seed)
    with clock.stage("write the report"):
        sections = [*forecast_sections(forecast, test, tables=tables), *found, _loss(folder)]
        facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
        text = "Two-dimensional turbulence, a diffusion surrogate trained on it in minutes, and what its uncertainty is worth."
        page = write_report(folder / "report", "physdiff demo", sections, facts=facts, timings=clock.seconds, summary=text)
    print(f"\n{show_table(tables, 'crps', _FIELD)}\n{show_table(tables, 'spread_skill', _FIELD)}\n{show_table(tables, 'fine_scale_power', _FIELD)}")
    print(f"\nwrote {page} in {sum(clock.seconds.values()):.0f} s; the netCDF files lie in {folder}")


def turbulence(folder: Path, size: Size, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Vorticity of Kolmogorov flow with drag on the box (2 pi)^2, written as CF netCDF; training and test trajectories."""
    grid = CartesianGrid((size.points, size.points), extent=2 * math.pi, length_unit="1")
    law = NavierStokes(viscosity=3e-3, drag=0.1, forcing=KolmogorovForcing(2.0, 4.0))
    times = [k * _STEP for k in range(size.frames)]
    start = RandomField(length=0.4, std=1.0)
    with threads_for(size.points**2):
        ds = generate(ETDRK4(law, Spectral(grid)), start, times, samples=size.samples, rng=Rng(seed), spin_up=10.0, substeps=5)
    path = write_dataset(ds, folder / "turbulence.nc", command=command_line())
    print(f"   {size.samples} trajectories of {size.frames} frames on {size.points} x {size.points} points in {path}")
    return split_samples(ds, at=size.samples - max(1, min(size.samples // 6, size.cases)))


def _trained(folder: Path, train: xr.Dataset, size: Size, seed: int) -> DiffusionPrior:
    recipe = Recipe(history=2, horizon=4, anomaly="none", guess="increment", wavelet="haar", levels=1)
    # the law does not depend on x: shifts along it are new data
    plan = Training(seconds=size.seconds, floor=size.floor, lr=2e-3, ema=0.995, input_noise=0.0, roll=["x"], seed=seed)
    checkpoints = folder / "turbulence.prior.fit"
    shutil.rmtree(checkpoints, ignore_errors=True)  # other data, made anew
    prior = train_prior(train, recipe, training=plan, network=partial(UNet, dropout=0.0), folder=checkpoints)
    assert isinstance(prior, DiffusionPrior)  # the recipe says so
    path = prior.save(folder / "turbulence.prior", card={"command": command_line(), "seed": seed})
    print(f"   prior in {path}")
    return prior


def _scores(folder: Path, forecast: xr.Dataset, *, train: xr.Dataset, test: xr.Dataset, members: int, seed: int) -> dict[str, xr.Dataset]:
    forecasts = {"diffusion": forecast, **baseline_forecasts(test, forecast, train=train, members=members, rng=Rng(seed).child("baselines"))}
    power = band_power_ratio(0.375, 0.6, zonal=True)
    tables = {}
    for name, fc in forecasts.items():
        tables[name] = evaluate(fc, test, {**standard_scores(fc.sizes.get("member", 1)), "fine_scale_power": power})
    write_dataset(joined(tables), folder / "scores.nc", command=command_line())
    return tables


def _reconstructed(folder: Path, prior: DiffusionPrior, test: xr.Dataset, *, size: Size, members: int, seed: int) -> list[Section]:
    """The field a horizon after two known frames, from that forecast and readings at a few points."""
    rng, horizon = Rng(seed).child("sensors"), prior.spec.frames - 2
    one = test.isel(sample=0)
    window = one.isel(time=slice(0, 2 + horizon))
    truth = window.isel(time=slice(2, None))
    readings = _read(folder, prior, truth, size=size, rng=rng)
    drawn = reconstruct(prior, readings, Guided(), std=_NOISE, members=members, rng=rng.child("draws"), initial=window.isel(time=slice(0, 2)))
    write_dataset(drawn, folder / "posterior.nc", command=command_line())
    blind = Rollout(prior, horizon, members, rng=rng.child("blind")).run(window, [float(window["time"].values[1])])
    blind = blind.isel(init_time=0, drop=True).rename(lead_time="time").assign_coords(time=truth["time"].values)
    last = {"time": [horizon - 1]}
    ends = {"with sensors": drawn.isel(last), "forecast without sensors": blind.transpose("member", ...).isel(last)}
    tables = {name: evaluate(ds, truth.isel(last), standard_scores(members), by=()) for name, ds in ends.items()}
    for name, table in tables.items():
        print(f"   {name:26}" + "  ".join(f"{k} {float(v.sel(variable=_FIELD)):.3g}" for k, v in table.data_vars.items()))
    shown = Shown(readings.points.numpy(), {_FIELD: readings.values[0].numpy()}, readings.times)
    sections = posterior_sections(ends["with sensors"], readings=shown, truth=truth.isel(last), tables=tables)
    return [replace(s, title=f"From sensors: {s.title}") for s in sections]


def _read(folder: Path, prior: DiffusionPrior, truth: xr.Dataset, *, size: Size, rng: Rng) -> Readings:
    """Noisy readings of the last frame at random places, through a CSV table as a user has it."""
    grid = prior.spec.grid
    count = max(1, round(size.sensors * size.points**2))
    points = rng.child("places").uniform((count, 2), like=torch.empty((), dtype=torch.float64)) * 2 * math.pi
    field_now: Tensor = to_tensor(truth.isel(time=[-1]), prior.spec.with_frames(1))[0, 0, 0]
    values = interpolation(grid, points)(field_now.double()) + _NOISE * rng.child("noise").normal((count,), like=points)
    when = float(truth["time"].values[-1])
    path = folder / "sensors.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", "time", f"{_FIELD} [1]"])
        writer.writerows([f"{x:.6f}", f"{y:.6f}", when, f"{v:.6f}"] for (x, y), v in zip(points.tolist(), values.tolist(), strict=True))
    print(f"   {count} readings with noise of std {_NOISE:g} in {path}")
    return read_readings(path, prior.spec)


def _loss(folder: Path) -> Section:
    with (folder / "turbulence.prior.fit" / "log" / "metrics.csv").open(encoding="utf-8") as file:
        rows = [(float(r["step"]), float(r["loss"])) for r in csv.DictReader(file) if r.get("loss")]
    steps, loss = np.array(rows).T
    return training_section(steps, loss)
