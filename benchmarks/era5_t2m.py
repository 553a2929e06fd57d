"""Hourly 2 m temperature over the United Kingdom (ERA5): forecast and reconstruction beside every baseline, on identical starts and sensors.

    python benchmarks/era5_t2m.py --data era5_t2m_uk_hourly_2019-03-01_20.nc --out results/

Train on the first 75 % of the hours, test on all start times of the rest. One JSON line per seed, method and task goes to ``results/era5_t2m.jsonl``
(and the terminal): machine, commit, load, training seconds and steps, members, scores by lead time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import xarray as xr

from physdiff.base.rng import Rng
from physdiff.cli.evaluate import baseline_forecasts, score_tables
from physdiff.cli.fit import train_prior
from physdiff.cli.infer import interpolated
from physdiff.cli.options import Training
from physdiff.cli.scoring import standard_scores
from physdiff.data.convert import spec_of, to_tensor
from physdiff.data.open import open_dataset
from physdiff.data.split import split_time
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.kriging import kriging
from physdiff.evaluation.optimal_interpolation import field_covariance
from physdiff.forecast.readings import Readings
from physdiff.forecast.reconstruct import reconstruct
from physdiff.forecast.rollout import Rollout
from physdiff.grids.interpolate import interpolation
from physdiff.inference.guided import Guided
from physdiff.networks.unet import UNet
from physdiff.training.recipe import Recipe

LEADS = (1, 2, 3, 6, 9, 12)
MEMBERS = 20
NOISE = 0.3


def main() -> None:
    """Run both tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data/reanalysis/era5_t2m_uk_hourly_2019-03-01_20.nc", help="the file named above")
    parser.add_argument("--out", default="results")
    parser.add_argument("--seconds", type=float, default=290.0, help="training budget of a forecast prior")
    parser.add_argument("--frame-seconds", type=float, default=90.0, help="training budget of the prior of single frames")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--every", type=int, default=1, help="take every n-th start time")
    parser.add_argument("--tasks", nargs="+", default=["forecast", "sensors"])
    arguments = parser.parse_args()
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    ds = open_dataset(arguments.data, variables=["t2m"]).load()
    train, test = split_time(ds, at=0.75)
    with (folder / "era5_t2m.jsonl").open("a", encoding="utf-8") as file:
        report = partial(_report, file)
        for seed in arguments.seeds:
            if "forecast" in arguments.tasks:
                _forecast(report, ds, train, test, seed=seed, seconds=arguments.seconds, every=arguments.every, folder=folder)
            if "sensors" in arguments.tasks:
                _sensors(report, ds, train, seed=seed, seconds=arguments.frame_seconds, folder=folder)


def _report(file, **facts) -> None:  # noqa: ANN001, ANN003
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    here = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 2)}
    line = json.dumps({**facts, **here, "commit": commit})
    print(line, flush=True)
    file.write(line + "\n")
    file.flush()


def _trained(train: xr.Dataset, recipe: Recipe, seed: int, seconds: float, path: Path) -> tuple[DiffusionPrior, dict[str, float]]:
    plan = Training(seconds=seconds, floor=100, seed=seed)
    start = time.monotonic()
    shutil.rmtree(f"{path}.fit", ignore_errors=True)
    prior = train_prior(train, recipe, training=plan, network=partial(UNet, dropout=0.2), folder=Path(f"{path}.fit"))
    spent = time.monotonic() - start
    prior.save(path)
    return prior, {"training_seconds": round(spent, 1)}


def _forecast(report, ds: xr.Dataset, train: xr.Dataset, test: xr.Dataset, *, seed: int, seconds: float, every: int, folder: Path) -> None:  # noqa: ANN001
    prior, facts = _trained(train, Recipe(history=2, horizon=12), seed, seconds, folder / f"t2m_{seed}.prior")
    start = time.monotonic()
    forecast = Rollout(prior, 12, MEMBERS, rng=Rng(seed)).run(test, every=every)
    # only starts whose whole forecast can be verified: the same cases at every lead
    last = test["time"].values[-13]
    forecast = forecast.sel(init_time=slice(None, last))
    facts |= {"starts": forecast.sizes["init_time"], "sampling_seconds": round(time.monotonic() - start, 1)}
    others = baseline_forecasts(ds, forecast, train=train, members=MEMBERS, rng=Rng(seed))
    for name, table in score_tables({"diffusion": forecast, **others}, ds).items():
        scores = {str(k): [round(float(v.isel(variable=0, lead_time=lead - 1)), 4) for lead in LEADS] for k, v in table.data_vars.items()}
        report(task="forecast", method=name, seed=seed, members=MEMBERS, leads=LEADS, **scores, **(facts if name == "diffusion" else {}))


def _sensors(report, ds: xr.Dataset, train: xr.Dataset, *, seed: int, seconds: float, folder: Path) -> None:  # noqa: ANN001
    prior, facts = _trained(train, Recipe(history=0, horizon=1), seed, seconds, folder / f"t2m_frame_{seed}.prior")
    readings, truth = _readings(ds, seed)
    start = time.monotonic()
    found = {"diffusion": reconstruct(prior, readings, Guided(), std=NOISE, members=MEMBERS, rng=Rng(seed))}
    facts |= {"sampling_seconds": round(time.monotonic() - start, 1)}
    found["optimal interpolation"] = interpolated(train, readings, std=NOISE, members=MEMBERS, rng=Rng(seed).child("oi"))
    law = field_covariance(train)
    parts = []
    for k, moment in enumerate(readings.moments()):
        now = readings.at(moment)
        parts.append(kriging(law, now.points, now.values, std=NOISE, time=moment, members=MEMBERS, rng=Rng(seed).child("kriging", k)).members)
    found["kriging, hour mean removed"] = xr.concat(parts, dim="time")
    for name, members in found.items():
        table = evaluate(members, truth, standard_scores(MEMBERS), by=())
        scores = {str(k): round(float(v.isel(variable=0)), 4) for k, v in table.data_vars.items()}
        extra = facts if name == "diffusion" else {}
        report(task="sensors", method=name, seed=seed, members=MEMBERS, frames=truth.sizes["time"], sensors=81, **scores, **extra)


def _readings(ds: xr.Dataset, seed: int) -> tuple[Readings, xr.Dataset]:
    """81 sensors (5 % of the points) at new grid points in each of 30 test frames, every fourth hour."""
    spec = spec_of(ds)
    rng, grid = Rng(seed).child("sensors"), spec.grid
    longitude, latitude = (torch.rad2deg(c).flatten() for c in grid.coordinates())
    points, values, times = [], [], []
    first = int(0.75 * ds.sizes["time"])
    truth = ds.isel(time=[first + 4 * k for k in range(30)])
    for k in range(30):
        index = rng.child(k).permutation(longitude.numel())[:81]
        places = torch.stack([longitude[index], latitude[index]], dim=1)
        frame = to_tensor(truth.isel(time=[k]), spec)[0, 0, 0].double()
        points.append(places)
        values.append(interpolation(grid, places)(frame) + NOISE * rng.child(k, "noise").normal((81,), like=places))
        times += [truth["time"].values[k]] * 81
    return Readings(torch.cat(points), torch.cat(values)[None].float(), xr.DataArray(times).values), truth


if __name__ == "__main__":
    main()
