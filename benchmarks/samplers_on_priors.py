"""Samplers on trained priors: CRPS, spread-skill and spectra of one block of forecast against evaluations of the network.

    physdiff demo --out demo --size.samples 600 --size.seconds 300       (or `physdiff fit` on files of your own)
    python benchmarks/samplers_on_priors.py --prior demo/turbulence.prior --data test.nc --out benchmarks/results --picture docs/images

Every sampler draws the same ensemble (same starts, members and noise) by the same numbers of evaluations; a prior without a past draws windows, which
are compared with the data by their spectrum alone. ``--turbulence N`` generates N test trajectories of the demo in place of ``--data``. One JSON
line per prior, sampler and number of evaluations goes to ``<out>/samplers_on_priors.jsonl``; with ``--picture`` a picture per prior.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import xarray as xr
from accelerator import facts

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.cli.demo import Size, turbulence
from physdiff.cli.device import best_device
from physdiff.data.open import open_dataset
from physdiff.data.timeline import FORCINGS
from physdiff.data.windows import TrajectoryWindows
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.dpm_single import DPMSolverSingle
from physdiff.diffusion.samplers.er_sde import ERSDE
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.evaluation.evaluate import evaluate
from physdiff.forecast.rollout import Rollout, history_of
from physdiff.plots.style import figure_of, new_axes, tidy
from physdiff.scores.crps import crps
from physdiff.scores.spectrum import band_power_ratio
from physdiff.scores.spread_skill import spread_skill

SAMPLERS: dict[str, Sampler] = {
    "DDPM": DDPM(),
    "ER-SDE-1": ERSDE(),
    "SDE 2M": ExponentialMultistep(2, noise=1.0),
    "DDIM": DDIM(),
    "Heun": Heun(),
    "++2S": DPMSolverSingle(2),
    "++2M": DPMSolver2M(),
    "UniPC-3": UniPC(3),
}
# shares of the Nyquist wavenumber; above 0.6 the solver keeps next to nothing
BANDS = (0.0, 0.06, 0.12, 0.25, 0.4, 0.6)
LABELS = {"crps": "CRPS", "spread_skill": "spread over error", "spectrum_db": "distance of spectra (dB)"}
Line = dict[str, Any]


def main() -> None:
    """Run the table of samplers for each prior."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", nargs="+", required=True)
    parser.add_argument("--data", nargs="*", default=[], help="test data, one file per prior")
    parser.add_argument("--turbulence", type=int, default=0, help="trajectories of the demo generated as test data of every prior")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[5, 8, 12, 16, 24, 40, 80])
    parser.add_argument("--cases", type=int, default=32)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--last", type=float, default=1.0, help="share of the times, at their end, that is used")
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--picture", default="")
    arguments = parser.parse_args()
    device = best_device()
    generated = _generated(arguments.turbulence) if arguments.turbulence else None
    path = Path(arguments.out) / "samplers_on_priors.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(arguments.prior):
        prior = DiffusionPrior.load(name).to(device)
        data = generated if generated is not None else open_dataset(arguments.data[i], variables=list(prior.spec.names))
        data = data.isel(time=slice(round(data.sizes["time"] * (1 - arguments.last)), None))
        lines = []
        for line in _table(prior, data, arguments):
            lines.append({"prior": Path(name).stem, **line, **facts(device)})
            print(json.dumps(lines[-1]), flush=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
        for key in (k for k in LABELS if k in lines[0]):
            print(f"\n{key}\n{rows(lines, key)}")
        if arguments.picture:
            _picture(lines, Path(arguments.picture) / f"samplers_{Path(name).stem}.png")


def _generated(count: int) -> xr.Dataset:
    with tempfile.TemporaryDirectory() as folder:
        # another seed than the demo's: none of its trajectories was trained on
        parts = turbulence(Path(folder), Size(samples=max(2, count)), 4242)
        return xr.concat([p.load() for p in parts], "sample")


def _table(prior: DiffusionPrior, data: xr.Dataset, arguments: argparse.Namespace) -> Any:  # noqa: ANN401 - an iterator of lines
    exact = {} if getattr(prior.denoiser, "base", None) is None else {"ExactLinear": ExactLinear()}
    for name, sampler in {**SAMPLERS, **exact}.items():
        for evaluations in arguments.evaluations:
            prior.sampler, prior.steps = sampler, sampler.steps_for(evaluations)
            begin = time.perf_counter()
            scores = _forecast(prior, data, arguments) if _has_past(prior) else _windows_drawn(prior, data, arguments)
            yield {"sampler": name, "evaluations": evaluations, **scores, "seconds": round(time.perf_counter() - begin, 2)}


def _has_past(prior: DiffusionPrior) -> bool:
    try:
        return history_of(prior) > 0
    except InputError:
        return False


def _forecast(prior: DiffusionPrior, data: xr.Dataset, arguments: argparse.Namespace) -> dict[str, float]:
    """Scores of the block's last frame, averaged over fields and cases; the power of its members over the truth's, rms decibels of the bands."""
    history = history_of(prior)
    horizon = prior.spec.frames - history
    many = data.sizes.get("sample", 1)
    count = max(1, arguments.cases // many)
    first, last = history - 1, data.sizes["time"] - horizon - 1
    starts = [data["time"].values[round(first + (last - first) * (k + 0.5) / count)] for k in range(count)]
    forecast = Rollout(prior, horizon, arguments.members, rng=Rng(0), max_batch=256).run(data, starts)
    names = {"crps": crps, "spread_skill": spread_skill, **{f"band {a}": band_power_ratio(a, b, zonal=True) for a, b in pairwise(BANDS)}}
    table = evaluate(forecast, data, names).isel(lead_time=-1)
    found = {k: round(float(table[k].mean()), 5) for k in ("crps", "spread_skill")}
    ratios = [10 * math.log10(float(table[k].mean())) for k in names if k.startswith("band")]
    return {**found, "spectrum_db": round(math.sqrt(sum(r**2 for r in ratios) / len(ratios)), 5)}


def _windows_drawn(prior: DiffusionPrior, data: xr.Dataset, arguments: argparse.Namespace) -> dict[str, float]:
    """The rms decibels between the zonal spectra of draws and data, each field's anomalies from the data's mean."""
    names = () if prior.cond_spec is None else prior.cond_spec.names[len(prior.spec.names) + 1 :]
    extras, statics = (tuple(n for n in names if (n in FORCINGS) == forcing) for forcing in (True, False))
    windows = TrajectoryWindows(data, history=0, horizon=prior.spec.frames, spec=prior.spec, extras=extras, statics=statics)
    chosen = [windows[round(k * (len(windows) - 1) / max(1, arguments.cases - 1))] for k in range(arguments.cases)]
    count = arguments.cases * arguments.members
    cond = None if prior.cond_spec is None else torch.stack([w["cond"] for w in chosen]).repeat_interleave(arguments.members, 0)
    draws = prior.sample(count, cond=cond, rng=Rng(0), max_batch=256).cpu()
    truth = torch.stack([windows[k]["x"] for k in range(len(windows))])
    mean = truth.mean((0, 2), keepdim=True)
    ratios = []
    for own, real in zip((draws - mean).unbind(1), (truth - mean).unbind(1), strict=True):
        both = [torch.fft.rfft(f - f.mean(-1, keepdim=True)).abs().square().flatten(0, -2).mean(0)[1:] for f in (own, real)]
        ratios.append(10 * (both[0] / both[1]).log10())
    return {"spectrum_db": round(float(torch.cat(ratios).square().mean().sqrt()), 5)}


def _picture(lines: list[Line], path: Path) -> None:
    keys = {k: v for k, v in LABELS.items() if k in lines[0]}
    axes, counts = new_axes(1, len(keys))[0], sorted({line["evaluations"] for line in lines})
    for axis, (key, label) in zip(axes, keys.items(), strict=True):
        for name in dict.fromkeys(line["sampler"] for line in lines):
            own = [line for line in lines if line["sampler"] == name]
            axis.plot([line["evaluations"] for line in own], [line[key] for line in own], marker="o", label=name)
        tidy(axis, x="evaluations of the network", y=label)
        axis.set_xscale("log")
        axis.set_xticks(counts, [str(n) for n in counts], minor=False)
        axis.minorticks_off()
        if key != "spread_skill":
            axis.set_yscale("log")
    axes[0].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_of(axes[0]).savefig(path)


def rows(lines: list[Mapping[str, Any]], key: str) -> str:
    """A table of one score: samplers by evaluations."""
    counts = sorted({line["evaluations"] for line in lines})
    head = ["| sampler | " + " | ".join(str(n) for n in counts) + " |", "|---" * (len(counts) + 1) + "|"]
    body = []
    for name in dict.fromkeys(line["sampler"] for line in lines):
        own = {line["evaluations"]: line[key] for line in lines if line["sampler"] == name}
        body.append(f"| {name} | " + " | ".join(f"{own[n]:.3g}" if n in own else "-" for n in counts) + " |")
    return "\n".join(head + body)


if __name__ == "__main__":
    main()
