"""How sure networks of the coordinates are, method by method: Burgers' equation and a Navier-Stokes flow, forward and inverse.

    python benchmarks/neural_pde.py --cases burgers-forward --out benchmarks/results

Each case has an exact solution, readings with noise, and a law: forward knows the law's coefficients and reads start and walls, inverse reads inside
and does not know the viscosity. Methods have one network, one law_std and the same points; each gives as many solutions:

- hmc, nuts: `weight_chains`, one chain from each of four trainings, or (`--start one`) four from that of the largest Laplace evidence; R-hat of the
  fields at the points that are judged, and of the weights
- dropout: `train_with_dropout`, masks of 5 % of hidden units
- ensemble: `deep_ensemble` from other starts with perturbed readings; starts: the same readings for all members
- laplace: `weight_laplace` of the last layer; swag: `swag` along stochastic gradient descent from the fitted weights

Scores are over a grid of points of the noise-free field: coverage of the central 90 %, its width (sharpness), CRPS and error of the mean, all but
coverage over the field's standard deviation; CPU seconds count training. One JSON line per case, method and draw of the noise.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from physdiff.base.errors import Diverged
from physdiff.base.rng import Rng
from physdiff.networks.mlp import MLP
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact_burgers import bessel_sine
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pdes.pde import PDE
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.levenberg_marquardt import levenberg_marquardt
from physdiff.scores.coverage import coverage, sharpness
from physdiff.scores.crps import crps
from physdiff.scores.pointwise import squared_error_of_mean
from physdiff.uq.deep_ensemble import deep_ensemble, perturbed
from physdiff.uq.dropout import dropout_draws, train_with_dropout
from physdiff.uq.laplace import weight_laplace
from physdiff.uq.swag import descent_iterates, swag
from physdiff.uq.weight_draws import WeightDraws, deviations
from physdiff.uq.weights_hmc import function_rhat, weight_chains

NOISE, LAW_STD, DRAWS, CHAINS = 0.05, 0.05, 19, 4
METHODS = ("hmc", "nuts", "dropout", "ensemble", "starts", "laplace", "swag")
FLOW = ("velocity_x", "velocity_y", "pressure")
TRUE = {"burgers": 0.05, "flow": 0.05}


@dataclass(frozen=True)
class Case:
    """Exact fields by name at points (n, d), where they are read, and where they are judged."""

    name: str
    exact: Callable[[Tensor], dict[str, Tensor]]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    readings: Tensor
    inverse: bool
    shown: tuple[str, ...]


def kovasznay(points: Tensor) -> dict[str, Tensor]:
    """Kovasznay's flow (1948) carried by a wind across it, so that it is not steady."""
    nu, wind = TRUE["flow"], (0.3, 0.5)
    x, y = (points[:, k] - wind[k] * points[:, 2] for k in (0, 1))
    a = 0.5 / nu - math.sqrt(0.25 / nu**2 + 4 * math.pi**2)
    wave = torch.exp(a * x)
    u = 1 - wave * torch.cos(2 * math.pi * y) + wind[0]
    v = a / (2 * math.pi) * wave * torch.sin(2 * math.pi * y) + wind[1]
    return {"velocity_x": u, "velocity_y": v, "pressure": -0.5 * wave**2}


def case(name: str) -> Case:
    """The four cases."""
    law, kind = name.split("-")
    inverse = kind == "inverse"
    lower, upper = ((0.0, 0.0), (1.0, 1.0)) if law == "burgers" else ((-0.5, -0.5, 0.0), (1.0, 0.5, 1.0))
    low, high = (torch.tensor(v, dtype=torch.float64) for v in (lower, upper))
    points = low + (high - low) * Rng(1).uniform((60 if law == "burgers" else 150, len(low))).double()
    if not inverse:
        # a third at the start, the others at the walls in turn
        sides = [(len(low) - 1, low), *((d, end) for d in range(len(low) - 1) for end in (low, high))]
        which = [0 if k % 3 == 0 else 1 + k % (len(sides) - 1) for k in range(len(points))]
        for k, (d, end) in enumerate(sides[s] for s in which):
            points[k, d] = end[d]
    if law == "burgers":
        return Case(name, lambda p: {"u": bessel_sine(p[:, 0], p[:, 1], viscosity=TRUE["burgers"])}, lower, upper, points, inverse, ("u",))
    return Case(name, kovasznay, lower, upper, points, inverse, FLOW[:2])


