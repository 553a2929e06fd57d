"""Roll-outs ten times as long as what was drawn at once in training: errors, spectra and invariants.

    python benchmarks/surrogates.py --work ../surrogates --cases wake --seconds 250
    python benchmarks/long_rollouts.py --work ../surrogates --stages wake turbulence --pictures docs/images

``wake``: 50 frames from t = 115 by the prior of `surrogates.py`: vorticity against the truth, divergence, frequency of the wake, energy; with
``--keep`` the divergence stays that of the last known frame. ``turbulence``: the demo's flow, 4 frames at once in training, 60 frames rolled out:
energy, enstrophy and spectrum; with ``--keep`` the mean vorticity, which the law keeps at zero, is kept. One JSON line per stage goes to
``<out>/long_rollouts.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import xarray as xr
from surrogate_cases import CASES, Case
from surrogate_models import Facts
from surrogates import table

from physdiff.base.rng import Rng
from physdiff.cli.demo import Size, turbulence
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.forecast.rollout import Rollout
from physdiff.networks.unet import UNet
from physdiff.plots.spectra import power_spectrum, spectrum_plot
from physdiff.plots.style import figure_of, new_axes
from physdiff.plots.trajectories import fan_plot
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit, steps_for
from physdiff.training.recipe import Recipe, prepare

SPACING = 0.125
PROBE = {"x": 4.0, "y": 0.06}


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--stages", nargs="+", default=["wake", "turbulence"])
    parser.add_argument("--row", default="wavelet", help="whose prior of the wake, as `surrogates.py` names its files (wavelet-raw)")
    parser.add_argument("--pictures", help="folder of the pictures")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=300.0, help="CPU seconds of training of the turbulence prior")
    parser.add_argument("--keep", action="store_true", help="keep the divergence of the wake, the mean vorticity of the turbulence")
    options = parser.parse_args()
    for folder in (options.work, options.out, *([options.pictures] if options.pictures else [])):
        Path(folder).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    work, pictures = Path(options.work), None if options.pictures is None else Path(options.pictures)
    for stage in options.stages:
        run = partial(wake, Path(options.data), options.row, options.keep) if stage == "wake" else partial(box, options.seconds, options.keep)
        facts = run(work, options.members, pictures)
        line = {"stage": stage, "members": options.members, **facts}
        print(json.dumps(line), flush=True)
        with (Path(options.out) / "long_rollouts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def slopes(field: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Central differences along x and y, NaN beside the obstacle."""
    return field.differentiate("x"), field.differentiate("y")


def curl(ds: xr.Dataset) -> xr.DataArray:
    """Vorticity, where both neighbours along each axis are fluid."""
    return slopes(ds["v"])[0] - slopes(ds["u"])[1]


def wake(data: Path, row: str, keep: bool, work: Path, members: int, pictures: Path | None) -> Facts:
    """50 frames of the wake from t = 115, and the errors of one and four steps over all starts."""
    case = CASES["wake"](data)
    known = case.test.sel(time=slice(None, 115.6))  # the last frames before are not among those tested
    start, lead = float(known["time"].values[1]), case.test.sizes["time"] - 2
    prior = DiffusionPrior.load(work / f"wake_{row}_0.prior").eval()
    kept: Facts = {"keep": ("divergence(u v)",)} if keep else {}
    end = "_kept" if keep else ""
    fc = Rollout(prior, lead, members, rng=Rng(0), **kept).run(case.test, [start], out=work / f"wake_{row}_long{end}.nc")
    truth = case.test.sel(time=slice(start + 0.1, None))
    facts: Facts = {"row": row, "kept": keep, "frames": lead, "start": start}
    facts["frequency_truth"] = frequency(truth["v"].sel(PROBE, method="nearest").values, 0.5)
    vorticity, run = curl(truth), fc.isel(init_time=0, drop=True).rename(lead_time="time").assign_coords(time=truth["time"].values)
    error = relative(curl(run).mean("member"), vorticity)
    facts["relative_error"] = {str(k): float(f"{error[k - 1]:.3g}") for k in (1, 4, 10, 20, lead)}
    facts["divergence"] = float(f"{divergence(run):.3g}")
    probe = run["v"].sel(PROBE, method="nearest")
    facts["frequency"] = [round(frequency(probe.isel(member=m).values, 0.5), 4) for m in range(members)]
    energy = [0.5 * (ds["u"] ** 2 + ds["v"] ** 2).mean(["x", "y"]) for ds in (run, truth)]
    facts["energy_drift"] = float(f"{float(abs(energy[0] / energy[1] - 1).max()):.3g}")
    facts["divergence_truth"] = float(f"{divergence(truth):.3g}")
    still = curl(case.test.sel(time=slice(start - 0.1, start + 0.1)).isel(time=0, drop=True))
    facts["persistence"] = {str(k): float(f"{relative(still, vorticity.isel(time=[k - 1]))[0]:.3g}") for k in (1, 4)}
    every = work / f"wake_{row}_0{end}.nc"
    if keep:  # as `surrogates.py` drew the others
        Rollout(prior.with_sampler(DPMSolver2M(), case.recipe.steps), case.leads[-1], 16, rng=Rng(0), **kept).run(case.test, case.starts, out=every)
    facts["all starts"] = all_starts(every, case)
    if pictures is not None:
        axes = new_axes(1, 2, size=(4.2, 2.8))[0]
        fan_plot(probe, truth["v"].sel(PROBE, method="nearest"), axes[0])
        fan_plot(energy[0].assign_attrs(long_name="mean kinetic energy", units="1"), energy[1], axes[1])
        figure_of(axes[0]).savefig(pictures / f"wake_{row}{end}.png", dpi=110)
    return facts


