"""Whole trajectories with fronts: wavelet, pixel and clamped diffusion, zero-shot resolution and control, in minutes on one core.

    python benchmarks/shocks.py --case burgers --models haar,pixels,clamped --out benchmarks/results

``burgers``: u_t + u u_x = 0.01 u_xx + f between walls, the setting of the wavelet diffusion neural operator up to time 2, 32 frames; solved on
256 points and averaged to 64. ``gas``: shock tubes of a gas without viscosity, 256 cells averaged to 64, 32 frames up to 0.08; density
log-uniform 1 to 10, pressure 10 to 100, speed -0.5 to 0.5 times that of sound. Models: ``haar``, ``db2`` or any wavelet, and ``pixels``, the same
channels without one: diffusion around the mean of a U-Net, which gets two thirds of the steps; ``unet`` and ``fno``: such means alone, on folded
points and on points; ``plain``: haar without a mean; ``clamped``: that with the paper's clamping; ``up``: adds resolution, trained 32 -> 64, run
64 -> 128 and 128 -> 256; ``control``: haar trained on both tasks, steered to final states of the test set. All have the same number of steps. One
JSON line per model goes to ``<out>/shocks.jsonl``; trained priors and data stay in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import interpolate

from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset, to_tensor
from physdiff.data.recipes.mirror import doubled_grid, first_half, mirrored
from physdiff.data.recipes.wdno_burgers import WDNOBurgers
from physdiff.data.tasks import Task, TaskWindows, task_condition
from physdiff.data.windows import TrajectoryWindows
from physdiff.diffusion.centred import CentredDenoiser, around_mean, residual_noise
from physdiff.diffusion.clamped import clamped
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.cascade import upscale
from physdiff.grids.blocks import coarsened, reconstructed, refined
from physdiff.grids.boundary import Outflow
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.control import control
from physdiff.networks.fno import FNO
from physdiff.networks.unet import UNet
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.compressible import Euler
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.reconstruction import MUSCL
from physdiff.solvers.solve import solve
from physdiff.training.build import build_forecaster
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.operator_module import OperatorModule
from physdiff.training.prior_module import PriorModule
from physdiff.training.trajectories import prepare_trajectories

FINE, BASE, FRAMES = 256, 64, 32
SIMULATE: dict[str, list[Task]] = {
    "burgers": [{"u": (0,), "force": "all"}],
    "gas": [{"density": (0,), "velocity_x": (0,), "pressure": (0,)}],
}
CONTROL: Task = {"u": (0,)}
FRONT = {"burgers": "u", "gas": "pressure"}


def gas_tubes(samples: int, seed: int) -> xr.Dataset:
    """Shock tubes on 256 cells."""
    grid = CartesianGrid(FINE, 2.0, -1.0, periodic=False, length_unit="1")
    times = torch.linspace(0, 0.08, FRAMES, dtype=torch.float64)
    law = Euler(5 / 3)
    stepper = FiniteVolume(law, grid, reconstruction=MUSCL(), boundary=Outflow())
    made = []
    for start in range(0, samples, 50):
        count = min(50, samples - start)
        g = torch.Generator().manual_seed(seed * 100003 + start)
        u = torch.rand(count, 7, 1, generator=g, dtype=torch.float64)
        left = grid.axes()[0] < -1 + 2 * (0.25 + 0.5 * u[:, 0])
        density, pressure = (torch.where(left, 10 ** u[:, i], 10 ** u[:, i + 1]) for i in (1, 3))
        pressure = 10 * pressure
        speed = (torch.where(left, u[:, 5], u[:, 6]) - 0.5) * (5 / 3 * pressure / density).sqrt()
        found = solve(stepper, law.state(density, (speed,), pressure), times, cfl=0.3)
        made.append(torch.stack([found["density"], law.velocity(found)[0], law.pressure(found)], 1).float())
    spec = FieldSpec(("density", "velocity_x", "pressure"), ("1", "1", "1"), grid, float(times[1]), frames=FRAMES)
    return to_dataset(torch.cat(made), spec, times.numpy(), batch="sample")


def data(case: str, samples: int, work: Path) -> xr.Dataset:
    """The trajectories on 256 points, made once."""
    path = work / f"{case}_{samples}.nc"
    if not path.exists():
        recipe = WDNOBurgers(resolution=FINE, intervals=FRAMES - 1, step=1.2e-3, horizon=2.0)
        made = recipe.generate(samples, Rng(0), batch_size=100) if case == "burgers" else gas_tubes(samples, 0)
        made.to_netcdf(path)
    with xr.open_dataset(path) as ds:
        return ds.load()


def averaged(ds: xr.Dataset, points: int) -> xr.Dataset:
    """Block means on fewer points."""
    spec = spec_of(ds, frames=ds.sizes["time"], periodic=(False,))
    grid = CartesianGrid(points, spec.grid.extent, spec.grid.origin, periodic=False, length_unit="1")  # type: ignore[attr-defined]
    x = coarsened(to_tensor(ds, spec), spec.grid.shape[0] // points)
    return to_dataset(x, FieldSpec(spec.names, spec.units, grid, spec.dt, frames=spec.frames), ds["time"].values, batch="sample")


def trained(case: str, model: str, train: xr.Dataset, *, steps: int, width: int, seed: int, work: Path) -> tuple[WindowPrior, dict[str, Any]]:
    """A trained prior, kept in `work`."""
    path = work / f"{case}_{model}_{steps}_{width}_{seed}.pt"
    facts = path.with_suffix(".json")
    if path.exists() and facts.exists():
        return WindowPrior.load(path), json.loads(facts.read_text())
    tasks = SIMULATE[case] + ([CONTROL] if model == "control" else [])
    net, start = partial(UNet, width=width, dropout=0.0), time.process_time()
    if model in ("plain", "clamped", "up"):
        prior: WindowPrior
        prior, windows = prepare_trajectories(train, tasks, coarse=2 if model == "up" else 1, network=net, seed=seed)
        prior = clamped(prior) if model == "clamped" else prior  # type: ignore[arg-type]
        _fitted(prior, windows, steps, seed)
    else:
        first = partial(FNO, width=width, modes=12) if model == "fno" else net

        def still(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], width: int) -> nn.Module:
            return first(i, o, ndim=ndim, periodic=periodic)

        wavelet = {"control": "haar", "unet": "pixels", "fno": "pixels"}.get(model, model)
        like, windows = prepare_trajectories(train, tasks, wavelet=wavelet, levels=int(model != "fno"), network=net, seed=seed)
        assert like.cond_spec is not None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            mean = build_forecaster(like.spec, like.transform, cond_spec=like.cond_spec, cond_transform=like.cond_transform, network=still)
        prior = mean
        alone = model in ("fno", "unet")
        _fitted(mean, windows, steps if alone else steps * 2 // 3, seed)
        if not alone:
            prior = around_mean(mean, windows, network=net, seed=seed)
            _fitted(prior, windows, steps - steps * 2 // 3, seed)
    known = {"train_cpu_s": round(time.process_time() - start, 1), "parameters": sum(p.numel() for p in prior.parameters())}
    prior.save(path)
    facts.write_text(json.dumps(known))
    return prior, known


def mean_of(prior: DiffusionPrior) -> Forecaster:
    """The deterministic forecast that a prior is built around."""
    assert isinstance(prior.denoiser, CentredDenoiser)
    parts = {"cond_transform": prior.cond_transform, "cond_spec": prior.cond_spec}
    return Forecaster(prior.denoiser.mean.network, prior.transform, prior.spec, **parts)  # type: ignore[arg-type]


def _fitted(prior: WindowPrior, windows: TaskWindows, steps: int, seed: int) -> None:
    module: PriorModule
    if isinstance(prior, Forecaster):
        module = OperatorModule(prior, 2e-3, 0.99, seed=seed)
    else:
        centred = isinstance(prior, DiffusionPrior) and (isinstance(prior.denoiser, CentredDenoiser) or windows.coarse > 1)
        noise = residual_noise(prior) if centred else None  # type: ignore[arg-type]
        module = DiffusionModule(prior, 2e-3, 0.99, noise=noise, seed=seed)
    fit(module, TrajectoryDataModule(windows, batch_size=16, seed=seed), max_steps=steps, max_epochs=100000, progress=False)


def front_error(found: Tensor, truth: Tensor) -> Tensor:
    """Distances in cells between the steepest places of two fields (B, T, x), of every frame of the second half whose truth has a front.

    A front is a step of more than 0.3 of the standard deviation from cell to cell, more than four cells from the ends (layers at walls stand still).
    """
    half, inner = truth.shape[1] // 2, slice(4, -4)
    steps = [field[:, half:].diff(dim=-1).abs()[..., inner] for field in (found, truth)]
    there = steps[1].amax(-1) > 0.3 * truth.std()
    return (steps[0].argmax(-1) - steps[1].argmax(-1)).abs().double()[there]


def overshoot(found: Tensor, truth: Tensor) -> Tensor:
    """How far a field (B, T, x) leaves the range of the true one, frame by frame, over the standard deviation of truth: (B,)."""
    above = (found.amax(-1) - truth.amax(-1)).clamp_min(0) + (truth.amin(-1) - found.amin(-1)).clamp_min(0)
    return above.mean(1) / truth.std()


def scores(found: Tensor, truth: Tensor, channel: int, scale: Tensor) -> dict[str, float]:
    """Of members (M, B, C, T, x), the first frame left out; errors in standard deviations of each field."""
    error = (found - truth)[..., 1:, :] / scale[:, None, None]
    mean = error.mean(0)
    one, true = found[0, :, channel, 1:], truth[:, channel, 1:]
    fronts = front_error(one, true)
    return {
        "mse_single": float(error.square().mean()),
        "mse_mean": float(mean.square().mean()),
        "front_cells": float(fronts.mean()),
        "front_within_2": float((fronts <= 2).double().mean()),
        "overshoot": float(overshoot(one, true).mean()),
    }


def simulated(case: str, prior: WindowPrior, test: xr.Dataset, members: int) -> dict[str, float]:
    """Scores of simulation on the test set."""
    windows = TaskWindows(TrajectoryWindows(test, history=0, horizon=FRAMES, spec=prior.spec), SIMULATE[case])
    items = [windows[i] for i in range(len(windows))]
    x, cond = torch.stack([i["x"] for i in items]), torch.stack([i["cond"] for i in items])
    start = time.process_time()
    found = torch.stack([prior.sample(len(x), cond=cond, rng=Rng(1).child(m)) for m in range(members)])
    channels = [c for c, name in enumerate(prior.spec.names) if name != "force"]
    truth = x[:, channels]
    result = scores(found[:, :, channels], truth, channels.index(prior.spec.channel(FRONT[case])), truth.transpose(0, 1).flatten(1).std(1))
    return {**result, "sample_cpu_s": round((time.process_time() - start) / members / len(x), 3)}


def five_cells(x: Tensor) -> Tensor:
    """Cells of (B, C, T, x) in halves by the fourth-degree polynomial of five means (Harten, 1995), means kept; beyond the ends parabolas go on."""
    for _ in range(2):
        first, last = (3 * a - 3 * b + c for a, b, c in (x[..., :3].unbind(-1), x[..., -3:].flip(-1).unbind(-1)))
        x = torch.cat([first[..., None], x, last[..., None]], -1)
    half = 3 / 128 * (x[..., 4:] - x[..., :-4]) - 22 / 128 * (x[..., 3:-1] - x[..., 1:-3])
    return torch.stack([x[..., 2:-2] + half, x[..., 2:-2] - half], -1).flatten(-2)


def cascade(case: str, prior: DiffusionPrior, test: xr.Dataset, members: int) -> dict[str, dict[str, float]]:
    """64 -> 128 -> 256 from the true trajectory on 64 points, beside repeated values, lines, five cells and cubics; each goes on from its own 128."""
    names = [c for c, name in enumerate(prior.spec.names) if name != "force"]
    levels = {n: to_tensor(averaged(test, n), spec_of(averaged(test, n), frames=FRAMES, periodic=(False,))) for n in (BASE, 128, FINE)}
    result: dict[str, dict[str, float]] = {}
    drawn, cubic, lines, five = [levels[BASE]] * members, levels[BASE], levels[BASE], levels[BASE]
    for n in (128, FINE):
        truth = levels[n]
        known = torch.full_like(truth, torch.nan)
        for name, frames in SIMULATE[case][0].items():
            c = prior.spec.channel(name)
            part = slice(None) if frames == "all" else [int(t) for t in frames]
            known[:, c, part] = truth[:, c, part]
        drawn = [upscale(prior, x, known, rng=Rng(2).child(n, m)) for m, x in enumerate(drawn)]
        lines, five = reconstructed(lines, 2, (False,)), five_cells(five)
        cubic = interpolate(cubic, size=(FRAMES, n), mode="bicubic", align_corners=False)
        scale, channel = truth[:, names].transpose(0, 1).flatten(1).std(1), names.index(prior.spec.channel(FRONT[case]))
        nearest = refined(levels[BASE], n // BASE)
        others = {"cubic": cubic[None], "lines": lines[None], "five": five[None], "repeated": nearest[None]}
        for what, found in {"model": torch.stack(drawn), **others}.items():
            result[f"{what}_{n}"] = scores(found[:, :, names], truth[:, names], channel, scale)
    return result


def finer(case: str, prior: Forecaster, test: xr.Dataset) -> dict[str, dict[str, float]]:
    """The same operator on grids it has not been trained on."""
    result = {}
    for n in (128, FINE):
        ds = averaged(test, n)
        spec = spec_of(ds, frames=FRAMES, periodic=(False,))
        parts = {"cond_transform": prior.cond_transform, "cond_spec": replace(prior.cond_spec, grid=spec.grid)}  # type: ignore[type-var]
        result[f"model_{n}"] = simulated(case, Forecaster(prior.map.network, prior.transform, spec, **parts), ds, 1)  # type: ignore[arg-type]
    return result


class FrameForce:
    """A force given at frames and points, linear in between, odd about both walls."""

    def __init__(self, values: Tensor, times: Tensor) -> None:
        self.values, self.times = values.double(), times.double()

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Values (B, x) at one time on the doubled line."""
        n = x.shape[-1] // 2
        place = float(t) / float(self.times[1] - self.times[0])
        k = min(int(place), len(self.times) - 2)
        frame = self.values[:, k] + (place - k) * (self.values[:, k + 1] - self.values[:, k])
        fine = interpolate(frame[:, None], size=n, mode="linear", align_corners=False)[:, 0]
        return torch.cat([fine, -fine.flip(-1)], -1)


