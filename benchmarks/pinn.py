"""Networks of the coordinates beside DeepXDE and PINA: residuals per second of a training step, and seconds to an error on Burgers' shock.

    python benchmarks/pinn.py --peer /path/to/venv/bin/python --data ../shared/data --jobs rate time --p6 ../shared/bench/peers/p6_pinn.py

Law, network (2-20-20-20-1, tanh, Glorot), points and conditions are those of job P6: u_t + u u_x = (0.01/pi) u_xx on [-1, 1] x [0, 1],
u(x, 0) = -sin(pi x), zero at the ends; error: relative L2 against ``burgers_shock.nc``. `rate` is one Adam step on 10000 points, float32, taken
in turns with the peer's, each in seconds of CPU of its own process, one thread. `time` is `PINNModule` (Levenberg-Marquardt, 1500 points by
residual, float64) until the error is first below 1e-1, 1e-2 and 1e-3, and with `--p6 PATH/p6_pinn.py` that job's DeepXDE run with the deep network
(the only one that gets there: 1000 Adam steps, then L-BFGS) after it, on one thread too: four minutes quiet, and ten at most.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from peer import Peer

from physdiff.base.rng import Rng
from physdiff.data.open import open_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.networks.mlp import MLP
from physdiff.pdes.burgers import Burgers
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.training.fit import fit
from physdiff.training.pinn_module import EndlessSteps, PINNModule
from physdiff.training.pinn_settings import Descent, PINNTraining, Resampling

NU, POINTS, STEPS = 0.01 / math.pi, 10_000, 20

DEEPXDE = r"""
import json, math, os, sys, time
os.environ["DDE_BACKEND"] = "pytorch"
said, sys.stdout = sys.stdout, sys.stderr
import deepxde as dde, numpy as np, torch
torch.set_num_threads(1)
dde.config.set_random_seed(0)
NU = 0.01 / math.pi

def answer(**found):
    said.write(json.dumps(found) + "\n"); said.flush()

def model(n, n_bc=80, n_ic=160, depth=3):
    def pde(x, y):
        dx, dt = (dde.grad.jacobian(y, x, i=0, j=j) for j in (0, 1))
        return dt + y * dx - NU * dde.grad.hessian(y, x, i=0, j=0)
    dom = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))
    bc = dde.icbc.DirichletBC(dom, lambda x: 0, lambda _, b: b)
    ic = dde.icbc.IC(dom, lambda x: -np.sin(np.pi * x[:, 0:1]), lambda _, i: i)
    data = dde.data.TimePDE(dom, pde, [bc, ic], num_domain=n, num_boundary=n_bc, num_initial=n_ic)
    return dde.Model(data, dde.nn.FNN([2] + [20] * depth + [1], "tanh", "Glorot normal"))

answer(deepxde=dde.__version__, torch=torch.__version__)
made = None
for line in sys.stdin:
    asked = json.loads(line)
    if made is None:
        made = model(asked["points"]); made.compile("adam", lr=1e-3)
        made.train(iterations=5, display_every=10**9, verbose=0)
    begin = time.process_time()
    made.train(iterations=asked["steps"], display_every=10**9, verbose=0)
    answer(seconds=(time.process_time() - begin) / asked["steps"])
