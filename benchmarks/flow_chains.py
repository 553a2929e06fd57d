"""Long Hamiltonian chains on the flow of benchmarks/neural_pde.py, four side by side: their law and its derivatives in batches of networks.

    python benchmarks/flow_chains.py --draws 2000 --warmup 600 --length 40 --out benchmarks/results

The posterior, the trainings, the whitening and the moves are those of `weight_chains` (method hmc, a chain from each of four trainings); what is
different is that the density of all chains is one pass of batched matrix products with derivatives written out (checked against `deviations` at the
start), which costs a quarter of four single ones. One JSON line as those of neural_pde.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from benchmarks.neural_pde import CHAINS, DRAWS, LAW_STD, NOISE, case, judged, problem, solved
from physdiff.base.rng import Rng
from physdiff.inference.chains import run_chains
from physdiff.inference.hamiltonian import Point, hmc_move
from physdiff.uq import weights_hmc
from physdiff.uq.weight_draws import WeightDraws, deviations


class Together:
    """Log density of the flow's posterior for as many chains as there are targets, each in coordinates of its own."""

    def __init__(self, targets: list[weights_hmc._Target], points: Tensor) -> None:
        self.targets, self.n = targets, len(points)
        p = targets[0].twin
        lower, upper = (torch.tensor(v, dtype=torch.float64) for v in (p.net.lower, p.net.upper))
        known = p.known[0]
        self.scale, self.read = 2 / (upper - lower), torch.stack(list(known.values.values()), 1)
        self.features = (torch.cat((points, known.points)) - 0.5 * (lower + upper)) * self.scale
        self.std, self.viscosity = known.scale, p.law.viscosity
        self.shapes = [w.shape for w in targets[0].parameters]

    def half(self, theta: Tensor) -> Tensor:
        """Half the sum of squared deviations, (K,), of weights (K, P) of two hidden layers of tanh."""
        parts = theta.split([s.numel() for s in self.shapes], 1)
        w1, b1, w2, b2, w3, b3 = (v.reshape(len(theta), *s) for v, s in zip(parts, self.shapes, strict=True))
        n = self.n
        h = torch.tanh(self.features @ w1.mT + b1[:, None])
        slope = (w1 * self.scale).mT[:, :, None]  # of the activations along x, y, t
        first, lap = _through(h[:, None, :n], slope, torch.zeros_like(slope[:, :1]))
        rows = torch.cat((first.flatten(1, 2), lap.flatten(1, 2), h), 1) @ w2.mT
        a = rows[:, : 4 * n].unflatten(1, (4, n))
        h = torch.tanh(rows[:, 4 * n :] + b2[:, None])
        first, lap = _through(h[:, None, :n], a[:, :3], a[:, 3:])
        out = torch.cat((first.flatten(1, 2), lap.flatten(1, 2), h), 1) @ w3.mT
        dx, dy, dt, lap = out[:, : 4 * n].unflatten(1, (4, n)).unbind(1)
        fields = out[:, 4 * n :] + b3[:, None]
        u, v = fields[:, :n, :1], fields[:, :n, 1:2]
        momentum = dt[..., :2] + u * dx[..., :2] + v * dy[..., :2] - self.viscosity * lap[..., :2] + torch.stack((dx[..., 2], dy[..., 2]), -1)
        law = momentum.square().sum((1, 2)) + (dx[..., 0] + dy[..., 1]).square().sum(1)
        return 0.5 * (law / LAW_STD**2 + (fields[:, n:, :2] - self.read).square().sum((1, 2)) / self.std**2)

    def __call__(self, z: Tensor) -> Point:  # noqa: D102
        theta = torch.cat([t._image(row[None]) for t, row in zip(self.targets, z, strict=True)]).requires_grad_()
        with torch.enable_grad():
            half = self.half(theta) + 0.5 * self.targets[0].precision * theta.square().sum(1)
            (slope,) = torch.autograd.grad(half.sum(), theta)
        rows = [torch.linalg.solve_triangular(t.root, -s[:, None], upper=False)[:, 0] for t, s in zip(self.targets, slope, strict=True)]
        value, slopes = -half.detach(), torch.stack(rows)
        there = value.isfinite() & slopes.isfinite().all(1)
        return Point(z, value.where(there, -torch.inf), slopes.where(there[:, None], 0.0), theta.detach())