def driven(u_0: Tensor, force: Tensor, horizon: float) -> Tensor:
    """The true law under a force (B, T, x) from a first state (B, x) on 64 points: the final state."""
    times = torch.linspace(0, horizon, force.shape[1], dtype=torch.float64)
    grid = CartesianGrid(128, 1.0, periodic=False, length_unit="1")
    start = interpolate(u_0[:, None].double(), size=128, mode="linear", align_corners=False)[:, 0]
    x = grid.axes()[0]
    start = start * torch.tanh(x / 0.02) * torch.tanh((1 - x) / 0.02)
    stepper = ETDRK4(Burgers(0.01, FrameForce(force, times)), Spectral(doubled_grid(grid)))
    found = solve(stepper, {"u": mirrored(start, 1, sign=-1.0)}, times, substeps=math.ceil(horizon / (force.shape[1] - 1) / 2e-3))["u"]
    return coarsened(first_half(found, 1)[:, None, -1:], 2)[:, 0, 0].float()


def controlled(prior: DiffusionPrior, test: xr.Dataset, *, count: int = 20, strength: float, weight: float = 0.01) -> dict[str, float]:
    """Lead each first state to the final state of the next sample with little force; judged by the true law."""
    horizon = 2.0
    x = to_tensor(test, prior.spec)[:count]
    target = x[:, 0, -1].roll(1, 0)
    known = torch.full_like(x, torch.nan)
    known[:, 0, 0] = x[:, 0, 0]
    step = horizon / (FRAMES - 1) / BASE

    def objective(z: Tensor) -> Tensor:
        return (z[:, 0, -1] - target).square().mean(-1) + weight * z[:, 1].square().sum((1, 2)) * step

    start = time.process_time()
    found = control(prior, objective, count, cond=task_condition(prior.spec, known), strength=strength, rng=Rng(3), max_batch=count)
    seconds = time.process_time() - start
    result: dict[str, float] = {"strength": strength, "weight": weight, "cpu_s_each": round(seconds / count, 2)}
    plain = prior.sample(count, cond=task_condition(prior.spec, known), rng=Rng(4))
    for name, force in (("steered", found[:, 1]), ("unsteered", plain[:, 1]), ("none", torch.zeros_like(found[:, 1])), ("own", x[:, 1])):
        end = driven(x[:, 0, 0], force, horizon)
        miss, energy = (end - target).square().mean(-1), force.square().sum((1, 2)) * step
        result[f"{name}_miss"], result[f"{name}_energy"] = float(miss.mean()), float(energy.mean())
        result[f"{name}_objective"] = float((miss + weight * energy).mean())
    end = driven(x[:, 0, 0], x[:, 1], horizon)
    result["law_against_data"] = float((end - x[:, 0, -1]).square().mean())
    result["belief_miss"] = float((found[:, 0, -1] - target).square().mean())
    return result