def problem(this: Case, seed: int, width: int) -> tuple[Collocated, Tensor]:
    """Network, law and readings with their noise; and the points of the law."""
    low, high = (torch.tensor(v, dtype=torch.float64) for v in (this.lower, this.upper))
    exact = this.exact(this.readings)
    read = {n: exact[n] for n in this.shown}
    std = NOISE * float(torch.cat(tuple(read.values())).std())
    values = {n: v + std * Rng(seed).child("noise", n).normal(v.shape, like=v) for n, v in read.items()}
    start = 0.1 if this.inverse else 0.05
    law: PDE = Burgers(start) if len(low) == 2 else IncompressibleFlow(start, ndim=2)
    names = ("u",) if len(low) == 2 else FLOW
    net = CoordinateNet(MLP(len(low), len(names), width=width, depth=2), names, lower=this.lower, upper=this.upper).double()
    points = low + (high - low) * Rng(2).uniform((200, len(low))).double()
    # weights that make the loss the sum of squared deviations
    known = Known(this.readings, values, weight=len(this.readings), scale=std)
    unknown = ("viscosity",) if this.inverse else ()
    return Collocated(net, law, [known], unknown=unknown, weight=len(points) / LAW_STD**2), points


def solved(p: Collocated, points: Tensor, steps: int) -> Collocated:
    """Fitted in place."""
    levenberg_marquardt(p, lambda step: deviations(p, points, law_std=LAW_STD), steps=steps)
    return p


def drawn(method: str, this: Case, seed: int, options: argparse.Namespace) -> WeightDraws:
    """Solutions of one method."""
    rng, (p, points) = Rng(seed).child(method), problem(this, seed, options.width)

    def terms(q: Collocated | CoordinateNet) -> list[Tensor]:
        assert isinstance(q, Collocated)
        return deviations(q, points, law_std=LAW_STD)

    def member(key: Rng) -> Collocated:
        torch.manual_seed(int(key.integers(0, 2**31)))
        q = problem(this, seed, options.width)[0]
        if method == "ensemble":
            q.known = tuple(perturbed(q.known, rng=key))
        return solved(q, points, options.steps)

    if method in ("ensemble", "starts"):
        return deep_ensemble(member, DRAWS, rng=rng)
    if method == "dropout":
        train_with_dropout(p, lambda step: points, share=0.05, steps=options.dropout_steps, rate=3e-3, rng=rng)
        return dropout_draws(p, DRAWS, share=0.05, rng=rng.child("draws"))
    if method in ("hmc", "nuts"):
        trained = [member(rng.child("training", k)) for k in range(CHAINS)]
        evidence = [float(weight_laplace(q, lambda q=q: terms(q), prior_std=options.prior_std).log_evidence) for q in trained]  # type: ignore[misc]
        chains = trained if options.start == "each" else trained[evidence.index(max(evidence))]
        found = weight_chains(
            chains, terms, options.chain, rng=rng, prior_std=options.prior_std, method=method, length=options.length, warmup=options.warmup  # type: ignore[arg-type]
        )
        return found
    solved(p, points, options.steps)
    if method == "laplace":
        return weight_laplace(p, lambda: terms(p), prior_std=options.prior_std, last_layer=True).draw(DRAWS, rng=rng)
    return _along_descent(p, points, rng)


