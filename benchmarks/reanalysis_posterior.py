"""Whole fields from readings at 2 % and 5 % of their points: posteriors of trained priors beside kriging, optimal and cubic interpolation.

    python benchmarks/reanalysis_posterior.py --work ../sparse --cases t2m msl wind
    python benchmarks/reanalysis_posterior.py --work ../sparse --cases turbulence shocks --shares 0.02 0.05 0.1

Each case trains a prior of single frames (or takes ``<work>/<case>.prior`` if it lies there), puts sensors at new random places in every test frame
and gives the same readings to every method. One JSON line per frame goes to the work folder (``--work``, outside the repository), so that an
interrupted run goes on, and the readings go there as tables for `physdiff infer`; the summary, one line per case, share and method, is added to
``<out>/reanalysis_posterior.jsonl``. Seconds are CPU seconds of one frame, one thread. Kriging is scikit-learn's Gaussian process
(``pip install physdiff[benchmarks]``), cubic interpolation is scipy's.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import xarray as xr
from sparse_cases import CASES, Case
from sparse_classical import cubic, gaussian_process
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.cli.fit import train_prior
from physdiff.cli.infer import METHODS
from physdiff.cli.options import Training
from physdiff.data.convert import spec_of, to_tensor
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.evaluation.kriging import kriging
from physdiff.evaluation.optimal_interpolation import FieldCovariance, expected_frame, field_covariance, optimal_interpolation
from physdiff.forecast.readings import Readings
from physdiff.forecast.reconstruct import reconstruct
from physdiff.grids.grid import Grid
from physdiff.grids.interpolate import interpolation
from physdiff.inference.guided import Guided
from physdiff.inference.posterior import PosteriorSampler
from physdiff.inference.twisted_smc import TwistedSMC
from physdiff.networks.unet import UNet
from physdiff.plots.style import even_choice
from physdiff.scores.coverage import coverage
from physdiff.scores.crps import biased_crps, crps
from physdiff.training.recipe import Recipe

MEMBERS = 20
Line = dict[str, float | int | str]
Method = Callable[["Frame", Rng], Tensor]


@dataclass(frozen=True)
class Frame:
    """What a method gets: readings (C, n) at points (n, ndim) of one time, and the std of their noise."""

    points: Tensor
    readings: Tensor
    std: float
    time: object


@dataclass(frozen=True)
class Laws:
    """What the training part gave: the prior and the Gaussian law of optimal interpolation."""

    prior: DiffusionPrior
    law: FieldCovariance


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for priors and lines of single frames")
    parser.add_argument("--data", default="../shared/data", help="folder of the real files")
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.02, 0.05])
    parser.add_argument("--methods", nargs="+", help=f"some of {', '.join(methods_of())}; all but the slow ones if not given")
    parser.add_argument("--frames", type=int, default=30, help="test frames at most")
    parser.add_argument("--steps", type=int, help="training steps; those of the case if not given")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    work = Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # CPU seconds of one thread compare
    for name in options.cases:
        case = CASES[name](Path(options.data), work)
        laws = laws_of(case, work, seed=options.seed, steps=options.steps)
        for share in options.shares:
            table(case, work / f"{name}_{share:g}_{options.seed}.csv", share=share, frames=options.frames, seed=options.seed)
            for method in options.methods or [m for m in methods_of() if m not in SLOW]:
                lines = list(scored(case, laws, work, share=share, method=method, frames=options.frames, seed=options.seed))
                _report(Path(options.out), {"case": name, "share": share, "method": method, "seed": options.seed, "unit": case.unit}, lines)


def laws_of(case: Case, work: Path, *, seed: int, steps: int | None) -> Laws:
    """The prior (trained, or from the work folder) and the training covariance."""
    path = work / f"{case.name}.prior"
    if not path.is_file():
        begin, plan = time.process_time(), Training(max_steps=steps or case.steps, seed=seed, roll=case.roll)
        network, folder = partial(UNet, width=case.width, dropout=case.dropout), work / f"{case.name}.fit"
        prior = train_prior(case.train, Recipe(history=0, horizon=1), training=plan, network=network, folder=folder)
        share = prior.denoiser.share if isinstance(prior, DiffusionPrior) and isinstance(prior.denoiser, PreconditionedDenoiser) else 1.0
        card = {"case": case.name, "steps": steps or case.steps, "share": share, "cpu_seconds": round(time.process_time() - begin)}
        prior.save(path, card=card)
    return Laws(DiffusionPrior.load(path).eval(), field_covariance(case.train))


def methods_of() -> dict[str, Callable[[Laws], Method]]:
    """Every method by name, built from what training gave."""
    return {
        "hour mean": lambda laws: lambda frame, rng: expected_frame(laws.law, frame.time)[None],
        "cubic, raw": lambda laws: partial(_cubic, laws.law, raw=True),
        "cubic, anomaly": lambda laws: partial(_cubic, laws.law, raw=False),
        "kriging (scikit-learn)": lambda laws: partial(_gaussian_process, laws.law),
        "kriging (house)": lambda laws: partial(_house_kriging, laws.law),
        "optimal interpolation": lambda laws: partial(_optimal, laws.law),
        "Guided, network off": lambda laws: partial(_drawn, gaussian_part(laws.prior), Guided()),
        "Guided": lambda laws: partial(_drawn, laws.prior, Guided()),
        "TwistedSMC": lambda laws: partial(_drawn, laws.prior, TwistedSMC(particles=64, steps=100, through_network=False)),
        "TwistedSMC, through the network": lambda laws: partial(_drawn, laws.prior, TwistedSMC(particles=64, steps=100)),
        **{name: partial(_named, name) for name in METHODS if name not in ("Guided", "TwistedSMC")},
    }


SLOW = {"kriging (house)", "TwistedSMC", "TwistedSMC, through the network", *METHODS} - {"Guided"}


def _named(name: str, laws: Laws) -> Method:
    """A method of the command line, with what it does by default."""
    return partial(_drawn, laws.prior, METHODS[name]())


def gaussian_part(prior: DiffusionPrior) -> DiffusionPrior:
    """The prior without its network: the Gaussian denoiser under it."""
    denoiser = prior.denoiser
    assert isinstance(denoiser, PreconditionedDenoiser) and denoiser.base is not None
    parts = {"sampler": prior.sampler, "steps": prior.steps, "cond_transform": prior.cond_transform, "cond_spec": prior.cond_spec}
    return DiffusionPrior(denoiser.base, prior.transform, prior.spec, **parts)


def _drawn(prior: DiffusionPrior, sampler: PosteriorSampler, frame: Frame, rng: Rng) -> Tensor:
    count = frame.readings.shape[1]
    readings = Readings(frame.points, frame.readings.float(), xr.DataArray([frame.time] * count).values)
    drawn = reconstruct(prior, readings, sampler, std=[frame.std] * len(prior.spec.names), members=MEMBERS, rng=rng)
    return _fields(drawn, prior.spec.names)


def _optimal(law: FieldCovariance, frame: Frame, rng: Rng) -> Tensor:
    found = optimal_interpolation(law, frame.points, frame.readings, std=frame.std, time=frame.time, members=MEMBERS, rng=rng)
    return _fields(found.members, law.spec.names)


def _house_kriging(law: FieldCovariance, frame: Frame, rng: Rng) -> Tensor:
    found = kriging(law, frame.points, frame.readings[0], std=frame.std, time=frame.time, members=MEMBERS, rng=rng)
    return _fields(found.members, law.spec.names)


def _cubic(law: FieldCovariance, frame: Frame, rng: Rng, *, raw: bool) -> Tensor:
    mean = expected_frame(law, frame.time)
    base = torch.zeros_like(mean) if raw else mean
    rest = frame.readings - interpolation(law.spec.grid, frame.points)(base)
    return base[None] + torch.stack([cubic(law.spec.grid, frame.points, y) for y in rest])[None]


def _gaussian_process(law: FieldCovariance, frame: Frame, rng: Rng) -> Tensor:
    mean = expected_frame(law, frame.time)
    rest = frame.readings - interpolation(law.spec.grid, frame.points)(mean)
    fields = [
        gaussian_process(law.spec.grid, frame.points, y, std=frame.std, members=MEMBERS, rng=rng.child(c)) for c, y in enumerate(rest)
    ]
    return mean + torch.stack(fields, 1)


def _fields(ds: xr.Dataset, names: tuple[str, ...]) -> Tensor:
    """(member, C, *S) float64 of draws at one time."""
    return torch.stack([torch.from_numpy(ds[n].transpose("member", "time", ...).values[:, 0]) for n in names], 1).double()


def scored(case: Case, laws: Laws, work: Path, *, share: float, method: str, frames: int, seed: int) -> Iterator[Line]:
    """Scores of every test frame, from the work folder where they lie."""
    path = work / f"{case.name}_{share:g}_{seed}_{method.replace(' ', '-').replace(',', '')}.jsonl"
    done = {} if not path.is_file() else {line["frame"]: line for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    draw = methods_of()[method](laws)
    for k in even_choice(case.test.sizes["time"], frames):
        if k not in done:
            frame, truth = read(case, share, k, seed)
            begin = time.process_time()
            members = draw(frame, Rng(seed).child("draws", k))
            done[k] = {"frame": k, "cpu_seconds": time.process_time() - begin, **scores(members, truth, laws.prior.spec.grid)}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[k]) + "\n")
        yield done[k]


def read(case: Case, share: float, k: int, seed: int) -> tuple[Frame, Tensor]:
    """Noisy readings of test frame k at new random grid points, and the truth (C, *S)."""
    spec, rng = spec_of(case.train, gaps=True).with_frames(1), Rng(seed).child("sensors", k)
    truth = to_tensor(case.test.isel(time=[k]), spec)[0, :, 0].double()
    axes = torch.meshgrid(*spec.grid.axes(), indexing="ij")
    places = torch.stack([axis.flatten() for axis in reversed(axes)], 1)  # x, y order
    count = max(3, round(share * len(places)))
    points = places[rng.permutation(len(places))[:count]]
    exact = interpolation(spec.grid, points)(truth)
    readings = exact + case.noise * rng.child("noise").normal(exact.shape, like=exact)
    return Frame(points, readings, case.noise, case.test["time"].values[k]), truth


def table(case: Case, path: Path, *, share: float, frames: int, seed: int) -> None:
    """Write the readings of all test frames as `physdiff infer` takes them."""
    axes, calendar = ("longitude", "latitude") if "latitude" in case.train.dims else ("x", "y"), case.test["time"].dtype.kind == "M"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for k in even_choice(case.test.sizes["time"], frames):
            frame, _ = read(case, share, k, seed)
            if k == 0:
                units = [case.train[n].attrs.get("units", "1") for n in case.names]
                writer.writerow([*axes[: frame.points.shape[1]], "time", *(f"{n} [{u}]" for n, u in zip(case.names, units, strict=True))])
            when = str(frame.time)[:19] if calendar else frame.time
            rows = zip(frame.points.tolist(), frame.readings.T.tolist(), strict=True)
            writer.writerows([*place, when, *(f"{v:.6g}" for v in y)] for place, y in rows)


def scores(members: Tensor, truth: Tensor, grid: Grid) -> Line:
    """Scores of members (m, C, *S), averaged over fields and area; the CRPS of one member is its absolute error."""
    weights = grid.weights()
    weights = weights / weights.sum()

    def averaged(value: Tensor) -> float:
        return float((value * weights).flatten(1).sum(1).mean())

    found: Line = {"mse": averaged((members.mean(0) - truth).square()), "members": len(members)}
    if len(members) == 1:
        return {**found, "crps": averaged(biased_crps(members, truth))}
    inside = coverage(members, truth, level=0.9)
    return {**found, "crps": averaged(crps(members, truth)), "variance": averaged(members.var(0)), "coverage": averaged(inside)}


def _report(out: Path, what: Line, lines: list[Line]) -> None:
    mean = {k: sum(float(line[k]) for line in lines) / len(lines) for k in lines[0] if k not in ("frame", "members")}
    found: Line = {"rmse": round(mean["mse"] ** 0.5, 4), "crps": round(mean["crps"], 4)}
    if "variance" in mean:
        count = int(lines[0]["members"])
        ratio = ((count + 1) / count * mean["variance"] / mean["mse"]) ** 0.5
        found |= {"coverage_90": round(mean["coverage"], 3), "spread_skill": round(ratio, 3)}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    line = {**what, **found, "cpu_seconds": round(mean["cpu_seconds"], 2), "frames": len(lines), "members": lines[0]["members"], "commit": commit}
    print(json.dumps(line), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "reanalysis_posterior.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
