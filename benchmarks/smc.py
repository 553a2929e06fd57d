"""Particle filters and resampling beside particles: job P8, steps per second at the same error of the log likelihood.

    python benchmarks/smc.py --peer-python <python with particles 0.4> --out benchmarks/results

A bootstrap filter on x_t = 0.95 x_(t-1) + 0.5 e_t, y_t = x_t + 0.5 n_t (stationary start), and on the same in four dimensions with a rotation; 200
times, 100 000 particles, systematic resampling below an effective sample size of half. Both sides get the same readings and number of threads and run
in turns; errors are taken against the Kalman filter. Our particles are float32, weights float64 on both sides. Resampling alone: normal log weights.
One JSON line per result goes to ``<out>/smc.jsonl`` and the terminal. Without ``--peer-python`` only our side runs.
"""

from __future__ import annotations

# ruff: noqa: ANN401 - JSON lines are not typed
import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from peer import Peer
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.inference.resampling import SCHEMES
from physdiff.inference.state_space import LinearGaussian, kalman, particle_filter

WORKER = """
import json, sys, time
import numpy as np
import particles
from importlib.metadata import version
from particles import distributions as dists, resampling as rs, state_space_models as ssm
models = {}
class Scalar(ssm.StateSpaceModel):
    def PX0(self): return dists.Normal(scale=0.5 / (1 - 0.95**2) ** 0.5)
    def PX(self, t, xp): return dists.Normal(loc=0.95 * xp, scale=0.5)
    def PY(self, t, xp, x): return dists.Normal(loc=x, scale=0.5)
class Four(ssm.StateSpaceModel):
    def PX0(self): return dists.MvNormal(loc=np.zeros(4), cov=np.eye(4) * 0.25 / (1 - 0.95**2))
    def PX(self, t, xp): return dists.MvNormal(loc=xp @ self.F.T, cov=0.25 * np.eye(4))
    def PY(self, t, xp, x): return dists.MvNormal(loc=x, cov=0.25 * np.eye(4))
print(json.dumps({"particles_version": version("particles"), "numpy": np.__version__}), flush=True)
for line in sys.stdin:
    ask = json.loads(line)
    if "scheme" in ask:
        w = np.asarray(ask["weights"]) if "weights" in ask else w
        rs.resampling(ask["scheme"], w)
        start = time.perf_counter()
        for _ in range(ask["repeats"]):
            rs.resampling(ask["scheme"], w)
        answer = {"seconds": (time.perf_counter() - start) / ask["repeats"]}
    else:
        y = np.asarray(ask["y"])
        four = y.shape[1] == 4
        model = Four(F=np.asarray(ask["transition"])) if four else Scalar()
        np.random.seed(ask["seed"])
        run = particles.SMC(fk=ssm.Bootstrap(ssm=model, data=[v[None] for v in y] if four else y[:, 0]), N=ask["n"], resampling="systematic")
        start = time.perf_counter()
        run.run()
        answer = {"seconds": time.perf_counter() - start, "log_evidence": float(run.logLt)}
    print(json.dumps(answer), flush=True)
"""


def peer_of(python: str, threads: int) -> Peer:
    """The peer, with as many threads as we take."""
    limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    return Peer(python, WORKER, needs="particles", variables=limits)


def problem(name: str) -> LinearGaussian:
    """The two models of the job."""
    size = 1 if name == "scalar" else 4
    eye = torch.eye(size, dtype=torch.float64)
    turn = eye if size == 1 else torch.linalg.qr(Rng(0).normal((4, 4), like=eye))[0]
    return LinearGaussian(0.95 * turn, 0.25 * eye, eye, 0.25 * eye, torch.zeros(size).double(), eye * 0.25 / (1 - 0.95**2))


def readings(model: LinearGaussian, times: int) -> Tensor:
    """A trajectory of the model and its readings."""
    rng, rows = Rng(1), []
    x = model.start((1,), rng.child("start"))
    for t in range(times):
        x = x if t == 0 else model.move(t, x, rng.child("move", t))
        rows.append(x[0].double() + 0.5 * rng.child("reading", t).normal(x[0].shape, like=x[0].double()))
    return torch.stack(rows)


def filters(name: str, peer: Peer | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both filters in turns on the same readings."""
    times, n = (50, 10_000) if arguments.quick else (200, 100_000)
    model = problem(name)
    y = readings(model, times)
    exact = kalman(model, y).log_evidence
    seconds: dict[str, list[float]] = {"physdiff": [], "particles": []}
    errors: dict[str, list[float]] = {"physdiff": [], "particles": []}
    particle_filter(model, y[:5], n, rng=Rng(0))
    for seed in range(arguments.runs):
        start = time.perf_counter()
        run = particle_filter(model, y, n, rng=Rng(seed))
        seconds["physdiff"].append(time.perf_counter() - start)
        errors["physdiff"].append(float(run.log_evidence) - exact)
        if peer is not None:
            answer = peer.ask(y=y.tolist(), transition=model.transition.tolist(), n=n, seed=seed)
            seconds["particles"].append(answer["seconds"])
            errors["particles"].append(answer["log_evidence"] - exact)
    row: dict[str, Any] = {"what": "bootstrap filter", "model": name, "times": times, "n": n, "exact": exact}
    for side, values in seconds.items():
        if values:
            rate = times / statistics.median(values)
            row[side] = {"steps_per_s": rate, "best_steps_per_s": times / min(values), "error": statistics.fmean(e * e for e in errors[side]) ** 0.5}
    if peer is not None:
        row["ratio"] = statistics.median(b / a for a, b in zip(seconds["physdiff"], seconds["particles"], strict=True))
        row["target"] = 3.0
    return row


def resampling(n: int, peer: Peer | None, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every scheme on one set of weights."""
    weights = torch.softmax(Rng(2).normal((n,), like=torch.zeros(()).double()), 0)
    rows, repeats, sent = [], max(1, 1_000_000 // n), False
    for name, scheme in SCHEMES.items():
        ours, theirs = [], []
        for turn in range(arguments.runs):
            start = time.perf_counter()
            for k in range(repeats):
                scheme(weights, Rng(turn).child(k))
            ours.append((time.perf_counter() - start) / repeats)
            if peer is not None:
                theirs.append(peer.ask(scheme=name, repeats=repeats, **({} if sent else {"weights": weights.tolist()}))["seconds"])
                sent = True
        row = {"what": "resampling", "scheme": name, "n": n, "physdiff_ms": 1e3 * statistics.median(ours)}
        rows.append({**row, "particles_ms": 1e3 * statistics.median(theirs)} if theirs else row)
    return rows


def main() -> None:
    """Run the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="python of an environment with particles")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    peer = peer_of(arguments.peer_python, arguments.threads) if arguments.peer_python else None
    rows: list[dict[str, Any]] = [filters(name, peer, arguments) for name in ("scalar", "four")]
    for n in (10_000, 100_000) if arguments.quick else (10_000, 100_000, 1_000_000):
        rows += resampling(n, peer, arguments)
    if peer is not None:
        peer.close()
    machine = {"torch": torch.__version__, "threads": arguments.threads, "cpu": platform.processor() or platform.machine()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "smc.jsonl").open("w") as file:
        for row in rows:
            line = json.dumps({**row, **machine, **(peer.versions if peer is not None else {})})
            print(line)
            file.write(line + "\n")


if __name__ == "__main__":
    main()
