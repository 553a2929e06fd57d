"""Initial state and viscosity together from 3 % of the space-time points, with a trained prior (needs about 15 minutes of one core for each law).

    python benchmarks/joint_posterior.py burgers --work FOLDER [--cases 50] [--members 20] [--methods ...] [--stages train,infer,table]

train: trajectories whose viscosity is drawn log-uniformly over a decade, carried as a constant channel; a diffusion prior of whole windows.
infer: for every held-out case 3 % of the points of all frames are read with noise of 5 % of the field's standard deviation, and `Guided` draws
windows given them: without the law, with its residual at a tolerance taken from true windows, with the residual at std 1; besides, draws without
readings. table: coverage of 90 % intervals, CRPS and error of the first frame and of log viscosity with standard errors over cases, size of the
residual; JSON lines to standard output. Every stage goes on where it was stopped; FOLDER keeps the priors and the scores of every case.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from solver_posterior import SolverPosterior, real_modes
from torch import Tensor
from torch.utils.data import Dataset, Subset

from physdiff import (
    ETDRK4,
    PDE,
    Burgers,
    CartesianGrid,
    DiffusionModule,
    DiffusionPrior,
    ExponentialMultistep,
    FieldSpec,
    Guided,
    NavierStokes,
    Observation,
    Operator,
    PhysicsResidual,
    Posterior,
    Recipe,
    Rng,
    Sensors,
    Spectral,
    TrajectoryDataModule,
    UNet,
    calibrated,
    coverage,
    crps,
    fit,
    generate,
    prepare,
    solve,
)
from physdiff.data.convert import to_tensor
from physdiff.solvers.initial import RandomField
from physdiff.training.gaussian_base import with_gaussian
from physdiff.training.mode_base import with_modes

SHARE, NOISE, LEVEL = 0.03, 0.05, 0.9


@dataclass(frozen=True)
class Problem:
    """A law on a periodic box with viscosity between two numbers.

    Args:
        law: The law of a viscosity.
        field: Its field.
        shape: Grid of the unit box.
        initial: Law of the first frame.
        viscosity: Lowest and highest.
        frames: Number of frames.
        dt: Time between frames.
        substeps: Solver steps between frames.
        width: Of its network.
        samples: Number of training trajectories.
        copies: Of each, shifted.
        training: Steps of training.
    """

    law: Callable[..., PDE]
    field: str
    shape: tuple[int, ...]
    initial: RandomField
    viscosity: tuple[float, float]
    frames: int
    dt: float
    substeps: int
    width: int = 256
    samples: int = 3000
    copies: int = 1
    training: int = 1500

    @property
    def grid(self) -> CartesianGrid:
        """The unit box."""
        return CartesianGrid(self.shape, extent=(1.0,) * len(self.shape), periodic=True)


PROBLEMS = {
    "burgers": Problem(Burgers, "u", (128,), RandomField(0.15, std=0.5), (0.01, 0.1), 9, 0.025, 6),
    "navier_stokes": Problem(NavierStokes, "vorticity", (32, 32), RandomField(0.2, std=5.0), (0.002, 0.02), 5, 0.05, 8, 384, 3000, 2, 2000),
}


def trajectories(problem: Problem, samples: int, seed: int) -> xr.Dataset:
    """Trajectories, and their viscosity as a constant field."""
    low, high = problem.viscosity
    u = Rng(seed).child("viscosity").uniform((samples,), like=torch.empty((), dtype=torch.float64))
    viscosity = low * (high / low) ** u
    times = [k * problem.dt for k in range(problem.frames)]
    stepper = ETDRK4(problem.law(viscosity), Spectral(problem.grid))
    ds = generate(stepper, problem.initial, times, samples=samples, rng=Rng(seed), substeps=problem.substeps)
    shape = ds[problem.field].shape
    values = np.broadcast_to(viscosity.float().numpy().reshape(-1, *[1] * (len(shape) - 1)), shape)
    return ds.assign(viscosity=ds[problem.field].copy(data=values.copy()))


class Shifted(Dataset[dict[str, Any]]):
    """Windows, and copies of them shifted along the periodic axes: neither law depends on the place.

    Args:
        windows: (N, C, T, *S).
        spec: What they are.
        copies: Number of shifted copies of each.
    """

    cond_spec = None

    def __init__(self, windows: Tensor, spec: FieldSpec, copies: int) -> None:
        axes = tuple(range(2, 2 + spec.grid.ndim))
        shifts = [Rng(8).child(k).integers(0, min(spec.grid.shape), (len(windows), len(axes))).tolist() for k in range(copies)]
        moved = [torch.stack([w.roll(tuple(by), axes) for w, by in zip(windows, each, strict=True)]) for each in shifts]
        self.spec, self.x = spec, torch.cat([windows, *moved])

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One window."""
        return {"x": self.x[index], "index": index}


