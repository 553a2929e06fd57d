"""Samplers on exact scores beside those of diffusers and azula: job P4, and the same on a red spectrum.

    python benchmarks/samplers.py --peers ../shared/bench/peers --peer-python <python with torch 2.13.0, diffusers, azula> --out benchmarks/results

Targets: ring (8 Gaussians on a circle, 2-D), gauss64 (64-D, spectrum k^-2, rotated), red64 (the same with k^-3). Every sampler starts at its own
noise level sigma z from the same 1024 normal draws z, and its end is compared with the converged flow from that start; the error is the root mean
square over the target's. Ours begins at sigma = 80 and ends at zero. What our default may know beside the score is mean and covariance of `--draws`
draws of the target (its "training set"); other rows know nothing. One JSON line per row goes to ``<out>/samplers.jsonl`` and the terminal, the
picture to ``--picture``. Samplers with fresh noise have no such error: for all of ours the standard deviation of each mode of a red spectrum is held
to the truth, exactly (`sampler_gain`; picture ``--spread-picture``). Then the processor time of a sampler's own arithmetic beside a small U-Net's
evaluation.
"""

from __future__ import annotations

# ruff: noqa: ANN401 - the job's module and JSON lines are not typed
import argparse
import importlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import FourierCovariance, dense_covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.dpm_single import DPMSolverSingle
from physdiff.diffusion.samplers.er_sde import ERSDE, ERSDEMultistep
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.samplers.genie import GENIE
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.langevin import LangevinCorrected
from physdiff.diffusion.samplers.restart import Restart
from physdiff.diffusion.samplers.sampler import Sampler, start_state
from physdiff.diffusion.samplers.sde_single import SDESolverSingle
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.evaluation.sampler_gain import sampler_gain
from physdiff.networks.unet import UNet

BUDGETS = (5, 10, 20, 40, 80)
SCHEDULE = EDMSchedule(0.002, 80.0)
DEFAULT = "ExactLinear"

# the job's own main on its targets, then on a red Gaussian in the place of its first
WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[1:]
import p4_samplers as job
job.main()
plain, emit = job.power_gaussian, job.emit
job.ring_mixture = lambda seed: plain(seed, 64, 3.0)
job._ref.clear()

def red(j, peer, version, config, **metrics):
    if config.get("target") != "ring":
        sys.stdout.flush()
        raise SystemExit
    emit(j, peer, version, {**config, "target": "red64"}, **metrics)

job.emit = red
job.main()
"""


class Exact(Denoiser):
    """A target of the job as a denoiser on (B, d, 1, 1), which counts its calls."""

    def __init__(self, prior: Any) -> None:
        super().__init__()
        self.prior, self.schedule, self.calls = prior, SCHEDULE, 0

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The posterior mean."""
        self.calls += 1
        alpha, sigma = self.schedule(t)
        return self.prior.denoise(x_t.flatten(1) / alpha, float(sigma / alpha)).reshape(x_t.shape)


def targets(peers: str) -> dict[str, Any]:
    """The job's targets, and the red one."""
    sys.path.insert(0, peers)
    analytic = importlib.import_module("_analytic")
    return {"ring": analytic.ring_mixture(0), "gauss64": analytic.power_gaussian(0), "red64": analytic.power_gaussian(0, 64, 3.0)}


def learnt_base(prior: Any, draws: int) -> GaussianDenoiser:
    """Mean and covariance of draws of the target."""
    x = prior.sample(draws, torch.Generator().manual_seed(7))
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / (draws - 1)
    return GaussianDenoiser(SCHEDULE, mean.reshape(-1, 1, 1), dense_covariance(covariance))


