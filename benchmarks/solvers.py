"""Spectral solvers beside exponax: seconds per unit of simulated time at an error of 1e-4, on the states and references of job P1.

    python benchmarks/solvers.py --peers ../shared/bench/peers --peer-python <python with jax 0.10.2, exponax 0.2.0, scipy> --out benchmarks/results

Both sides solve the same equations on the same grid in float32 and may use the same number of threads; ours takes one where the grid is small,
as `physdiff generate` does (`cli/threads.py`). `p1_solver.py` of the job makes initial states,
references and the peer's steppers. Each side climbs one ladder of steps until its error (mean over samples, relative L2) is at most 1e-4; then
the cheapest of both, the peer at the step of the job's table, and our run by tolerance are timed in turns. The peer's compilation and our weights
are made before. One JSON line per result goes to ``<out>/solvers.jsonl`` and the terminal. Without ``--peer-python`` only our side runs; making the
references takes minutes once (``--cache`` keeps them).
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
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from peer import Peer, keep_freed_memory

from physdiff.base.errors import Diverged
from physdiff.cli.threads import threads_for
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.pdes.steady import Steady
from physdiff.solvers.etdrk import ETDRK2, ETDRK4, StrehmelWeiner
from physdiff.solvers.solve import solve

GOAL = 1e-4
# steps to T; both sides climb them
LADDERS = {
    "ns128": {"ETDRK4": (2, 3, 4, 6, 8, 16), "ETDRK2": (12, 14, 16, 24)},
    "ns256": {"ETDRK4": (2, 3, 4, 6, 8, 16), "ETDRK2": (12, 14, 16, 24)},
    "ns256t": {"ETDRK4": (80, 96, 104, 112, 120, 128)},
    "burgers": {"ETDRK4": (64, 80, 88, 96, 112, 125)},
    "ks": {"ETDRK4": (50, 56, 64, 72, 80, 100, 128)},
}
# the steps of the job's table at 1e-4
TABLE = {"ns128": ("ETDRK2", 16), "ns256": ("ETDRK2", 16), "ns256t": ("ETDRK4", 128), "burgers": ("ETDRK4", 125), "ks": ("ETDRK4", 100)}
OURS = {"ETDRK2": ETDRK2, "ETDRK4": ETDRK4, "StrehmelWeiner": StrehmelWeiner}  # the last climbs the ladder of ETDRK4; the peer has the first two
TARGET = {"ns128": 1.3, "ns256": 1.3, "ns256t": 1.5, "burgers": 1.0, "ks": 1.0}
TOLERANCES = (1e-2, 4e-3, 2e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
SIZES = {"ns128": (8, 128), "ns256": (8, 256), "ns256t": (4, 256)}

WORKER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import _common
import p1_solver as job
makes = {}
job.run_ladder = lambda args, name, peer, ver, make, *rest: makes.__setitem__((name, rest[1]["scheme"]), make)
args = _common.parser("peer").parse_args(["--cache", sys.argv[2], "--only", "exponax"] + sys.argv[3:])
names = list(job.PROBS)
job.peers_jax(args, names)
print(json.dumps({"exponax": _common.version("exponax"), "jax": _common.version("jax")}), flush=True)
run = None
for line in sys.stdin:
    ask = json.loads(line)
    if "make" in ask:
        job.reference(ask["make"], args)
        answer = {"made": True}
    elif "steps" in ask:
        name, steps = ask["problem"], ask["steps"]
        u0, ref = job.reference(name, args)
        key = (name, ask["method"], steps)
        run = makes[name, ask["method"]](u0.astype("float32"), steps, job.PROBS[name]["T"] / steps)
        globals().setdefault("runs", {})[key] = run
        answer = {"error": float(job.rel(run(), ref))}
    else:
        run = runs[tuple(ask["run"])]
        start = time.perf_counter()
        run()
        answer = {"seconds": time.perf_counter() - start}
    print(json.dumps(answer), flush=True)
"""


