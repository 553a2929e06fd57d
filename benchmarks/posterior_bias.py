"""Bias of every posterior sampler on four small targets with a known posterior: the table of docs/choose_a_posterior.md.

    python benchmarks/posterior_bias.py --out benchmarks/results

T1 one number, T2 two numbers read through a matrix, T3 two modes of posterior weight 0.069 and 0.931, T4 four frames of an autoregression of which
two are read. Of the draws: the error of the mean in posterior standard deviations (root mean square over the entries), the variance over the exact
one (mean over the entries), on T3 the weight of the first mode, log p(y) where the method gives one. One JSON line per result goes to
``<out>/posterior_bias.jsonl``, the table to the terminal. Seconds are CPU time on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.heun import Heun
from physdiff.inference.ensemble_guided import EnsembleGuided
from physdiff.inference.ensemble_posterior import EnsembleKalman
from physdiff.inference.exact import GaussianTarget, MixtureTarget, ar1_target
from physdiff.inference.feynman_kac import AnnealedSMC
from physdiff.inference.guided import Guided
from physdiff.inference.posterior import PosteriorSampler
from physdiff.inference.restoration import Restoration
from physdiff.inference.splitting import DAPS, DiffPIR, REDDiff, SplitGibbs
from physdiff.inference.tempered_smc import TemperedSMC
from physdiff.inference.twisted_smc import TwistedSMC


def d(*values: float | list[float]) -> Tensor:
    """Numbers in float64."""
    return torch.tensor(values, dtype=torch.float64)


TARGETS: dict[str, GaussianTarget | MixtureTarget] = {
    "T1": GaussianTarget(d(0.0), d([0.5]), d([1.0]), d(0.8), d(1.0)),
    "T2": GaussianTarget(d(0.0, 0.0), 0.5 * torch.eye(2).double(), d([1.0, 0.4], [-0.2, 0.7]), d(0.8, -0.4), d(1.0, 1.0)),
    "T3": MixtureTarget(d(0.3, 0.7), d([-1.0, -1.0], [1.0, 1.0]), d([0.1, 0.2], [0.2, 0.1]).sqrt(), d([1.0, 0.5]), d(0.2), d(0.5)),
    "T4": ar1_target(4, 0.9, seen=(0, 3), y=d(1.0, -1.0), std=0.5),
}
guided = partial(Guided, Heun(), 50, max_batch=1000)
METHODS: dict[str, PosteriorSampler] = {
    "Guided": guided(),
    "Guided(spread='prior')": guided(spread="prior"),
    "Guided(spread='moments') (MMPS)": guided(spread="moments"),
    "Guided(spread='unit') (PiGDM)": guided(spread="unit"),
    "Guided(spread='readings', strength=0.01) (SDA)": guided(spread="readings", strength=0.01),
    "Guided(spread='residual') (DPS)": guided(spread="residual"),
    "Guided(spread='none') (DPS, plain)": guided(spread="none"),
    "Restoration('DDRM')": Restoration("DDRM", max_batch=1000),
    "Restoration('DDNM')": Restoration("DDNM", max_batch=1000),
    "Restoration('MCG')": Restoration("MCG", max_batch=1000),
    "DiffPIR": DiffPIR(max_batch=1000),
    "DAPS": DAPS(max_batch=1000),
    "SplitGibbs(20, (1, 0.1), 0.8, inner=10)": SplitGibbs(20, (1.0, 0.1), 0.8, inner=10, max_batch=1000),
    "REDDiff": REDDiff(160, max_batch=1000),
    "EnsembleKalman('eki')": EnsembleKalman("eki", max_batch=1000),
    "EnsembleKalman('etkf')": EnsembleKalman("etkf", max_batch=1000),
    "EnsembleGuided (EnKG)": EnsembleGuided(16, max_batch=1000),
    "EnsembleGuided(80, 2, length=2) (EnKG, as published)": EnsembleGuided(80, 2, length=2.0, max_batch=1000),
    "TwistedSMC": TwistedSMC(max_batch=1000),
    "TwistedSMC(through_network=False)": TwistedSMC(through_network=False, max_batch=1000),
    "AnnealedSMC(guidance=0)": AnnealedSMC(guidance=0.0, max_batch=1000),
    "AnnealedSMC(guidance=0.5)": AnnealedSMC(guidance=0.5, max_batch=1000),
    "AnnealedSMC(guidance=1)": AnnealedSMC(guidance=1.0, max_batch=1000),
    "TemperedSMC(Heun(), 30)": TemperedSMC(Heun(), 30, max_batch=1000),
}


def measured(method: str, name: str, n: int) -> dict[str, float | str | int]:
    """One method on one target."""
    target = TARGETS[name]
    start = time.process_time()
    ensemble = METHODS[method].sample(target.posterior(), n, rng=Rng(1))
    seconds = time.process_time() - start
    x, w = ensemble.members.flatten(1).double(), ensemble.weights
    std = target.posterior_covariance.diagonal().sqrt()
    mean = w @ x
    row: dict[str, float | str | int] = {"target": name, "method": method, "n": n, "cpu_s": seconds, "nfe": int(ensemble.info["nfe"])}
    row["mean_error"] = float((((mean - target.posterior_mean) / std) ** 2).mean().sqrt())
    row["variance_ratio"] = float((w @ (x - mean) ** 2 / std**2).mean())
    if name == "T3":
        row["first_mode"] = float(w[x.sum(1) < 0].sum())
    if "log_evidence" in ensemble.info:
        row["log_evidence_error"] = float(ensemble.info["log_evidence"]) - target.log_evidence
    return row


def main() -> None:
    """Run all methods on all targets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--n", type=int, default=1000, help="draws; a fourth of them for SplitGibbs and TemperedSMC")
    parser.add_argument("--only", default="", help="semicolon list: methods whose name contains one of these")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print("| method | " + " | ".join(TARGETS) + " | first mode, T3 |\n|---|" + "---|" * (len(TARGETS) + 1))
    with (arguments.out / "posterior_bias.jsonl").open("w") as file:
        for method in METHODS:
            if not any(part in method for part in arguments.only.split(";")):
                continue
            n = arguments.n // 4 if method.startswith(("SplitGibbs", "TemperedSMC")) else arguments.n
            rows = {name: measured(method, name, n) for name in TARGETS}
            cells = [f"{row['mean_error']:.2f}, {row['variance_ratio']:.2f}" for row in rows.values()]
            print(f"| `{method}` | " + " | ".join(cells) + f" | {rows['T3']['first_mode']:.3f} |", flush=True)
            file.writelines(json.dumps({**row, "torch": torch.__version__}) + "\n" for row in rows.values())


if __name__ == "__main__":
    main()
