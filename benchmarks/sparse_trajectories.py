"""A day of hourly temperature from stations that are read every hour: a prior of long trajectories composed of short windows, beside interpolation.

    python benchmarks/sparse_trajectories.py --work ../sparse --shares 0.05 0.02 --days 3

2 m temperature over the United Kingdom on every second point (17 x 25), 15 days for training, then whole days of the next five; stations at
random points, the same at all 24 hours, noise 0.3 K. The mean of the hour of the day (of the training part) is taken away first. The prior is one
of windows of five hours (`with_gaussian`, a small network weighed on windows it has not seen), composed to 24 (`trajectory_prior`). Beside it the
same without the network, optimal interpolation of every hour alone, and of all hours at once with a covariance that is a product of one in time and
one in space. Lines are added to ``<out>/sparse_trajectories.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import xarray as xr
from reanalysis_posterior import scores
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_tensor
from physdiff.data.open import open_dataset
from physdiff.data.statistics import fitted
from physdiff.data.windows import TrajectoryWindows, WindowRange
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.evaluation.hour_mean import TrainingFrames
from physdiff.evaluation.optimal_interpolation import FieldCovariance, field_covariance, optimal_interpolation
from physdiff.inference.guided import Guided
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.inference.trajectory_prior import trajectory_prior
from physdiff.networks.unet import UNet
from physdiff.training.build import build_prior
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.gaussian_base import with_gaussian
from physdiff.training.network_share import network_share, with_share
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import FramesToChannels
from physdiff.transforms.normalizer import Normalizer

HOURS, WINDOW, MEMBERS, NOISE, STEPS = 24, 5, 20, 0.3, 150
_KEPT, _PATTERNS = 72, 1500


@dataclass(frozen=True)
class Day:
    """Readings (hours, stations) of anomalies at points (stations, 2), and the truth (hours, *S)."""

    points: Tensor
    readings: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Laws:
    """What training gave: the prior of windows, the law of one hour, and the correlation in time (hours, hours)."""

    prior: DiffusionPrior
    one: FieldCovariance
    across: Tensor


def main() -> None:
    """Train, infer, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for the prior")
    parser.add_argument("--data", default="../shared/data", help="folder of the real files")
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.05, 0.02])
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, test = anomalies(Path(options.data))
    laws = laws_of(train, Path(options.work), seed=options.seed)
    for share in options.shares:
        for method in options.methods:
            lines = []
            for k in range(options.days):
                day, begin = read(test, laws, share, k, options.seed), time.process_time()
                members = METHODS[method](laws, day, Rng(options.seed).child("draws", k))
                spent = time.process_time() - begin
                grid = laws.one.spec.grid
                lines += [{"cpu_seconds": spent, **scores(members[:, h, None], day.truth[h][None], grid)} for h in range(HOURS)]
            _report(Path(options.out), {"case": "t2m day", "share": share, "method": method, "seed": options.seed, "days": options.days}, lines)