def peer_of(arguments: argparse.Namespace) -> Peer:
    """The peer, with as many threads as we take."""
    given = [arguments.peers, arguments.cache, *(["--quick"] if arguments.quick else [])]
    return Peer(arguments.peer_python, WORKER, needs="jax, exponax and scipy", arguments=given, variables={"BENCH_THREADS": str(arguments.threads)})


class Ours:
    """Our side of one problem."""

    def __init__(self, name: str, job: Any, arguments: argparse.Namespace) -> None:
        problem = job.PROBS[name]
        self.name, self.time, self._job = name, problem["T"], job
        self.plane, n = name.startswith("ns"), problem["n"]
        if self.plane:

            def force(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
                return 0.1 * (torch.sin(2 * math.pi * (x + y)) + torch.cos(2 * math.pi * (x + y)))

            self.law: Any = NavierStokes(job.nu_of(name), forcing=Steady(force))
            grid = CartesianGrid((n, n), extent=(1.0, 1.0))
        else:
            self.law = Burgers(job.NU_B) if name == "burgers" else KuramotoSivashinsky()
            grid = CartesianGrid(n, extent=1.0 if name == "burgers" else job.L_KS)
        u0, self._reference = job.reference(name, arguments)
        self.field = self.law.fields[0]
        self.start = torch.from_numpy(np.ascontiguousarray(self._turned(u0).astype(np.float32)))
        self.points = math.prod(grid.shape)
        self.operators = Spectral(grid)
        self.steppers = {name: kind(self.law, self.operators) for name, kind in OURS.items()}

    def run(self, method: str, control: dict[str, Any]) -> torch.Tensor:
        """The end state."""
        times = torch.tensor([0.0, self.time], dtype=torch.float64)
        with torch.no_grad(), threads_for(self.points):
            return solve(self.steppers[method], {self.field: self.start}, times, **control)[self.field][:, -1]

    def error(self, method: str, control: dict[str, Any]) -> float:
        """Of the end state; nan if the run fails."""
        try:
            return float(self._job.rel(self._turned(self.run(method, control).numpy()), self._reference))
        except Diverged:
            return float("nan")

    def _turned(self, u: Any) -> Any:
        """The job stores a plane as (x, y), physdiff as (y, x)."""
        return u.swapaxes(-1, -2) if self.plane else u


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def climb(ladder: dict[str, tuple[int, ...]], error: Callable[[str, int], float], say: Callable[..., None]) -> list[tuple[str, int, float]]:
    """For each method the least steps of its ladder that meet the goal: (method, steps, error)."""
    met = []
    for method, steps in ladder.items():
        for n in steps:
            e = error(method, n)
            say(method=method, steps=n, error=e)
            if e <= GOAL:
                met.append((method, n, e))
                break
    return met


def in_turns(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, taken one after the other again and again, so that all see the same machine.

    Every second turn is the other way round: what follows its like finds data in the caches (a sixth of a right-hand side at 8 x 128^2).
    """
    for run in runs.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats):
        for name in list(runs)[:: 1 - 2 * (turn % 2)]:
            taken[name].append(runs[name]())
    return taken


def compare(name: str, job: Any, peer: Peer | None, arguments: argparse.Namespace, emit: Callable[..., None]) -> None:
    """Ladders of both sides, then the chosen runs in turns."""
    ours, ladder = Ours(name, job, arguments), LADDERS[name]
    all_ours = {**ladder, "StrehmelWeiner": ladder["ETDRK4"]}
    mine = climb(all_ours, lambda k, n: ours.error(k, {"substeps": n}), lambda **row: emit(kind="ladder", problem=name, side="physdiff", **row))
    chosen: dict[str, dict[str, Any]] = {}
    runs: dict[str, Callable[[], float]] = {}

    def add(label: str, run: Callable[[], float], **row: Any) -> None:
        chosen[label], runs[label] = row, run

    for method, n, e in mine:
        add(f"physdiff {method}", lambda k=method, n=n: seconds(lambda: ours.run(k, {"substeps": n})), steps=n, error=e)  # type: ignore[misc]
    for tol in TOLERANCES:
        e = ours.error("ETDRK4", {"tol": tol})
        emit(kind="tolerance", problem=name, side="physdiff", tol=tol, error=e)
        if e <= GOAL:
            add("physdiff ETDRK4 tol", lambda tol=tol: seconds(lambda: ours.run("ETDRK4", {"tol": tol})), tol=tol, error=e)  # type: ignore[misc]
            break
    if peer is not None:
        ask = peer.ask
        said: Callable[..., None] = lambda **row: emit(kind="ladder", problem=name, side="exponax", **row)  # noqa: E731
        theirs = climb(ladder, lambda k, n: ask(problem=name, method=k, steps=n)["error"], said)
        for method, n, e in theirs:
            add(f"exponax {method}", lambda k=method, n=n: ask(run=[name, k, n])["seconds"], steps=n, error=e)  # type: ignore[misc]
        method, n = TABLE[name]
        e = ask(problem=name, method=method, steps=n)["error"]
        add("exponax table", lambda: ask(run=[name, method, n])["seconds"], method=method, steps=n, error=e)
    times = in_turns(runs, 2 if arguments.quick else arguments.repeats)
    for label, row in chosen.items():
        median, least = statistics.median(times[label]), min(times[label])
        emit(kind="time", problem=name, run=label, **row, seconds_per_unit=median / ours.time, least_seconds_per_unit=least / ours.time)
    for method in ladder:
        mine_n, theirs_n = (chosen.get(f"{side} {method}", {}).get("steps") for side in ("physdiff", "exponax"))
        if mine_n is not None and mine_n == theirs_n:
            ratio = statistics.median(b / a for a, b in zip(times[f"physdiff {method}"], times[f"exponax {method}"], strict=True))
            emit(kind="equal steps", problem=name, method=method, steps=mine_n, times_faster=ratio)
    summary(name, times, emit)


def summary(name: str, times: dict[str, list[float]], emit: Callable[..., None]) -> None:
    """How many times faster: the best of ours over the job's figure and over the peer's best, of the same turns."""
    mine = min((n for n in times if n.startswith("physdiff")), key=lambda n: statistics.median(times[n]), default="")
    theirs = [n for n in times if n.startswith("exponax")]
    if not mine or not theirs:
        return
    best = min(theirs, key=lambda n: statistics.median(times[n]))
    for label, other in (("exponax table", "exponax table"), ("exponax best", best)):
        ratio = statistics.median(b / a for a, b in zip(times[mine], times[other], strict=True))
        least = min(times[other]) / min(times[mine])
        emit(kind="ratio", problem=name, ours=mine, against=label, run=other, times_faster=ratio, of_least_times=least, target=TARGET[name])


def by_hand_of(ours: Ours, w: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The explicit part's mathematics written by hand on stacked tensors, of the waves kept w."""
    D = ours.steppers["ETDRK4"]._form._operators
    block, root = D.block, D.block.root
    if not ours.plane:
        slope = root.then("derivative", 0, 1).like(w, -1.0)
        return lambda: slope * block.forward(0.5 * block.inverse(root.like(w) * w) ** 2)
    stream = root.then("inverse_laplacian")
    velocity = torch.stack([stream.then("derivative", 1, 1).like(w, -1.0), stream.then("derivative", 0, 1).like(w)])[:, None]
    saddle = root.then("saddle").like(w, -1.0)
    cross = root.then("derivative", 0, 1).then("derivative", 1, 1).like(w, -1.0)
    x, y = D.coordinates_as(ours.start)
    force = block.forward(ours.law.forcing(x, y, 0.0)) * root.like(w)
    products = torch.empty(2, *ours.start.shape)

    def by_hand() -> torch.Tensor:
        u, v = block.inverse(velocity * w)
        torch.mul(u, v, out=products[0])
        torch.mul(v, v, out=products[1]).addcmul_(u, u, value=-1)
        first, second = block.forward(products)
        return (saddle * first).addcmul_(cross, second).add_(force)

    return by_hand


def right_hand_sides(name: str, job: Any, arguments: argparse.Namespace, emit: Callable[..., None]) -> None:
    """One explicit part: the law's text, the same mathematics written by hand on stacked tensors, and bare transforms."""
    ours = Ours(name, job, arguments)
    form = ours.steppers["ETDRK4"]._form
    w = form.kept(form.waves({ours.field: ours.start}))[ours.field].contiguous()
    by_hand = by_hand_of(ours, w)
    axes = (-2, -1) if ours.plane else (-1,)
    shape = ours.start.shape[1:]
    half = torch.fft.rfftn(ours.start, dim=axes)
    inverses = 4 if ours.plane else 1

    def bare() -> None:
        for _ in range(inverses):
            torch.fft.irfftn(half, s=shape, dim=axes)
        torch.fft.rfftn(ours.start, dim=axes)

    with torch.no_grad(), threads_for(ours.points):
        got, wanted = form.explicit({ours.field: w}, 0.0)[ours.field], by_hand()
        difference = float((got - wanted).abs().max() / wanted.abs().max())
        calls = {"law": lambda: form.explicit({ours.field: w}, 0.0), "by hand": by_hand, "bare transforms": bare}
        times = in_turns({k: lambda f=f: seconds(f) for k, f in calls.items()}, 20 if arguments.quick else 300)  # type: ignore[misc]
    ms = {k: 1e3 * statistics.median(v) for k, v in times.items()}
    overhead = statistics.median(a / b for a, b in zip(times["law"], times["by hand"], strict=True)) - 1
    emit(
        kind="right-hand side",
        problem=name,
        ms_law=ms["law"],
        ms_by_hand=ms["by hand"],
        ms_bare=ms["bare transforms"],
        bare=f"{inverses} inverse + 1 forward",
        law_over_bare=ms["law"] / ms["bare transforms"],
        text_overhead=overhead,
        least_ms_law=1e3 * min(times["law"]),
        least_ms_by_hand=1e3 * min(times["by hand"]),
        least_ms_bare=1e3 * min(times["bare transforms"]),
        difference=difference,
    )


def job_of(folder: str) -> Any:
    """The job's module.

    Raises:
        SystemExit: If it is not there.
    """
    if not (Path(folder) / "p1_solver.py").exists():
        raise SystemExit(f"solvers: expected p1_solver.py and _common.py of job P1 in {folder}, found none; give their folder by --peers")
    sys.path.insert(0, folder)
    return importlib.import_module("p1_solver")


def words(arguments: argparse.Namespace) -> dict[str, Any]:
    """Machine, load, commit and versions."""
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=here).stdout.strip()
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "load": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
        "commit": commit,
        "quick": arguments.quick,
    }


