"""Targets with known posteriors and what a sampler's runs say of them: distance, mode weights and evidence against the exact ones.

    python -m tests.laws.posterior_gates --only TwistedSMC --targets gmm80

prints the rows of docs/choose_a_posterior.md. Mixtures are 25 modes of unit spread 8 apart on a square (copied along d entries), Gaussians a
stationary autoregression of 16 entries; both are read through random operators with singular values in [0.5, 1].
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.ensemble_posterior import EnsembleKalman
from physdiff.inference.exact import GaussianTarget, MixtureTarget, ar1_covariance
from physdiff.inference.feynman_kac import AnnealedSMC
from physdiff.inference.guided import Guided
from physdiff.inference.hmc import HMC, NUTS
from physdiff.inference.posterior import PosteriorSampler
from physdiff.inference.tempered_smc import TemperedSMC
from physdiff.inference.twisted_smc import TwistedSMC

LIKE = torch.zeros((), dtype=torch.float64)


def operator(d: int, m: int, seed: int) -> Tensor:
    """Orthonormal rows times singular values in [0.5, 1]."""
    rows = torch.linalg.qr(Rng(seed).child("rows").normal((d, m), like=LIKE))[0].T
    return (0.5 + 0.5 * Rng(seed).child("values").uniform((m, 1), like=LIKE)) * rows


def modes(d: int, m: int, noise: float, seed: int) -> MixtureTarget:
    """The 25 modes in units of 8, so that coefficients have some unit size: spread 1/8, noise in the same unit."""
    steps = torch.arange(-2, 3).double()
    means = torch.cartesian_prod(steps, steps).repeat(1, d // 2)
    weights = 0.2 + Rng(seed).child("weights").uniform((25,), like=LIKE)
    matrix = operator(d, m, seed)
    truth = means[int(25 * Rng(seed).child("mode").uniform((1,), like=LIKE))] + Rng(seed).child("truth").normal((d,), like=LIKE) / 8
    y = matrix @ truth + noise / 8 * Rng(seed).child("noise").normal((m,), like=LIKE)
    return MixtureTarget(weights, means, torch.full((25, d), 1 / 8).double(), matrix, y, torch.full((m,), noise / 8).double())


def line(m: int, noise: float, seed: int) -> GaussianTarget:
    """Sixteen correlated entries."""
    matrix = operator(16, m, seed)
    y = matrix @ (torch.linalg.cholesky(ar1_covariance(16, 0.9)) @ Rng(seed + 1).normal((16,), like=LIKE))
    return GaussianTarget(torch.zeros(16).double(), ar1_covariance(16, 0.9), matrix, y, torch.full((m,), noise).double())


def sliced(target: GaussianTarget | MixtureTarget, results: list[Ensemble], n: int) -> tuple[float, float, float]:
    """Sliced Wasserstein-1 distance of the mean law of some runs to the exact one, its standard error, and that of n exact draws.

    The integral of |F - F_exact| over 64 slices; the standard errors are integrals of that of F at every place: from the runs, which are independent,
    and from the 10 000 exact draws that stand for F_exact.
    """
    exact = target.draw(10_000, rng=Rng(10)).flatten(1)
    directions = torch.nn.functional.normalize(Rng(0).normal((exact.shape[1], 64), like=LIKE), dim=0)
    places = torch.cat([exact, *(r.members.flatten(1).double() for r in results)]) @ directions
    ordered, order = places.sort(0)
    width, at, curves = ordered.diff(dim=0), 0, []
    for weights in (torch.full((len(exact),), 1 / len(exact), dtype=torch.float64), *(r.weights for r in results)):
        mass = torch.zeros(len(places), dtype=torch.float64)
        mass[at : at + len(weights)] = weights
        at += len(weights)
        curves.append(mass[order].cumsum(0)[:-1])
    truth, runs = curves[0], torch.stack(curves[1:])
    variance = (truth * (1 - truth)).clamp_min(0)
    error = (runs.var(0) / len(runs) + variance / len(exact)).sqrt()
    found = [((v * width).sum(0)).mean() for v in ((runs.mean(0) - truth).abs(), error, (variance / n).sqrt())]
    unit = float(target.stds[0, 0]) if isinstance(target, MixtureTarget) else 1.0
    return float(found[0]) / unit, float(found[1]) / unit, float(found[2]) / unit


def mode_shares(target: MixtureTarget, ensemble: Ensemble) -> Tensor:
    """Mean over the draws of the probability that each mode made them, (K,): unbiased for the modes' posterior weights."""
    x = ensemble.members.flatten(1).double()
    joint = torch.log(target.weights) - 0.5 * (torch.cdist(x, target.means) / target.stds[0, 0]) ** 2
    return ensemble.weights @ torch.softmax(joint, 1)


@dataclass(frozen=True)
class Gate:
    """What some runs say.

    Args:
        ratio: Mean of the evidence over the exact one; the evidence is unbiased, not its logarithm. NaN where a method gives none.
        ratio_error: Its standard error.
        shares: Off from the modes' weights, in standard errors of the runs and of one particle, the worst.
        worst: Off from the modes' weights, the largest.
        mean: Off from the posterior mean in posterior standard deviations, root mean square over the entries, all runs together.
        variance: Mean over the entries of the variance over the exact one, all runs together.
        distance: Sliced Wasserstein distance of all runs together to the exact law, in a mode's spread.
        distance_error: Its standard error.
        floor: The standard error of as many exact draws as one run has.
        seconds: CPU seconds of a run.
    """

    ratio: float
    ratio_error: float
    shares: float
    worst: float
    mean: float
    variance: float
    distance: float
    distance_error: float
    floor: float
    seconds: float


