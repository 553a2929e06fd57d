"""Networks of the coordinates on laws that a plain one fails on: advection of a sine (beta 30, 50) and Allen-Cahn.

    python benchmarks/pinn_forward.py --cases advection_30 --rows plain r3 causal_r3 gauss_newton --seconds 200

`plain` is Adam at fixed points; `r3` and `causal_r3` (Daw and others, 2023) draw them anew after each step, with their network (4 x 50, tanh,
the known values where the wind comes in) and weights (100 at known values); `gauss_newton` is Levenberg-Marquardt on a small network (3 x 20) with
causal weights and points by the residual. Each row gets the same budget in CPU seconds of one thread. One line of JSON per case, row and
seed: relative L2 error against the exact solution or the reference file, seconds, steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from physdiff.base.rng import Rng
from physdiff.data.open import open_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.networks.mlp import MLP
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.collocation import CausalGate, UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.weighting import CausalWeights
from physdiff.training.fit_pinn import fit_pinn
from physdiff.training.pinn_reference import Reference, points_of
from physdiff.training.pinn_settings import Descent, LossBalance, PINNTraining, Resampling

GAUSS_NEWTON = ("gauss_newton", "gauss_newton_windows")
ROWS = ("plain", "r3", "causal_r3", *GAUSS_NEWTON)


def problem(case: str, row: str, data: Path) -> tuple[Collocated, UniformPoints, Reference]:
    """Law, conditions, box and what the error is measured against."""
    small = row in GAUSS_NEWTON
    dtype = torch.float64 if small else torch.float32
    width, depth = (20, 3) if small else (50, 4)
    if case == "allen_cahn":
        grid, name, law = CartesianGrid(512, extent=2.0, origin=-1.0), "u", AllenCahn(diffusivity=1e-4, rate=5.0)
    else:
        beta = float(case.split("_")[1])
        grid, name, law = CartesianGrid(256, extent=2 * math.pi), "c", AdvectionDiffusion(diffusivity=0.0, velocity=(beta,))
    box = UniformPoints(grid, dtype=dtype)
    low, high = tuple(box.lower.tolist()), tuple(box.upper.tolist())
    closed = small  # the networks of the R3 paper meet the walls by a condition: here the exact values where it comes in
    net = CoordinateNet(MLP(3 if closed else 2, 1, width=width, depth=depth), (name,), lower=low, upper=high, periodic=(closed, False)).to(dtype)
    start = box.initial(512 if case == "allen_cahn" else 256, Rng(0))
    x = start[:, 0]
    if case == "allen_cahn":
        known = [Known(start, {name: x.square() * torch.cos(math.pi * x)}, weight=100.0)]
        truth = open_dataset(data / "pde" / "allen_cahn_periodic_nu1e-4.nc")
        reference = Reference.of(truth, Collocated(net, law, known), box)
    else:
        known = [Known(start, {name: torch.sin(x)}, weight=100.0)]
        points = points_of(grid, torch.linspace(0, 1, 101, dtype=torch.float64))
        reference = Reference(points, {name: torch.sin(points[:, 0] - beta * points[:, 1])})
        if not closed:
            t = torch.linspace(0, 1, 100, dtype=dtype)
            walls = torch.cat([torch.stack((torch.full_like(t, s), t), dim=1) for s in low[:1]])  # where the wind comes in
            known.append(Known(walls, {name: torch.sin(walls[:, 0] - beta * walls[:, 1])}, weight=100.0))
    return Collocated(net, law, known), box, reference


def plan(row: str, steps: int, *, windows: int = 1) -> PINNTraining:
    """How a row is trained."""
    adam = (Descent("adam", steps, lr=2e-3),)
    if row == "plain":
        return PINNTraining(adam, Resampling(1000, "fixed"))
    if row == "r3":
        return PINNTraining(adam, Resampling(1000, "r3"))
    if row == "causal_r3":
        # the front of the paper moves by at most 1e-4 a step, for 3e5 of them; here it arrives by two thirds of the run
        gate = CausalGate(t=(0.0, 1.0), rate=30.0 / steps)
        return PINNTraining(adam, Resampling(1000, "causal_r3", gate=gate))
    causal = CausalWeights(ladder=(1e-2, 1e-1, 1.0, 10.0), chunks=20, enough=0.95)
    damped = (Descent("levenberg_marquardt", steps),)
    if row == "gauss_newton_windows":
        return PINNTraining(damped, Resampling(1000, "rad"), windows=windows)
    return PINNTraining(damped, Resampling(1500), LossBalance(causal=causal))


def steps_for(case: str, row: str, seconds: float, data: Path) -> int:
    """Steps that fit the budget, from a few timed ones."""
    few = 6 if row in GAUSS_NEWTON else 40
    made, box, _ = problem(case, row, data)
    fit_pinn(made, box, training=plan(row, 2), progress=False)
    begin = time.process_time()
    fit_pinn(made, box, training=plan(row, few), progress=False)
    return max(few, int(seconds * few / (time.process_time() - begin)))


def main() -> None:
    """Run the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["advection_30", "advection_50", "allen_cahn"])
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--seconds", type=float, default=200.0, help="CPU seconds of one thread for each row")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--out", default="benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in options.cases:
        for row in options.rows:
            torch.manual_seed(options.seed)
            data = Path(options.data)
            windows = options.windows if row == "gauss_newton_windows" else 1
            steps = steps_for(case, row, options.seconds, data) // windows
            torch.manual_seed(options.seed)
            made, box, reference = problem(case, row, data)
            begin = time.process_time()
            net = fit_pinn(made, box, training=plan(row, steps, windows=windows), progress=False)
            seconds = time.process_time() - begin
            result = {"case": case, "row": row, "seed": options.seed, "steps": steps, "windows": windows, "cpu_s": round(seconds, 1)}
            line = json.dumps({**result, "error": float(f"{reference.error(net):.3g}")})
            print(line, flush=True)
            target = Path(options.out)
            target.mkdir(parents=True, exist_ok=True)
            with (target / "pinn_forward.jsonl").open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