def _along_descent(p: Collocated, points: Tensor, rng: Rng) -> WeightDraws:
    """The largest rate of a ladder whose losses stay within a factor of the start's."""
    def loss(q: Collocated, step: int) -> Tensor:
        # half of the law's points, drawn anew, is the noise of the gradient
        half: Tensor = q(points[rng.child(step).uniform((len(points),)) < 0.5])
        return half

    for rate in (1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8):
        q = copy.deepcopy(p)
        try:
            found = swag(q, descent_iterates(q, lambda step, q=q: loss(q, step), steps=800, every=20, rate=rate))  # type: ignore[misc]
        except Diverged:
            continue
        if float(loss(q, 0).detach()) < 2 * float(loss(p, 0).detach()):
            return found.draw(DRAWS, rng=rng.child("draws"))
    raise SystemExit("swag: no rate of the ladder is small enough")


def judged(draws: WeightDraws, this: Case) -> dict[str, object]:
    """Scores over a grid of points and fields."""
    axes = [torch.linspace(a, b, 21 if len(this.lower) == 2 else 9, dtype=torch.float64) for a, b in zip(this.lower, this.upper, strict=True)]
    points = torch.cartesian_prod(*axes)
    out: dict[str, object] = {}
    if "chain" in draws.info:
        rhat = torch.cat([v for n, v in function_rhat(draws, points).items() if n in this.shown])
        out = {"field_rhat": round(float(rhat.median()), 3), "worst_field_rhat": round(float(rhat.max()), 3)}
    exact, fields = this.exact(points), draws.fields(points)
    which = torch.linspace(0, len(draws) - 1, DRAWS).round().long()
    scores: dict[str, list[float]] = {}
    for name in this.shown:
        x, y, unit = fields[name][which], exact[name], float(exact[name].std())
        found = {"coverage": coverage(x, y).mean(), "width": sharpness(x, y).mean() / unit, "crps": crps(x, y).mean() / unit}
        found["rmse"] = squared_error_of_mean(x, y).mean().sqrt() / unit
        for key, v in found.items():
            scores.setdefault(key, []).append(float(v))
    out |= {key: round(sum(v) / len(v), 5) for key, v in scores.items()}
    if this.inverse:
        nu = draws.coefficients()["viscosity"][which]
        out |= {"viscosity": round(float(nu.mean()), 5), "viscosity_std": round(float(nu.std()), 5)}
    return out


def _keep(draws: WeightDraws, folder: Path | None, name: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save((draws.weights, dict(draws.info)), folder / name)


def main() -> None:
    """Run cases, methods and draws of the noise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    names = ["burgers-forward", "burgers-inverse", "flow-forward", "flow-inverse"]
    parser.add_argument("--cases", nargs="+", default=names, choices=names)
    parser.add_argument("--methods", nargs="+", default=[m for m in METHODS if m != "nuts"], choices=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--steps", type=int, default=60, help="Gauss-Newton steps of a fit")
    parser.add_argument("--dropout-steps", type=int, default=4000)
    parser.add_argument("--chain", type=int, default=600, help="draws of the four chains together")
    parser.add_argument("--length", type=int, default=40, help="steps of a trajectory of the chains in the mean")
    parser.add_argument("--warmup", type=int, default=150)
    parser.add_argument("--start", choices=("each", "one"), default="each", help="chains from trainings of their own, or all from the best")
    parser.add_argument("--keep", type=Path, help="folder for the draws of weights")
    parser.add_argument("--prior-std", type=float, default=1.0, help="of every weight, for laplace, hmc and nuts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.cases:
            for method in options.methods:
                torch.manual_seed(seed)
                begin = time.process_time()
                draws = drawn(method, case(name), seed, options)
                seconds = time.process_time() - begin
                _keep(draws, options.keep, f"{name}_{method}_{options.start}_{seed}.pt")
                line = {"case": name, "method": method, "seed": seed, **judged(draws, case(name)), "cpu_s": round(seconds, 1), "commit": commit}
                told = ("rhat", "below_mode", "acceptance", "divergences", "gradient_calls")
                line |= {k: round(float(draws.info[k]), 3) for k in told if k in draws.info}
                line |= {"noise": NOISE, "law_std": LAW_STD, "prior_std": options.prior_std, "draws": DRAWS, "units": options.width}
                if method in ("hmc", "nuts"):
                    line |= {"start": options.start, "length": options.length, "chain": options.chain, "warmup": options.warmup}
                with (options.out / "neural_pde.jsonl").open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