def main() -> None:
    """Run and append lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", choices=sorted(SIMULATE), default="burgers")
    parser.add_argument("--models", default="haar,pixels")
    parser.add_argument("--samples", type=int, default=480)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=300.0)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--commit", default="")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    fine = data(args.case, args.samples, args.work)
    cut = args.samples * 5 // 6
    test_fine = fine.isel(sample=slice(cut, None))
    train, test = averaged(fine.isel(sample=slice(0, cut)), BASE), averaged(test_fine, BASE)
    with (args.out / "shocks.jsonl").open("a") as lines:
        for model in args.models.split(",") if args.models else []:
            prior, facts = trained(args.case, model, train, steps=args.steps, width=args.width, seed=args.seed, work=args.work)
            row: dict[str, Any] = {"case": args.case, "model": model, "train": cut, "test": args.samples - cut, "steps": args.steps}
            row |= {"width": args.width, "seed": args.seed, "members": args.members, **facts}
            if model == "up":
                assert isinstance(prior, DiffusionPrior)
                row |= cascade(args.case, prior, test_fine, args.members)
            else:
                row |= simulated(args.case, prior, test, 1 if isinstance(prior, Forecaster) else args.members)
            if model != "up" and isinstance(prior, DiffusionPrior) and isinstance(prior.denoiser, CentredDenoiser):
                row["mean_alone"] = simulated(args.case, mean_of(prior), test, 1)
            if model == "fno":
                assert isinstance(prior, Forecaster)
                row |= finer(args.case, prior, test_fine)
            if model == "control":
                assert isinstance(prior, DiffusionPrior)
                row |= controlled(prior, test, strength=args.strength)
            row |= {"machine": platform.machine(), "torch": torch.__version__, "commit": args.commit, "load": round(os.getloadavg()[0], 1)}
            line = json.dumps(row)
            lines.write(line + "\n")
            lines.flush()
            print(line, flush=True)


if __name__ == "__main__":
    main()