def main() -> None:
    """Run all problems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="../shared/bench/peers", help="folder of p1_solver.py")
    parser.add_argument("--peer-python", help="interpreter of an environment with jax, exponax and scipy")
    parser.add_argument("--cache", default=os.path.join(tempfile.gettempdir(), "physdiff-bench"), help="where references are kept")
    parser.add_argument("--out", default="results")
    parser.add_argument("--problems", nargs="+", default=list(LADDERS), choices=list(LADDERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="coarser references, two repeats")
    arguments = parser.parse_args()
    keep_freed_memory()
    os.environ["BENCH_THREADS"] = str(arguments.threads)
    torch.set_num_threads(arguments.threads)
    Path(arguments.out).mkdir(parents=True, exist_ok=True)
    if arguments.peer_python:
        peer: Peer | None = peer_of(arguments)
        for name in arguments.problems:
            peer.ask(make=name)
    else:
        peer = None
    job = job_of(arguments.peers)
    with open(Path(arguments.out) / "solvers.jsonl", "w", encoding="utf-8") as file:

        def emit(**row: Any) -> None:
            rounded = {k: (float(f"{v:.4g}") if math.isfinite(v) else None) if isinstance(v, float) else v for k, v in row.items()}
            line = json.dumps({**rounded, **words(arguments), **({} if peer is None else peer.versions)})
            file.write(line + "\n")
            file.flush()
            print(line, flush=True)

        for name in arguments.problems:
            right_hand_sides(name, job, arguments, emit)
            compare(name, job, peer, arguments, emit)
    if peer is not None:
        peer.close()


if __name__ == "__main__":
    main()