def train(problem: Problem, work: Path, seed: int = 0) -> None:
    """Make data and a prior; a run that was stopped goes on from its last checkpoint."""
    begin = time.process_time()
    ds = trajectories(problem, problem.samples, seed=1)
    recipe = Recipe(history=0, horizon=problem.frames, wavelet="none", gaussian="no", parameters=("viscosity",), steps=32)
    prior, _ = prepare(ds.isel(sample=slice(500)), recipe, network=partial(UNet, width=4), seed=seed)
    windows = Shifted(to_tensor(ds, prior.spec), prior.spec, problem.copies)
    # patterns of as many windows as have 25 million entries: the singular vectors of all planes are minutes of work, and say the same
    some = Subset(windows, range(0, len(windows), math.ceil(windows.x.numel() / 25e6)))
    prior = with_modes(with_gaussian(prior, some, patterns=True), problem.width, seed=seed)
    made = time.process_time() - begin
    data = TrajectoryDataModule(windows, batch_size=64, seed=seed)
    fit(DiffusionModule(prior, 2e-3, 0.995, seed=seed), data, max_steps=problem.training, out=work / "fit", progress=False)
    seconds = {"prepare_cpu_s": round(made), "fit_cpu_s": round(time.process_time() - begin - made)}
    prior.save(work / "prior", card=seconds)
    (work / "train.json").write_text(json.dumps({**seconds, "patterns": len(prior.denoiser.network.variances)}))


@dataclass(frozen=True, eq=False)
class Case:
    """One held-out trajectory and what was read of it.

    Args:
        truth: (C, T, *S).
        readings: Its sensors.
    """

    truth: Tensor
    readings: Observation


def spec_for(problem: Problem) -> FieldSpec:
    """Windows of the field and the viscosity."""
    return FieldSpec((problem.field, "viscosity"), ("1", "1"), problem.grid, problem.dt, problem.frames, time_unit="1")


def residual_of(problem: Problem) -> PhysicsResidual:
    """The residual of the law with each window's viscosity."""
    spec = spec_for(problem)
    return PhysicsResidual(problem.law(1.0), Spectral(spec.grid), spec, parameters={"viscosity": "viscosity"})


def cases(problem: Problem, count: int) -> list[Case]:
    """Held-out trajectories, each read at 3 % of its points in space and time with noise of 5 % of the field's standard deviation."""
    spec, made = spec_for(problem), []
    windows = to_tensor(trajectories(problem, count, seed=2), spec)
    channel = spec.channel(problem.field)
    std = NOISE * float(windows[:, channel].std())
    places = torch.stack([c.flatten() for c in spec.grid.coordinates()], 1)
    for i, truth in enumerate(windows):
        rng = Rng(3).child(i)
        total = spec.frames * len(places)
        chosen = rng.child("where").permutation(total)[: round(SHARE * total)]
        frame, place = torch.as_tensor(chosen) // len(places), torch.as_tensor(chosen) % len(places)
        values = truth[channel].flatten(1)[frame, place] + std * rng.child("noise").normal((len(chosen),))
        y = torch.full((1, spec.frames, len(chosen)), torch.nan)
        y[0, frame, torch.arange(len(chosen))] = values
        made.append(Case(truth, Observation(Sensors(spec, places[place], (problem.field,)), y, std=std)))
    return made