def relative(guess: xr.DataArray, truth: xr.DataArray) -> np.ndarray:
    """Relative L2 error at each time; vorticity of the truth is not centred."""
    rest, size = ((f.where(truth.notnull()) ** 2).sum(["x", "y"]).transpose("time").values for f in (guess - truth, truth))
    found: np.ndarray = np.sqrt(rest / size)
    return found


def divergence(ds: xr.Dataset) -> float:
    """Rms of the divergence over the rms of du/dy, downstream."""
    down = ds["x"] > 0.8
    both = slopes(ds["u"])[0] + slopes(ds["v"])[1], slopes(ds["u"])[1]
    return float(np.sqrt(float((both[0].where(down) ** 2).mean()) / float((both[1].where(down) ** 2).mean())))


def frequency(v: np.ndarray, step: float) -> float:
    """From the first to the last upward crossing of the mean, interpolated."""
    w = v - v.mean()
    up = np.flatnonzero((w[:-1] < 0) & (w[1:] >= 0))
    at = up + w[up] / (w[up] - w[up + 1])
    return float((len(at) - 1) / (at[-1] - at[0]) / step) if len(at) > 1 else float("nan")


def all_starts(path: Path, case: Case) -> Facts:
    """Relative vorticity error of the mean at one and four steps over every start, and persistence's; divergence, and scores of the velocities."""
    fc, truth = xr.open_dataset(path, decode_timedelta=False), curl(case.test)
    scores = table(case, fc)
    found: Facts = {"divergence": float(f"{divergence(fc):.3g}"), **{k: scores[k] for k in ("crps", "ensemble_rmse", "spread_skill")}}
    for lead in (1, 4):
        mean = curl(fc.isel(lead_time=lead - 1, drop=True).mean("member")).rename(init_time="time")
        starts, then = mean["time"].values, mean["time"].values + 0.5 * lead
        target = truth.sel(time=then, method="nearest").assign_coords(time=starts)
        last = truth.sel(time=starts, method="nearest").assign_coords(time=starts)
        found[str(lead)] = {k: float(f"{relative(g, target).mean():.3g}") for k, g in (("diffusion", mean), ("persistence", last))}
    return found


def box(seconds: float, keep: bool, work: Path, members: int, pictures: Path | None) -> Facts:
    """The demo's turbulence over 15 blocks of four frames."""
    size = Size(samples=28, frames=62, cases=4, lead=60)
    if (work / "turbulence.nc").is_file():
        whole = xr.open_dataset(work / "turbulence.nc").load()
        train, test = whole.isel(sample=slice(0, 24)), whole.isel(sample=slice(24, None))
    else:
        train, test = turbulence(work, size, 0)
    begin, path, steps = time.process_time(), work / "turbulence.prior", 0
    if not path.is_file():
        recipe = Recipe(history=2, horizon=4, anomaly="none", guess="increment")
        prior, data = prepare(train, recipe, network=partial(UNet, width=24, dropout=0.0))
        module = DiffusionModule(prior, 2e-3, 0.99, roll=("x",))
        steps, _ = steps_for(module, data, seconds=seconds, floor=50, clock=time.process_time)
        fit(module, data, max_steps=steps, out=work / "turbulence.fit", progress=False)
        prior.save(path)
    spent, prior = time.process_time() - begin, DiffusionPrior.load(path).eval()
    start = float(test["time"].values[1])
    kept = {"keep": ("vorticity",)} if keep else {}
    out = work / f"turbulence_long{'_kept' if keep else ''}.nc"
    fc = Rollout(prior, 60, members, rng=Rng(0), **kept).run(test, [start], out=out).isel(init_time=0, drop=True)  # type: ignore[arg-type]
    run, truth = fc["vorticity"].rename(lead_time="time"), test["vorticity"].isel(time=slice(2, 62))
    run = run.assign_coords(time=truth["time"].values)
    enstrophy = {"run": 0.5 * (run**2).mean(["x", "y"]), "truth": 0.5 * (truth**2).mean(["x", "y"])}
    facts: Facts = {"kept": keep, "frames": 60, "steps": steps, "cpu_seconds": round(spent), "parameters": sum(p.numel() for p in prior.parameters())}
    last = {"time": slice(40, 60)}
    spectra = [power_spectrum(f.isel(last))[1] for f in (run, truth)]
    ratio = 10 * np.log10(np.divide(*(e.reshape(-1, e.shape[-1]).mean(0) for e in spectra)))
    # all shells, and those that hold nearly all of the enstrophy
    facts["spectra_db"], facts["spectra_db_to_k15"] = (float(f"{np.sqrt(np.mean(r**2)):.3g}") for r in (ratio, ratio[:15]))
    ends = {k: e.isel(last).mean() for k, e in enstrophy.items()}
    facts["enstrophy_last_third"] = {k: round(float(e), 3) for k, e in ends.items()}
    facts["enstrophy_range"] = [round(float(f(enstrophy["run"])), 2) for f in (np.min, np.max)]
    facts["mean_vorticity"] = float(f"{float(abs(run.mean(['x', 'y'])).max()):.2g}")
    if pictures is not None:
        axes = new_axes(1, 2, size=(4.2, 3.0))[0]
        fan_plot(enstrophy["run"].isel(sample=0).assign_attrs(long_name="enstrophy", units="1"), enstrophy["truth"].isel(sample=0), axes[0])
        spectrum_plot({"frames 41 to 60": run.isel(last)}, truth.isel(last), axes[1])
        figure_of(axes[0]).savefig(pictures / "long_rollouts.png", dpi=110)
    return facts


if __name__ == "__main__":
    main()
