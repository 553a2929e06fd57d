"""Posterior samplers on inverse problems with a known answer: job P5 beside deepinv and azula.

    python benchmarks/posterior.py --peers <folder with p5_posterior.py> --peer-python <python with deepinv, azula> --out benchmarks/results

Mixtures of 25 modes in 2 and 80 dimensions and a Gaussian in 64, read through random operators with noise 0.05 and 0.5; problems, exact draws and
the distance (sliced Wasserstein-1, 1000 draws, unscaled units) are those of the peers' own script, and the denoiser is its closed form. Our samplers
get the prior's covariance, as training data would give it, and coefficients scaled to unit mean variance. Seconds are CPU time of the process on one
thread: the figure that a shared machine leaves alone. One JSON line per result goes to ``<out>/posterior.jsonl`` and the terminal.
"""

from __future__ import annotations

# ruff: noqa: ANN401 - the peers' problems and JSON lines are not typed
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("BENCH_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import Covariance, dense_covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.exact import plain_prior, plain_spec
from physdiff.inference.feynman_kac import AnnealedSMC
from physdiff.inference.guided import Guided
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.twisted_smc import TwistedSMC
from physdiff.transforms.normalizer import Normalizer

# Run in the peers' interpreter: their script, with CPU time for its clock.
WORKER = """
import sys, time, types
sys.path.insert(0, sys.argv.pop(1))
import p5_posterior as job
job.time = types.SimpleNamespace(perf_counter=time.process_time)
job.main()
"""


class Plugged(Denoiser):
    """A closed-form denoiser of the peers, D(x, sigma), in coefficients x / scale."""

    def __init__(self, prior: Any, scale: float) -> None:
        super().__init__()
        self.prior, self.scale, self.schedule = prior, scale, EDMSchedule()
        self.register_buffer("kind", torch.zeros((), dtype=torch.float64), persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See Denoiser.forward."""
        _, sigma = self.schedule(torch.as_tensor(t).reshape(-1)[0])
        return (self.prior.denoise(self.scale * x_t.flatten(1), self.scale * float(sigma)) / self.scale).reshape(x_t.shape)


def covariance_of(prior: Any) -> Tensor:
    """Covariance of the peers' mixture, (d, d)."""
    off = prior.m - prior.w @ prior.m
    return prior.Q @ torch.diag(prior.lam) @ prior.Q.T + (prior.w[:, None] * off).T @ off


def posterior_of(problem: dict[str, Any]) -> tuple[Posterior, Covariance]:
    """One of the peers' problems as our posterior, and the covariance of its coefficients."""
    prior = problem["prior"]
    scale = float(prior.std)
    spec = plain_spec((1, 1, problem["d"]))
    ours = plain_prior(Plugged(prior, scale), spec)
    ours.transform = Normalizer((), torch.zeros(()).double(), torch.tensor(scale).double())
    observation = Observation(MatrixOperator(problem["A"], spec.shape), problem["y"], std=problem["noise"])
    return Posterior(ours, observation), dense_covariance(covariance_of(prior) / scale**2)


def log_evidence(problem: dict[str, Any]) -> float:
    """Log p(y), exact."""
    prior, a = problem["prior"], problem["A"]
    s = a @ prior.Q @ torch.diag(prior.lam) @ prior.Q.T @ a.T + problem["noise"] ** 2 * torch.eye(len(a), dtype=a.dtype)
    law = torch.distributions.MultivariateNormal(torch.zeros(len(a), dtype=a.dtype), s)
    return float(torch.logsumexp(torch.log(prior.w) + law.log_prob(problem["y"] - prior.m @ a.T), 0))


Make = Callable[[Covariance], PosteriorSampler]
METHODS: dict[str, Make] = {
    "TwistedSMC, 100 steps": lambda c: TwistedSMC(steps=100, covariance=c, max_batch=1000),
    "TwistedSMC, 100 steps, no gradient of the network": lambda c: TwistedSMC(steps=100, covariance=c, through_network=False, max_batch=1000),
    "TwistedSMC, 200 steps, no gradient of the network": lambda c: TwistedSMC(steps=200, covariance=c, through_network=False, max_batch=1000),
    "AnnealedSMC c = 0, 200 steps": lambda c: AnnealedSMC(steps=200, guidance=0.0, max_batch=1000),
    "AnnealedSMC c = 1/2, 200 steps": lambda c: AnnealedSMC(steps=200, guidance=0.5, max_batch=1000),
    "Guided, Heun 50 steps": lambda c: Guided(Heun(), 50, c, max_batch=1000),
    "Guided, DDPM 100 steps": lambda c: Guided(DDPM(), 100, c, max_batch=1000),
    "Guided(spread='moments'), DDPM 100 steps": lambda c: Guided(DDPM(), 100, c, spread="moments", max_batch=1000),
}


def ours(job: Any, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every method of ours on every problem."""
    rows = []
    asked = argparse.Namespace(quick=arguments.quick, seed=0)
    for name, noise, instances in job.problems(asked):
        if arguments.problems and name not in arguments.problems.split(","):
            continue
        for method, make in METHODS.items():
            if arguments.only and not any(part in method for part in arguments.only.split(";")):
                continue
            distances, seconds, errors, survivors = [], [], [], []
            for r, problem in enumerate(instances):
                posterior, covariance = posterior_of(problem)
                start = time.process_time()
                ensemble = make(covariance).sample(posterior, problem["n"], rng=Rng(r))
                seconds.append(time.process_time() - start)
                drawn = ensemble if ensemble.equally_weighted else ensemble.resample(Rng(r).child("equal"))
                distances.append(job.sliced_w1(drawn.members.flatten(1).double(), problem["exact"]) / problem["sc"])
                if "log_evidence" in ensemble.info:
                    errors.append(float(ensemble.info["log_evidence"]) - log_evidence(problem))
                    survivors.append(int(ensemble.info["survivors"]))
            row = {"problem": name, "noise": noise, "side": "physdiff", "method": method, "sliced_w1": statistics.fmean(distances)}
            row |= {"each": distances, "cpu_s": statistics.median(seconds), "nfe": int(ensemble.info["nfe"])}
            rows.append({**row, "log_evidence_error": errors, "survivors": survivors} if errors else row)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def theirs(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The peers' rows, by their own script in their own interpreter."""
    command = [arguments.peer_python, "-c", WORKER, str(arguments.peers), *(["--quick"] if arguments.quick else [])]
    command += ["--only", arguments.peer_only] if arguments.peer_only else []
    environment = {**os.environ, "PYTHONPATH": "", "BENCH_THREADS": "1"}
    rows = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            got = json.loads(line)
            config = got.pop("config")
            if "error" in got or not config:
                print(line.strip(), file=sys.stderr)
                continue
            method = " ".join(part for part in (got["peer"], config.get("variant", "")) if part)
            row = {"problem": config["problem"], "noise": config["noise"], "side": got["version"] or "exact", "method": method}
            row |= {"sliced_w1": got["sliced_w1"]} | ({"cpu_s": got["s_per_1000"], "each": got["sliced_w1_each"]} if "s_per_1000" in got else {})
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    """Run the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder with p5_posterior.py and what it imports")
    parser.add_argument("--peer-python", help="python of an environment with deepinv and azula; only our side runs without")
    parser.add_argument("--peer-only", default="", help="comma list: peers whose name contains one of these")
    parser.add_argument("--only", default="", help="semicolon list: our methods whose name contains one of these")
    parser.add_argument("--problems", default="", help="comma list: our side's problems")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--quick", action="store_true", help="one operator and one noise, another than in the record")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(arguments.peers))
    import p5_posterior as job

    rows = ours(job, arguments)
    if arguments.peer_python:
        rows += theirs(arguments)
    machine = {"torch": torch.__version__, "threads": 1, "cpu": platform.processor() or platform.machine()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "posterior.jsonl").open("w") as file:
        file.writelines(json.dumps({**row, **machine}) + "\n" for row in rows)


if __name__ == "__main__":
    main()