def ours(draws: int) -> dict[str, Callable[[Any], Sampler]]:
    """Our rows; the first is the default. GENIE has none here: the job takes noise levels as plain numbers, along which nothing differentiates."""
    return {
        DEFAULT: lambda prior: ExactLinear(base=learnt_base(prior, draws)),
        f"{DEFAULT}, 256 draws": lambda prior: ExactLinear(base=learnt_base(prior, 256)),
        "UniPC(3)": lambda prior: UniPC(3),
        "DPMSolverSingle(2)": lambda prior: DPMSolverSingle(2),
        "DPMSolverSingle(3)": lambda prior: DPMSolverSingle(3),
        "ExponentialMultistep(3)": lambda prior: ExponentialMultistep(3),
        "DPMSolver2M": lambda prior: DPMSolver2M(),
        "Heun": lambda prior: Heun(),
        "DDIM": lambda prior: DDIM(),
    }


def measured(make: Callable[[Any], Sampler], prior: Any, reference: Tensor, start: Tensor) -> tuple[dict[str, float], dict[str, int]]:
    """Errors and calls by budget."""
    errors, calls = {}, {}
    for budget in BUDGETS:
        denoiser, sampler = Exact(prior), make(prior)
        out = sampler.run(denoiser, start, sampler.grid(denoiser, sampler.steps_for(budget)), rng=Rng(0)).flatten(1)
        errors[str(budget)] = float(f"{float((out - reference).square().mean().sqrt()) / prior.std:.3g}")
        calls[str(budget)] = denoiser.calls
    return errors, calls