def laws(problem: Problem, prior: DiffusionPrior) -> dict[str, tuple[Observation, ...]]:
    """What is added to the readings: nothing, the residual at its tolerance, the residual at std 1."""
    residual, spec = residual_of(problem), spec_for(problem)
    at_tolerance = calibrated(residual, to_tensor(trajectories(problem, 64, seed=4), spec), dependent=True, prior=prior)
    return {
        "no law": (),
        "law, tolerance": (at_tolerance,),
        "law, std 1": (Observation(residual, 0.0, std=1.0),),
    }


def scored(problem: Problem, case: Case, members: Tensor) -> dict[str, float]:
    """Scores of draws (m, C, T, *S) of one case."""
    spec = spec_for(problem)
    field, parameter = spec.channel(problem.field), spec.channel("viscosity")
    first, truth = members[:, field, 0], case.truth[field, 0]
    log_nu, true_nu = members[:, parameter].flatten(1)[:, 0].log(), case.truth[parameter].flatten()[0].log()
    return {
        "state_coverage": float(coverage(first, truth, level=LEVEL).mean()),
        "state_crps": float(crps(first, truth).mean()),
        "state_rmse": float((first.mean(0) - truth).square().mean().sqrt()),
        "state_spread": float(first.var(0).mean().sqrt()),
        "window_coverage": float(coverage(members[:, field], case.truth[field], level=LEVEL).mean()),
        "log_nu_coverage": float(coverage(log_nu, true_nu, level=LEVEL)),
        "log_nu_crps": float(crps(log_nu, true_nu)),
        "log_nu_error": float(log_nu.mean() - true_nu),
        "log_nu_spread": float(log_nu.std()),
        "residual": float(residual_of(problem)(members).square().mean().sqrt()),
    }


def infer(problem: Problem, work: Path, *, count: int, members: int, methods: tuple[str, ...] = (), first: int = 0) -> None:
    """Draw and score, case after case from the first on; what is in the file already is left out."""
    prior, done = DiffusionPrior.load(work / "prior"), _rows(work / "cases.jsonl")
    added, sampler = laws(problem, prior), Guided(ExponentialMultistep(2, noise=1.0), 24, max_batch=members, shared=True)
    seen = {(row["case"], row["method"]) for row in done}
    for i, case in enumerate(cases(problem, count)):
        for method in ("no readings", *added):
            if i < first or (i, method) in seen or (methods and method not in methods):
                continue
            begin = time.process_time()
            if method == "no readings":
                draws, info = prior.sample(members, rng=Rng(6).child(i)), {}
            else:
                ensemble = sampler.sample(Posterior(prior, (case.readings, *added[method])), members, rng=Rng(5).child(i))
                draws, info = ensemble.members, {k: float(v.double().mean()) for k, v in ensemble.info.items()}
            row = {"case": i, "method": method, "cpu_s": time.process_time() - begin, **scored(problem, case, draws), **info}
            row["truth_residual"] = float(residual_of(problem)(case.truth[None]).square().mean().sqrt())
            _add(work, row)
            if i == 0:
                torch.save({"draws": draws, "truth": case.truth, "y": case.readings.y}, work / f"{method.replace(', ', '_').replace(' ', '_')}.pt")


