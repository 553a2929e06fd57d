"""The three problems of the Fourier neural operator (Li et al., 2021) on data of our own recipes, in sizes for one processor, and other resolutions.

    python benchmarks/operators_fno.py burgers --seconds 240 --out benchmarks/results/operators_fno.jsonl

burgers: u(., 0) -> u(., 1), nu = 0.1, trained on every 16th of 1024 points (64), tested there and on 128, 256 and 1024 points. darcy:
permeability -> pressure on 32 x 32 cells. ns: vorticity at nu = 1e-5, 10 frames in, the next 10 one by one, 32 x 32 points of runs on 64 x 64.
Each network gets the same processor time (`--seconds`, one thread), relative L2 as loss, Adam with a cosine. Beside `FNO`: `FFNO`, a U-Net, and for
ns persistence. Error: mean over the test samples of the relative L2 over all points (ns: and times). One JSON line per row.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn

from physdiff.base.rng import Rng
from physdiff.data.recipes.fno_burgers import FNOBurgers
from physdiff.data.recipes.fno_darcy import FNODarcy
from physdiff.data.recipes.fno_navier_stokes import FNONavierStokes
from physdiff.networks.fno import FFNO, FNO
from physdiff.networks.unet import UNet
from physdiff.training.operator_module import operator_loss

Pair = tuple[Tensor, Tensor]


def burgers(seed: int, samples: int) -> tuple[Pair, Callable[[int], Pair]]:
    """Training pairs on 64 points, and test pairs on any divisor of 1024."""
    ds = FNOBurgers(solved=1024, resolution=1024).generate(samples + 200, Rng(seed).child("burgers"), batch_size=200)
    u = torch.from_numpy(ds["u"].values)
    x, y = u[:, :1], u[:, 1:]
    return (x[:samples, ..., ::16], y[:samples, ..., ::16]), lambda n: (x[samples:, ..., :: 1024 // n], y[samples:, ..., :: 1024 // n])


def darcy(seed: int, samples: int, *, cells: int = 32) -> tuple[Pair, Callable[[int], Pair]]:
    """Training pairs, and test pairs of the same size; the pressure in units of its standard deviation, the permeability between -1 and 1."""
    ds = FNODarcy(resolution=cells).generate(samples + 200, Rng(seed).child("darcy"), batch_size=50)
    x = (torch.from_numpy(ds["permeability"].values) - 7.5) / 4.5
    y = torch.from_numpy(ds["pressure"].values)
    y = y / y[:samples].std()
    return (x[:samples], y[:samples]), lambda _: (x[samples:], y[samples:])


def ns(seed: int, samples: int) -> tuple[Pair, Callable[[int], Pair]]:
    """Windows of 10 + 1 frames of the training runs, and 10 + 10 frames of 50 test runs."""
    recipe = FNONavierStokes(viscosity=1e-5, horizon=20.0, solved=64, resolution=32, step=0.02)
    w = torch.from_numpy(recipe.generate(samples + 50, Rng(seed).child("ns"), batch_size=50)["vorticity"].values)[:, 1:]
    train = w[:samples].unfold(1, 11, 1).movedim(-1, 2).flatten(0, 1)
    return (train[:, :10], train[:, 10:]), lambda _: (w[samples:, :10], w[samples:, 10:])


def networks(task: str) -> dict[str, nn.Module]:
    """The networks of a problem, at their first weights."""
    inputs, ndim, closed = (10, 2, True) if task == "ns" else (1, 1, True) if task == "burgers" else (1, 2, False)
    width, modes = (64, 16) if ndim == 1 else (32, 8)
    common = {"ndim": ndim, "periodic": closed}
    torch.manual_seed(0)
    return {
        "FNO": FNO(inputs, 1, width=width, modes=modes, **common),
        "FFNO": FFNO(inputs, 1, width=width, modes=modes, **common),
        "UNet": UNet(inputs, 1, width=32, multipliers=(1, 2, 2), attention=False, dropout=0.0, **common),
    }


def train(net: nn.Module, pairs: Pair, *, seconds: float, lr: float, seed: int) -> int:
    """Adam on batches of 20, rate on a cosine of the processor time spent; returns the number of steps."""
    x, y = pairs
    optimiser, rng, steps, begin = torch.optim.Adam(net.parameters(), lr=lr), Rng(seed).child("order"), 0, time.process_time()
    net.train()
    while (spent := (time.process_time() - begin) / seconds) < 1:
        per_epoch = len(x) // 20
        if steps % per_epoch == 0:
            order = rng.child(steps // per_epoch).permutation(len(x))
        rows = order[steps % per_epoch * 20 :][:20]
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, (steps + 1) / 50) * 0.5 * (1 + math.cos(math.pi * spent))
        optimiser.zero_grad()
        operator_loss(net(x[rows]), y[rows], loss="relative").mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        steps += 1
    net.eval()
    return steps


@torch.no_grad()
def error(net: nn.Module, pairs: Pair) -> float:
    """Mean relative L2; more target frames than outputs are rolled out."""
    x, y = pairs
    frames = []
    while sum(f.shape[1] for f in frames) < y.shape[1]:
        new = torch.cat([net(part) for part in x.split(50)])
        frames.append(new)
        x = torch.cat([x, new], 1)[:, new.shape[1] :]
    return float(operator_loss(torch.cat(frames, 1), y, loss="relative").mean())


def main() -> None:
    """One problem, all networks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("burgers", "darcy", "ns"))
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--samples", type=int, default=None, help="to train on; 1000, of ns 200 runs")
    parser.add_argument("--only", default="")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    begin = time.process_time()
    pairs, test = {"burgers": burgers, "darcy": darcy, "ns": ns}[args.task](args.seed, args.samples or (200 if args.task == "ns" else 1000))
    made = time.process_time() - begin
    sizes = (64, 128, 256, 1024) if args.task == "burgers" else (0,)

    def emit(name: str, **row: object) -> None:
        line = json.dumps({"task": args.task, "network": name, "seed": args.seed, "data_cpu_s": round(made, 1), **row})
        print(line, flush=True)
        if args.out is not None:
            with args.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    if args.task == "ns":
        x, y = test(0)
        emit("persistence", error=float(operator_loss(x[:, -1:].expand_as(y), y, loss="relative").mean()))
    for name, net in networks(args.task).items():
        if args.only and name not in args.only.split(","):
            continue
        steps = train(net, pairs, seconds=args.seconds, lr=args.lr, seed=args.seed)
        errors = {str(n or pairs[0].shape[-1]): error(net, test(n)) for n in sizes}
        weights = sum(p.numel() for p in net.parameters())
        emit(name, parameters=weights, steps=steps, batch=20, train=len(pairs[0]), cpu_s=args.seconds, error=errors)


if __name__ == "__main__":
    main()