def our_rows(peers: str, draws: int) -> list[dict[str, Any]]:
    """All our rows on all targets."""
    rows = []
    for name, prior in targets(peers).items():
        z = torch.randn(1024, prior.m.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        reference = prior.flow(80.0 * z, 80.0, 0.0, steps=4000)
        for label, make in ours(draws).items():
            errors, calls = measured(make, prior, reference, 80.0 * z.reshape(1024, -1, 1, 1))
            config = {"target": name, "sampler": label, "sigma_start": 80.0, "sigma_end": 0.0, "draws": draws if label == DEFAULT else None}
            rows.append({"job": "P4", "peer": "physdiff", "config": config, "rms_error": errors, "calls": calls})
    return rows


def spread_samplers() -> dict[str, Sampler]:
    """Samplers whose spread is looked at."""
    return {
        "DDIM()": DDIM(),
        "DDPM()": DDPM(),
        "ERSDE()": ERSDE(),
        "ERSDEMultistep(2)": ERSDEMultistep(2),
        "ERSDEMultistep(3)": ERSDEMultistep(3),
        "ExponentialMultistep(2, noise=1)": ExponentialMultistep(2, noise=1.0),
        "SDESolverSingle()": SDESolverSingle(),
        "LangevinCorrected(DDIM(), 1, size=0.1)": LangevinCorrected(DDIM(), 1, size=0.1),
        "Restart(DPMSolver2M(), low=0.5, high=1.5, repeats=1)": Restart(DPMSolver2M(), low=0.5, high=1.5, repeats=1),
        "GENIE()": GENIE(),
        "Heun()": Heun(),
        "DPMSolver2M()": DPMSolver2M(),
        "DPMSolverSingle(2)": DPMSolverSingle(2),
        "DPMSolverSingle(3)": DPMSolverSingle(3),
        "UniPC(3)": UniPC(3),
    }


def spread_rows() -> list[dict[str, Any]]:
    """Mean and largest relative error of the standard deviation over 64 modes k^-3, down to u = 0.002, where the noise left belongs to the truth."""
    modes = torch.arange(1, 65, dtype=torch.float64) ** -3
    modes, rows = modes / modes.mean(), []
    for name, sampler in spread_samplers().items():
        mean, worst = {}, {}
        for budget in BUDGETS:
            steps = (budget - sampler.evaluations_besides()) // sampler.evaluations_per_step()
            if steps < sampler.least_steps():
                continue
            times = SCHEDULE.time_of(torch.linspace(-math.log(80), -math.log(0.00200001), steps + 1, dtype=torch.float64))
            try:
                gain = sampler_gain(sampler, SCHEDULE, times, variances=modes, start="exact")
            except InputError:  # Restart: no node within its stretch
                continue
            off = (gain * torch.sqrt(modes / (modes + SCHEDULE.sigma(times[-1]) ** 2)) - 1).abs()
            mean[str(budget)], worst[str(budget)] = (float(f"{float(v):.3g}") for v in (off.mean(), off.max()))
        rows.append({"job": "spread", "peer": "physdiff", "config": {"sampler": name}, "mean_error": mean, "worst_error": worst})
    return rows


def spread_table(rows: list[dict[str, Any]]) -> str:
    """Worst mode by budget, as Markdown."""
    lines = ["| sampler | " + " | ".join(f"NFE {b}" for b in BUDGETS) + " |", "|---|" + "---|" * len(BUDGETS)]
    for row in rows:
        cells = [f"{row['worst_error'][str(b)]:.2g}" if str(b) in row["worst_error"] else "" for b in BUDGETS]
        lines.append(f"| `{row['config']['sampler']}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread_picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Error of the worst mode's standard deviation against evaluations."""
    figure, axis = plt.subplots(figsize=(7.5, 5), constrained_layout=True)
    for i, row in enumerate(rows):
        pairs = [(int(b), e) for b, e in row["worst_error"].items()]
        axis.loglog(*zip(*pairs, strict=True), lw=1.5, marker="osv^D"[i % 5], ms=4, color=plt.cm.tab20(i), label=row["config"]["sampler"])
    axis.set(xlabel="network evaluations", ylabel="error of the worst mode's standard deviation", title="red spectrum, exact denoiser")
    axis.legend(fontsize=7, loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def peer_rows(python: str, peers: str) -> list[dict[str, Any]]:
    """The peers' rows, run in their own environment."""
    out = subprocess.run([python, "-c", WORKER, peers], capture_output=True, text=True, check=True, env={**os.environ, "BENCH_THREADS": "1"})
    return [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]


def best_peers(rows: list[dict[str, Any]], target: str) -> dict[str, tuple[float, str]]:
    """The best peer of each budget on a target, with its name."""
    best: dict[str, tuple[float, str]] = {}
    for row in rows:
        if row["peer"] == "physdiff" or row["config"].get("target") != target:
            continue
        for budget, error in (row.get("rms_error") or {}).items():
            if error is not None and math.isfinite(error) and error < best.get(budget, (math.inf, ""))[0]:
                best[budget] = error, f"{row['peer']} {row['config']['sampler']}"
    return best


def table(rows: list[dict[str, Any]]) -> str:
    """Our rows and the best peer of each cell, as Markdown."""
    lines = ["| target | sampler | " + " | ".join(f"NFE {b}" for b in BUDGETS) + " |", "|---|---|" + "---|" * len(BUDGETS)]
    for target in ("ring", "gauss64", "red64"):
        for row in rows:
            if row["peer"] == "physdiff" and row["config"]["target"] == target:
                cells = [f"{row['rms_error'][str(b)]:.2g}" for b in BUDGETS]
                lines.append(f"| {target} | {row['config']['sampler']} | " + " | ".join(cells) + " |")
        best = best_peers(rows, target)
        if best:
            cells = [f"{best[str(b)][0]:.2g} ({best[str(b)][1]})" for b in BUDGETS]
            lines.append(f"| {target} | best peer of each column | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Error against evaluations on each target: all peers in grey, ours in colour."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), constrained_layout=True)
    for axis, target in zip(axes, ("ring", "gauss64", "red64"), strict=True):
        for row in (r for r in rows if r["config"].get("target") == target and r.get("rms_error")):
            pairs = [(int(b), e) for b, e in row["rms_error"].items() if e is not None and math.isfinite(e) and int(b) <= 80]
            mine, label = row["peer"] == "physdiff", row["config"]["sampler"]
            shown = mine and label in (DEFAULT, f"{DEFAULT}, 256 draws", "UniPC(3)", "DPMSolver2M")
            style = {"lw": 2, "marker": "o", "label": label, "zorder": 3} if shown else {"color": "0.8" if mine else "0.7", "lw": 0.7}
            axis.loglog(*zip(*pairs, strict=True), **style)
        axis.set(title=target, xlabel="network evaluations", ylim=(1e-7, 2))
    axes[0].set_ylabel("error of the end point")
    axes[0].plot([], [], color="0.7", lw=0.7, label="diffusers, azula (one line each)")
    axes[0].legend(fontsize=8, loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


class Null(Denoiser):
    """Gives back a tensor made before: what is left of a run is the sampler's own time."""

    def __init__(self, mean: Tensor, schedule: EDMSchedule) -> None:
        super().__init__()
        self.mean, self.schedule = mean, schedule

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The tensor."""
        return self.mean


@torch.no_grad()
def overhead(repeats: int = 7) -> list[dict[str, Any]]:
    """Time of a step without its evaluation over that of a small U-Net's (width 32, one haar level of 64 x 64, 16 samples, float32)."""
    shape, steps = (4, 1, 32, 32), 20
    k = torch.fft.fftfreq(32)[:, None].square() + torch.fft.fftfreq(32).square()
    spectrum = (1 / (k + 1e-3)).expand(shape).clone()
    base = GaussianDenoiser(SCHEDULE, torch.zeros(shape), FourierCovariance(spectrum / spectrum.mean(), 2))
    x = 80 * Rng(0).normal((16, *shape), like=torch.empty(()))
    network = PreconditionedDenoiser(UNet(4, 4, ndim=2, periodic=(True, True), width=32), SCHEDULE).eval()
    null = Null(x / 80, SCHEDULE)
    t = torch.tensor(0.5, dtype=torch.float64)

    def seconds(call: Callable[[], object]) -> float:
        call()
        found = []
        for _ in range(repeats):
            before = time.process_time()
            call()
            found.append(time.process_time() - before)
        return statistics.median(found)

    evaluation, rows = seconds(lambda: network(x, t)), []
    for sampler in (DDIM(), DPMSolver2M(), UniPC(3), ExactLinear(base=base)):
        times = sampler.grid(null, steps)
        start_state(x, times)
        step = seconds(lambda s=sampler, g=times: s.run(null, x, g, rng=Rng(0))) / steps
        config = {"sampler": type(sampler).__name__, "batch": 16, "shape": shape, "network": "UNet width 32"}
        rows.append({"job": "overhead", "peer": "physdiff", "config": config, "step_ms": 1e3 * step, "evaluation_ms": 1e3 * evaluation})
        rows[-1]["share"] = step / evaluation
    return rows


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="../shared/bench/peers", help="folder of the job's scripts")
    parser.add_argument("--peer-python", help="python with diffusers and azula; without it only our side runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/samplers.png"))
    parser.add_argument("--spread-picture", type=Path, default=Path("docs/images/spread_of_samplers.png"))
    parser.add_argument("--draws", type=int, default=4096, help="draws of the target from which the default learns mean and covariance")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = peer_rows(arguments.peer_python, arguments.peers) if arguments.peer_python else []
    rows += our_rows(arguments.peers, arguments.draws)
    spreads = spread_rows()
    costs = overhead()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    facts = {"machine": platform.machine(), "torch": torch.__version__, "threads": arguments.threads, "commit": commit}
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "samplers.jsonl").open("w", encoding="utf-8") as file:
        for row in [*rows, *spreads, *costs]:
            file.write(json.dumps({**row, **facts}) + "\n")
    print(table(rows))
    print(spread_table(spreads))
    spread_picture(spreads, arguments.spread_picture)
    for row in costs:
        share = f"{100 * row['share']:.2f} % of an evaluation of {row['evaluation_ms']:.1f} ms"
        print(f"{row['config']['sampler']:12} {row['step_ms']:.3f} ms a step, {share}")
    if any(row["peer"] != "physdiff" for row in rows):
        for target in ("ring", "gauss64", "red64"):
            mine = next(r for r in rows if r["peer"] == "physdiff" and r["config"] == {**r["config"], "target": target, "sampler": DEFAULT})
            best = best_peers(rows, target)
            for budget in BUDGETS[:4]:
                ratio = best[str(budget)][0] / max(mine["rms_error"][str(budget)], 1e-16)
                print(f"{target} NFE {budget}: {'best' if ratio > 1 else 'NOT best'}, {ratio:.1f} times below the best peer")
        picture(rows, arguments.picture)


if __name__ == "__main__":
    main()