def measured(target: GaussianTarget | MixtureTarget, sampler: PosteriorSampler, *, n: int, runs: int, sigma_max: float = 40.0) -> Gate:
    """Run a sampler with as many seeds."""
    exact_prior = ExactLinear() if isinstance(target, GaussianTarget) else None
    posterior = target.posterior(EDMSchedule(sigma_max=sigma_max), sampler=exact_prior, steps=1 if exact_prior else 20)
    start = time.process_time()
    results = [sampler.sample(posterior, n, rng=Rng(k)) for k in range(runs)]
    seconds = (time.process_time() - start) / runs
    ratio = torch.full((runs,), math.nan, dtype=torch.float64)
    if "log_evidence" in results[0].info:
        ratio = torch.stack([(r.info["log_evidence"].double() - target.log_evidence).exp() for r in results])
    off, error = torch.zeros(1).double(), torch.ones(1).double()
    if isinstance(target, MixtureTarget):
        shares = torch.stack([mode_shares(target, r) for r in results])
        # modes that no run has visited have no spread of their own to judge by: that of one particle is added
        error = shares.std(0) / math.sqrt(runs) + (target.posterior_weights / (n * runs)).sqrt()
        off = (shares.mean(0) - target.posterior_weights).abs()
        error = error.clamp_min(1e-9)
    x, w = torch.cat([r.members.flatten(1).double() for r in results]), torch.cat([r.weights for r in results]) / runs
    mean, var = w @ x, target.posterior_covariance.diagonal()
    distance, distance_error, floor = sliced(target, results, n)
    return Gate(
        ratio=float(ratio.mean()),
        ratio_error=float(ratio.std()) / math.sqrt(runs),
        shares=float((off / error).max()),
        worst=float(off.max()),
        mean=float(((mean - target.posterior_mean) ** 2 / var).mean().sqrt()),
        variance=float((w @ (x - mean) ** 2 / var).mean()),
        distance=distance,
        distance_error=distance_error,
        floor=floor,
        seconds=seconds,
    )


def methods(n: int) -> dict[str, tuple[PosteriorSampler, int]]:
    """Samplers and the members each is asked for."""
    chains = dict(chains=100, warmup=60, draws=40, max_batch=n)
    return {
        "TwistedSMC": (TwistedSMC(max_batch=n), n),
        "TwistedSMC(through_network=False)": (TwistedSMC(through_network=False, max_batch=n), n),
        "AnnealedSMC(guidance=0)": (AnnealedSMC(steps=200, guidance=0.0, max_batch=n), n),
        "AnnealedSMC(guidance=0.5)": (AnnealedSMC(steps=200, max_batch=n), n),
        "AnnealedSMC(guidance=1)": (AnnealedSMC(steps=200, guidance=1.0, max_batch=n), n),
        "TemperedSMC": (TemperedSMC(Heun(), 18, max_batch=n), n),
        "HMC": (HMC(Heun(), 12, **chains), n),
        "NUTS": (NUTS(Heun(), 12, 5, **chains), n),
        "Guided": (Guided(Heun(), 50, max_batch=n), n),
        "Guided(spread='moments')": (Guided(Heun(), 50, spread="moments", max_batch=n), n),
        "Guided, DDPM": (Guided(DDPM(), 200, max_batch=n), n),
        "EnsembleKalman('etkf')": (EnsembleKalman("etkf", ensemble=n, max_batch=n), n),
        "EnsembleKalman('eki')": (EnsembleKalman("eki", ensemble=n, max_batch=n), n),
    }


TARGETS: dict[str, tuple[GaussianTarget | MixtureTarget, float]] = {
    "gmm2, noise 0.05": (modes(2, 1, 0.05, 5), 40.0),
    "gmm2, noise 0.5": (modes(2, 1, 0.5, 5), 40.0),
    "gmm80, noise 0.05": (modes(80, 1, 0.05, 4), 160.0),
    "gmm80, noise 0.5": (modes(80, 1, 0.5, 4), 160.0),
    "gmm80, 4 readings, noise 0.05": (modes(80, 4, 0.05, 6), 160.0),
    "gauss16, noise 0.05": (line(4, 0.05, 2), 80.0),
    "gauss16, noise 0.5": (line(4, 0.5, 2), 80.0),
}


def main() -> None:
    """Print a row for each target and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="semicolon list: parts of methods' names")
    parser.add_argument("--targets", default="", help="semicolon list: parts of targets' names")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name, (target, sigma_max) in TARGETS.items():
        if not any(part in name for part in asked.targets.split(";")):
            continue
        for method, (sampler, n) in methods(asked.n).items():
            if not any(part in method for part in asked.only.split(";")):
                continue
            g = measured(target, sampler, n=n, runs=asked.runs, sigma_max=sigma_max)
            numbers = f"{g.ratio:.3f} ± {g.ratio_error:.3f} | {g.worst:.3f} ({g.shares:.1f}) | {g.mean:.3f}, {g.variance:.2f}"
            print(f"| {name} | `{method}` | {numbers} | {g.distance:.3f} ± {g.distance_error:.3f} ({g.floor:.3f}) | {g.seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