"""

PINA = r"""
import json, math, sys, time, logging, warnings
said, sys.stdout = sys.stdout, sys.stderr
warnings.filterwarnings("ignore")
for name in ("lightning.pytorch", "lightning", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
import pina, torch
torch.set_num_threads(1)
torch.manual_seed(0)
from importlib.metadata import version
from lightning.pytorch.callbacks import Callback
from pina import Trainer
from pina.model import FeedForward
from pina.optim import TorchOptimizer
from pina.problem.zoo import BurgersProblem
from pina.solver import PhysicsInformedSingleModelSolver as PINN

def answer(**found):
    said.write(json.dumps(found) + "\n"); said.flush()

class Stamps(Callback):
    def __init__(self):
        self.times = []
    def on_train_batch_end(self, *a, **k):
        self.times.append(time.process_time())

answer(pina=version("pina-mathlab"), torch=torch.__version__)
for line in sys.stdin:
    asked = json.loads(line)
    p = BurgersProblem(nu=0.01 / math.pi)
    p.discretise_domain(asked["points"], "random", domains="D")
    p.discretise_domain(80, "random", domains="boundary")
    p.discretise_domain(160, "random", domains="t0")
    net = FeedForward(input_dimensions=2, output_dimensions=1, layers=[20, 20, 20], func=torch.nn.Tanh)
    stamps = Stamps()
    solver = PINN(p, net, optimizer=TorchOptimizer(torch.optim.Adam, lr=1e-3))
    kw = dict(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    Trainer(solver, max_epochs=asked["steps"] + 5, callbacks=[stamps], **kw).train()
    answer(seconds=(stamps.times[-1] - stamps.times[4]) / asked["steps"])
"""


def problem(dtype: torch.dtype, *, weight: float = 1.0) -> tuple[Collocated, UniformPoints]:
    """Job P6."""
    torch.manual_seed(0)
    box = UniformPoints(CartesianGrid(256, extent=2.0, origin=-1.0, periodic=False), dtype=dtype)
    net = CoordinateNet(MLP(2, 1, width=20, depth=3), ("u",), lower=(-1.0, 0.0), upper=(1.0, 1.0)).to(dtype)
    start = box.initial(160, Rng(0).child("initial"))
    walls, _ = box.boundary(80, Rng(0).child("walls"))
    known = [
        Known(start, {"u": -torch.sin(math.pi * start[:, 0])}, weight=weight),
        Known(walls, {"u": torch.zeros(len(walls), dtype=dtype)}, weight=weight),
    ]
    return Collocated(net, Burgers(viscosity=NU), known), box


def rate(python: str, turns: int) -> dict[str, float]:
    """Seconds of one Adam step on 10000 points, best of the turns, ours and the peers'."""
    made, box = problem(torch.float32)
    points = box.draw(POINTS, Rng(1))
    adam = torch.optim.Adam(made.parameters(), lr=1e-3, fused=True)  # as `PINNModule` has it

    def steps() -> float:
        begin = time.process_time()
        for _ in range(STEPS):
            adam.zero_grad()
            made(points).backward()
            adam.step()
        return (time.process_time() - begin) / STEPS

    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    peers = {name: Peer(python, worker, needs=name, variables=threads) for name, worker in (("deepxde", DEEPXDE), ("pina", PINA))}
    found: dict[str, list[float]] = {"physdiff": [], **{name: [] for name in peers}}
    steps()
    for _ in range(turns):
        found["physdiff"].append(steps())
        for name, peer in peers.items():
            found[name].append(peer.ask(points=POINTS, steps=STEPS)["seconds"])
    for peer in peers.values():
        peer.close()
    return {name: min(values) for name, values in found.items()}


def seconds_to(data: Path, steps: int) -> dict[str, float | None]:
    """Wall and CPU seconds until the error is first below a bound; the looks themselves are not counted in the wall seconds."""
    truth = open_dataset(data / "pde" / "burgers_shock.nc")
    made, box = problem(torch.float64, weight=20.0)
    plan = PINNTraining((Descent("levenberg_marquardt", steps),), Resampling(1500, "rad"), look=2)
    module = PINNModule(made, box, training=plan, reference=truth)
    begin = time.process_time()
    fit(module, EndlessSteps(), max_steps=steps, progress=False, accelerator="cpu")
    bounds = {f"wall_s_to_{bound:g}": next((k["seconds"] for k in module.looks if k["error"] <= bound), None) for bound in (1e-1, 1e-2, 1e-3)}
    best = min(look["error"] for look in module.looks)
    return {**bounds, "best": float(f"{best:.3g}"), "last": float(f"{module.looks[-1]['error']:.3g}"), "cpu_s": round(time.process_time() - begin, 1)}


def peer_seconds_to(python: str, script: Path) -> dict[str, float | None]:
    """The same of DeepXDE by job P6, in a process of its own; bounds that it does not reach in its time are None."""
    variables = {**os.environ, "BENCH_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([python, str(script), "--one", "deepxde:time-deep"], env=variables, capture_output=True, text=True, timeout=600, check=False)
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    if not lines or "seconds_to" not in lines[-1]:
        raise SystemExit(f"expected a line with seconds_to from {script}, got {(lines or [run.stderr[-300:]])[-1]}")
    reached = {float(bound): seconds for bound, seconds in lines[-1]["seconds_to"].items()}
    return {**{f"deepxde_s_to_{bound:g}": reached.get(bound) for bound in (1e-1, 1e-2, 1e-3)}, "deepxde_best": lines[-1]["best"]}


def main() -> None:
    """Run the jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="interpreter with deepxde and pina-mathlab, for rate")
    parser.add_argument("--p6", help="job P6's script, to run DeepXDE's time beside ours")
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--jobs", nargs="+", default=["rate", "time"], choices=["rate", "time"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for job in options.jobs:
        if job == "rate":
            if not options.peer:
                raise SystemExit("expected --peer for rate, the interpreter of an environment with deepxde 1.15 and pina-mathlab 0.3; got none")
            seconds = rate(options.peer, options.turns)
            row: dict[str, object] = {f"{name}_ms_per_step": round(1e3 * s, 2) for name, s in seconds.items()}
            row["times_deepxde"] = round(seconds["deepxde"] / seconds["physdiff"], 2)
        else:
            row = dict(seconds_to(Path(options.data), options.steps))
            if options.p6 and options.peer:
                row |= peer_seconds_to(options.peer, Path(options.p6))
        line = json.dumps({"job": f"pinn_{job}", "load": round(os.getloadavg()[0], 1), **row})
        print(line, flush=True)
        target = Path(options.out)
        target.mkdir(parents=True, exist_ok=True)
        with (target / "pinn.jsonl").open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