def anomalies(data: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Departures from the mean of the hour on every second point: 15 days, then 5."""
    ds = open_dataset(data / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc", variables=["t2m"]).load()
    ds = ds.isel(latitude=slice(None, None, 2), longitude=slice(None, None, 2))
    train = ds.isel(time=slice(0, 360))
    spec = spec_of(train)
    mean = TrainingFrames(train, spec).mean.at(ds["time"].values)
    rest = to_tensor(ds, spec)[0] - mean
    ds = ds.assign(t2m=ds["t2m"].copy(data=rest[0].numpy()))
    return ds.isel(time=slice(0, 360)), ds.isel(time=slice(360, None))


def laws_of(train: xr.Dataset, work: Path, *, seed: int) -> Laws:
    """The prior (trained, or from the work folder), the covariance of an hour, and correlations in time."""
    path = work / f"t2m_windows_{WINDOW}.prior"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        trained(train, seed=seed).save(path, card={"case": "t2m", "frames": WINDOW, "steps": STEPS})
    x = torch.from_numpy(train["t2m"].transpose("time", ...).values).double().flatten(1)
    lags = torch.stack([(x[k:] * x[: len(x) - k]).mean() for k in range(HOURS)]) / x.square().mean()
    values, vectors = torch.linalg.eigh(lags[(torch.arange(HOURS)[:, None] - torch.arange(HOURS)).abs()])
    plain = train.assign_coords(time=np.arange(train.sizes["time"], dtype=np.float64))  # the mean of the hour is gone already
    return Laws(DiffusionPrior.load(path).eval(), field_covariance(plain), (vectors * values.clamp_min(0)) @ vectors.T)


def trained(train: xr.Dataset, *, seed: int) -> DiffusionPrior:
    """A prior of windows whose transform treats all hours alike, its network weighed on the last three days."""
    windows = TrajectoryWindows(train, history=0, horizon=WINDOW)
    cut = len(windows) - _KEPT
    seen = WindowRange(windows, 0, cut - WINDOW)  # no hour in common with what is kept
    transform = fitted(Compose((Normalizer(("channel",)), FramesToChannels(WINDOW))), windows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = with_gaussian(build_prior(windows.spec, transform, network=UNet, width=16, steps=24), windows)
    fit(DiffusionModule(prior, 1e-3, 0.99, seed=seed), TrajectoryDataModule(seen, seed=seed), max_steps=STEPS)
    judge = with_gaussian(prior, seen).denoiser
    assert isinstance(judge, PreconditionedDenoiser)
    share = network_share(prior, WindowRange(windows, cut, len(windows)), base=judge.base, rng=Rng(seed))
    print(f"network weighed {share:.2f}", flush=True)
    return with_share(prior, share)


def read(test: xr.Dataset, laws: Laws, share: float, k: int, seed: int) -> Day:
    """Day k: stations at random grid points, read every hour."""
    rng, spec = Rng(seed).child("stations", k), laws.one.spec
    truth = torch.from_numpy(test["t2m"].transpose("time", ...).values[HOURS * k : HOURS * (k + 1)]).double()
    latitude, longitude = torch.meshgrid(*spec.grid.axes(), indexing="ij")
    chosen = rng.permutation(latitude.numel())[: max(3, round(share * latitude.numel()))]
    points = torch.stack([longitude.flatten(), latitude.flatten()], 1)[chosen]
    readings = truth.flatten(1)[:, chosen]
    return Day(points, readings + NOISE * rng.child("noise").normal(readings.shape, like=readings), truth)


def hour_by_hour(laws: Laws, day: Day, rng: Rng) -> Tensor:
    """Optimal interpolation of every hour from its own readings, (members, hours, *S)."""
    fields = []
    for h in range(HOURS):
        found = optimal_interpolation(laws.one, day.points, day.readings[h], std=NOISE, members=MEMBERS, rng=rng.child(h))
        fields.append(torch.from_numpy(found.members["t2m"].transpose("member", "time", ...).values[:, 0]).double())
    return torch.stack(fields, 1)


def all_at_once(laws: Laws, day: Day, rng: Rng) -> Tensor:
    """Optimal interpolation of the day with the covariance in time times that in space, drawn by Matheron's rule, (members, hours, *S)."""
    values, vectors = torch.linalg.eigh(laws.across)
    root_t, root_s = vectors * values.clamp_min(0).sqrt(), laws.one.root
    grid = laws.one.spec.grid
    operator = Sensors(laws.one.spec, day.points)
    unit = torch.eye(len(laws.one.covariance)).double()
    h = operator(unit.reshape(-1, 1, 1, *grid.shape)).reshape(len(unit), -1).T  # (stations, points)
    cross = laws.one.covariance @ h.T
    system = torch.kron(laws.across, h @ cross) + NOISE**2 * torch.eye(HOURS * len(h)).double()
    factor = torch.linalg.cholesky(system)
    prior = root_t @ rng.child("prior").normal((MEMBERS, HOURS, root_s.shape[1]), like=cross) @ root_s.T
    read = prior @ h.T + NOISE * rng.child("noise").normal((MEMBERS, HOURS, len(h)), like=cross)
    weights = torch.cholesky_solve((day.readings - read).flatten(1).T, factor).T.reshape(MEMBERS, HOURS, -1)
    return (prior + laws.across @ weights @ cross.T).reshape(MEMBERS, HOURS, *grid.shape)


def composed(laws: Laws, day: Day, rng: Rng, *, network: bool, corrected: bool) -> Tensor:
    """`Guided` on the prior composed to a day, (members, hours, *S)."""
    windows = laws.prior if network else with_share(laws.prior, 0.0)
    prior = trajectory_prior(windows, HOURS, sampler=None if corrected else DPMSolver2M(), steps=24)
    (norm,) = [p for p in laws.prior.transform.modules() if isinstance(p, Normalizer)]
    assert norm.std is not None
    sampler = Guided(covariance=_product(laws.across, laws.one.covariance / float(norm.std) ** 2))
    observed = Observation(Sensors(prior.spec, day.points), day.readings.T[None].movedim(2, 1).float(), std=NOISE)
    return sampler.sample(Posterior(prior, observed), MEMBERS, rng=rng).members[:, 0].double()


def _product(across: Tensor, space: Tensor) -> LowRankCovariance:
    """The leading patterns of the product of two covariances, and what they leave over."""
    (a, u), (b, v) = torch.linalg.eigh(across), torch.linalg.eigh(space)
    every = (a.clamp_min(0)[:, None] * b.clamp_min(0)).flatten()
    values, index = every.topk(min(_PATTERNS, len(every)))
    i, j = index // len(b), index % len(b)
    patterns = (u[:, i].T[:, :, None] * v[:, j].T[:, None, :]).flatten(1)
    rest = float((every.sum() - values.sum()) / max(1, len(every) - len(values)))
    return LowRankCovariance(patterns.float(), values.float(), rest)


METHODS: dict[str, Callable[[Laws, Day, Rng], Tensor]] = {
    "optimal interpolation, hour by hour": hour_by_hour,
    "optimal interpolation, all hours at once": all_at_once,
    "Guided on the composed prior, network off": partial(composed, network=False, corrected=False),
    "Guided on the composed prior": partial(composed, network=True, corrected=False),
    "Guided on the composed prior, Langevin corrections": partial(composed, network=True, corrected=True),
}


def _report(out: Path, what: dict[str, float | int | str], lines: list[dict[str, float | int | str]]) -> None:
    mean = {k: sum(float(line[k]) for line in lines) / len(lines) for k in ("mse", "crps", "coverage", "variance", "cpu_seconds")}
    ratio = ((MEMBERS + 1) / MEMBERS * mean["variance"] / mean["mse"]) ** 0.5
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    found = {"rmse": round(mean["mse"] ** 0.5, 4), "crps": round(mean["crps"], 4), "coverage_90": round(mean["coverage"], 3)}
    line = {**what, **found, "spread_skill": round(ratio, 3), "cpu_seconds": round(mean["cpu_seconds"], 2), "members": MEMBERS, "commit": commit}
    print(json.dumps(line), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "sparse_trajectories.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