def _through(h: Tensor, first: Tensor, lap: Tensor) -> tuple[Tensor, Tensor]:
    """First derivatives along x, y, t and the Laplacian behind tanh, whose values are h."""
    rate = 1 - h.square()
    return rate * first, rate * (lap - 2 * h * first[:, :2].square().sum(1, keepdim=True))


def drawn(seed: int, options: argparse.Namespace) -> WeightDraws:
    """Draws of four chains."""
    rng, this = Rng(seed).child("hmc"), case("flow-forward")
    points, targets = problem(this, seed, options.width)[1], []

    def terms(q: object) -> list[Tensor]:
        return deviations(q, points, law_std=LAW_STD)  # type: ignore[arg-type]

    for k in range(CHAINS):
        torch.manual_seed(int(rng.child("training", k).integers(0, 2**31)))
        targets.append(weights_hmc._Target(solved(problem(this, seed, options.width)[0], points, 60), terms, 1.0))
    target = Together(targets, points)
    z = torch.cat([t.near(rng.child("start", k).normal((1, len(t.centre)), like=t.centre)) for k, t in enumerate(targets)])
    single = torch.stack([t(row[None]).value[0] for t, row in zip(targets, z, strict=True)])
    torch.testing.assert_close(target(z).value, single, rtol=1e-9, atol=1e-6)
    move, left, spent = partial(hmc_move, length=options.length), options.warmup, 0.0
    for j, share in enumerate(options.renewed):
        part = int(options.warmup * share)
        seen = run_chains(target, z, move, draws=part - part // 2, warmup=part // 2, acceptance=0.9, rng=rng.child("renewed", j))
        z = torch.cat([t.renewed(seen.images[k : k + 1]) for k, t in enumerate(targets)])
        left, spent = left - part, spent + float(seen.gradients.sum())
    run = run_chains(target, z, move, draws=options.draws, warmup=left, acceptance=0.9, rng=rng)
    below = torch.stack([t.below(run.values[k, options.draws // 2 :]) for k, t in enumerate(targets)])
    weights = run.images[:, :: options.every].transpose(0, 1).flatten(0, 1)
    info = {"chain": torch.arange(len(weights)) % CHAINS, "below_mode": below.mean(), "acceptance": run.acceptance}
    info |= {"divergences": torch.tensor(run.divergences), "gradient_calls": torch.tensor(spent + float(run.gradients.sum()))}
    return WeightDraws(targets[0].twin, weights, info)


def main() -> None:
    """One line for each draw of the noise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--width", type=int, default=12)
    parser.add_argument("--draws", type=int, default=2000, help="of each chain")
    parser.add_argument("--every", type=int, default=8, help="draws of which one is kept")
    parser.add_argument("--warmup", type=int, default=600)
    parser.add_argument("--renewed", type=float, nargs="+", default=[0.04, 0.06, 0.1, 0.15, 0.2], help="parts of the warm-up before new coordinates")
    parser.add_argument("--length", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        begin = time.process_time()
        draws = drawn(seed, options)
        seconds, this = time.process_time() - begin, case("flow-forward")
        alone = [judged(WeightDraws(draws.module, draws.weights[k::CHAINS]), this)["coverage"] for k in range(CHAINS)]
        line = {"case": "flow-forward", "method": "hmc", "seed": seed, **judged(draws, this), "cpu_s": round(seconds, 1), "commit": commit}
        line |= {k: round(float(v), 3) for k, v in draws.info.items() if k != "chain"} | {"chains_alone": alone}
        line |= {"noise": NOISE, "law_std": LAW_STD, "prior_std": 1.0, "draws": DRAWS, "units": options.width, "start": "each"}
        line |= {"length": options.length, "chain": CHAINS * options.draws, "warmup": options.warmup, "batched": True}
        with (options.out / "neural_pde.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