def reference(problem: Problem, work: Path, *, count: int, members: int) -> None:
    """The posterior by the solver, for the first `count` cases."""
    spec, modes = spec_for(problem), real_modes(partial(smooth, problem), problem.shape)
    field, parameter = spec.channel(problem.field), spec.channel("viscosity")
    times = torch.arange(spec.frames, dtype=torch.float64) * problem.dt
    seen = {row["case"] for row in _rows(work / "cases.jsonl") if row["method"] == "solver"}

    def solved(first: Tensor, viscosity: Tensor) -> Tensor:
        stepper = ETDRK4(problem.law(viscosity), Spectral(spec.grid))
        return solve(stepper, {problem.field: first}, times, substeps=problem.substeps)[problem.field]

    def windows(first: Tensor, viscosity: Tensor) -> Tensor:
        x = torch.empty(len(first), *spec.shape, dtype=torch.float64)
        x[:, field] = solved(first, viscosity)
        x[:, parameter] = viscosity.reshape(-1, *[1] * (x.ndim - 2))
        return x

    for i, case in enumerate(cases(problem, count)):
        if i in seen:
            continue
        begin, known = time.process_time(), case.readings.y.isfinite()
        sensors, std = case.readings.operator, float(case.readings.noise.variance(torch.empty(1)).sqrt())

        def forward(first: Tensor, viscosity: Tensor, sensors: Operator = sensors, known: Tensor = known) -> Tensor:
            return sensors(windows(first, viscosity))[:, known]

        target = SolverPosterior(modes, forward, problem.viscosity, case.readings.y[known].double(), std)
        ensemble = target.sample(members, rng=Rng(7).child(i))
        draws = windows(ensemble.members[:, 0, 0], ensemble.members[:, 1].flatten(1)[:, 0]).float()
        info = {"ess": float(ensemble.info["ess"]), "cpu_s": time.process_time() - begin}
        _add(work, {"case": i, "method": "solver", **scored(problem, case, draws), **info})


def smooth(problem: Problem, noise: Tensor) -> Tensor:
    """The initial field from white noise (B, *S): see `RandomField`."""
    axes = tuple(range(1, noise.ndim))
    waves = [2 * math.pi * torch.fft.fftfreq(n, 1 / n, dtype=noise.dtype) for n in problem.shape]
    square = torch.stack(torch.meshgrid(*waves, indexing="ij")).square().sum(0)
    power = torch.where(square > 0, torch.exp(-square * problem.initial.length**2 / 2), 0.0)
    return torch.fft.ifftn(torch.fft.fftn(noise, dim=axes) * (power / power.mean()).sqrt(), dim=axes).real * problem.initial.std


def _add(work: Path, row: dict[str, object]) -> None:
    with (work / "cases.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def _rows(path: Path) -> list[dict[str, float | str]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(name: str, work: Path) -> list[dict[str, object]]:
    """Means over cases with their standard errors, one row for each method."""
    rows, out = _rows(work / "cases.jsonl"), []
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        mine = [row for row in rows if row["method"] == method]
        line: dict[str, object] = {"problem": name, "method": method, "cases": len(mine)}
        for key in [k for k in mine[0] if k not in ("case", "method")]:
            values = np.array([float(row[key]) for row in mine])
            value = np.sqrt((values**2).mean()) if key in ("log_nu_error", "state_rmse") else values.mean()
            error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
            line[key] = [float(f"{value:.4g}"), float(f"{error:.2g}")]
        out.append(line)
    return out


def main() -> None:
    """Run the stages asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="case to begin with, for pieces in folders of their own that run side by side")
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--methods", default="", help="some of: no readings;no law;law, tolerance;law, std 1")
    parser.add_argument("--stages", default="train,infer,table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    problem, work = PROBLEMS[options.problem], options.work / options.problem
    work.mkdir(parents=True, exist_ok=True)
    stages = options.stages.split(",")
    if "train" in stages and not (work / "prior").exists():
        train(problem, work)
    if "infer" in stages:
        methods = tuple(filter(None, options.methods.split(";")))
        infer(problem, work, count=options.cases, members=options.members, methods=methods, first=options.first)
    if "reference" in stages:
        reference(problem, work, count=options.cases, members=options.members)
    if "table" in stages:
        for line in table(options.problem, work):
            print(json.dumps(line))


if __name__ == "__main__":
    main()
