"""Ensemble scores beside scoringrules and xskillscore: job P9, 50 members x 100 times x 64 x 128 points in float32 (156 MiB).

    python benchmarks/scores.py --peer-python <python with scoringrules 0.10.0, numba, xskillscore, psutil> --threads 1 --out benchmarks/results

Members and truth are of one law, so that the fair CRPS must be 0.564. Both sides have the data in the layout that they like best (ours members
first, as `evaluate` hands them over; the sorted scoringrules estimators members last) before the clock starts; they run in turns, one waiting while
the other works. Wall and CPU seconds are the least over turns (medians beside them), extra memory is the peak of the resident set during a call less
that before it, and `value` is the mean score. One JSON line per score goes to ``<out>/scores.jsonl`` and the terminal; `ratio` is the wall time of
the fastest exact peer over ours, `ratio_cpu` that of CPU times, which say more on a shared machine. Exact: of the same score, no sampled pairs.
"""

from __future__ import annotations

# ruff: noqa: ANN401 - JSON lines are not typed
import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from peer import Peer

from physdiff.scores.crps import crps
from physdiff.scores.energy_score import energy_score
from physdiff.scores.rank_histogram import rank_histogram
from physdiff.scores.spread_skill import spread_skill

# both sides measure by the same code
SHARED = '''
import time
import numpy as np
def peak():
    with open("/proc/self/status") as f:
        found = dict(line.split(":", 1) for line in f)
    return int(found["VmHWM"].split()[0]) / 1024
def reset():
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")
def data(m, t):
    rng = np.random.default_rng(0)
    mu = rng.standard_normal((t, 64, 128), dtype=np.float32)
    fc = mu + rng.standard_normal((m, t, 64, 128), dtype=np.float32)
    return fc, mu + rng.standard_normal((t, 64, 128), dtype=np.float32)
def measure(call, value):
    reset()
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "mib": peak() - before, "value": float(value(result))}
'''

WORKER = SHARED + '''
import json, sys, warnings
warnings.filterwarnings("ignore")
from importlib.metadata import version
import scoringrules as sr, xarray as xr, xskillscore as xs
names = ("scoringrules", "numba", "xskillscore", "xarray", "numpy")
print(json.dumps({"versions": {n: version(n) for n in names}}), flush=True)
fc, ob = data(int(sys.argv[1]), int(sys.argv[2]))
dims = ("time", "latitude", "longitude")
def last():
    return np.ascontiguousarray(np.moveaxis(fc, 0, -1))
def fields():
    t = fc.shape[1]
    return np.ascontiguousarray(np.moveaxis(fc, 0, 1).reshape(t, fc.shape[0], -1)), ob.reshape(t, -1)
def arrays():
    return xr.DataArray(fc, dims=("member",) + dims), xr.DataArray(ob, dims=dims)
def crps_of(estimator, axis):
    def make():
        e = last() if axis == -1 else fc
        return (lambda: sr.crps_ensemble(ob, e, m_axis=axis, estimator=estimator, backend="numba")), np.mean
    return make
def es():
    e, o = fields()
    return (lambda: sr.es_ensemble(o, e, estimator="fair", backend="numba")), np.mean
def xs_crps():
    f, o = arrays()
    return (lambda: xs.crps_ensemble(o, f, dim=[])), lambda r: r.mean()
def xs_rank():
    f, o = arrays()
    return (lambda: xs.rank_histogram(o, f)), lambda r: r.std() / r.mean()
def xs_spread():
    f, o = arrays()
    return (lambda: f.var("member", ddof=1).mean() ** 0.5 / xs.rmse(f.mean("member"), o)), float
jobs = {
    "scoringrules fair": crps_of("fair", -1), "scoringrules fair, members first": crps_of("fair", 0), "scoringrules pwm": crps_of("pwm", -1),
    "scoringrules qd (biased)": crps_of("qd", -1), "xskillscore crps (biased)": xs_crps, "scoringrules es fair": es,
    "xskillscore rank histogram": xs_rank, "xskillscore spread-skill": xs_spread,
}
ready = {}
for line in sys.stdin:
    name = json.loads(line)["name"]
    if name not in ready:
        ready = {name: jobs[name]()}
        ready[name][0]()
    print(json.dumps(measure(*ready[name])), flush=True)
'''

PEERS = {
    "crps": ("scoringrules pwm", "scoringrules fair", "scoringrules fair, members first", "scoringrules qd (biased)", "xskillscore crps (biased)"),
    "energy_score": ("scoringrules es fair",),
    "rank_histogram": ("xskillscore rank histogram",),
    "spread_skill": ("xskillscore spread-skill",),
}


def ours(fc: Any, ob: Any) -> dict[str, tuple[Callable[[], torch.Tensor], Callable[[torch.Tensor], Any]]]:
    """Calls and what is shown of their results."""
    x, y = torch.from_numpy(fc), torch.from_numpy(ob)
    equal = torch.ones(y.shape[1:])
    whole = torch.ones(y.shape)
    return {
        "crps": (lambda: crps(x, y), torch.mean),
        "energy_score": (lambda: energy_score(x, y, equal), torch.mean),
        "rank_histogram": (lambda: rank_histogram(x, y), lambda r: r.std(correction=0) / r.mean()),
        "spread_skill": (lambda: spread_skill(x, y, whole), float),
    }


def settled(turns: list[dict[str, float]]) -> dict[str, float]:
    """Least and median times, largest extra memory."""
    wall, cpu = ([turn[key] for turn in turns] for key in ("wall", "cpu"))
    found = {"wall_s": min(wall), "wall_median_s": statistics.median(wall), "cpu_s": min(cpu), "cpu_median_s": statistics.median(cpu)}
    return {**{k: round(v, 4) for k, v in found.items()}, "extra_mib": round(max(t["mib"] for t in turns), 1), "value": round(turns[0]["value"], 6)}


def main() -> None:
    """Run the job and append its lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--members", type=int, default=50)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--commit", default="")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shared: dict[str, Any] = {}
    exec(SHARED, shared)  # noqa: S102 - the text above
    fc, ob = shared["data"](args.members, args.times)
    threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
    size = [str(args.members), str(args.times)]
    peer = Peer(args.peer_python, WORKER, needs="scoringrules, numba, xskillscore", arguments=size, variables=threads) if args.peer_python else None
    args.out.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "torch": torch.__version__, "commit": args.commit, **({} if peer is None else peer.versions)}
    with (args.out / "scores.jsonl").open("a") as lines:
        for score, (call, value) in ours(fc, ob).items():
            call()
            mine: list[dict[str, float]] = []
            theirs: dict[str, list[dict[str, float]]] = {}
            for name in PEERS[score] if peer is not None else ("",):
                for _ in range(args.turns):
                    mine.append(shared["measure"](call, value))
                    if peer is not None:
                        theirs.setdefault(name, []).append(peer.ask(name=name))
            row: dict[str, Any] = {"job": "P9", "score": score, "members": args.members, "times": args.times, "grid": [64, 128], "dtype": "float32"}
            row |= {"threads": args.threads, "turns": args.turns, "input_mib": round(fc.nbytes / 2**20, 1), "physdiff": settled(mine)}
            row["peers"] = {name: settled(turns) for name, turns in theirs.items()}
            exact = [v for name, v in row["peers"].items() if "biased" not in name]
            if exact:
                row["ratio"], row["ratio_cpu"] = (round(min(v[k] for v in exact) / row["physdiff"][k], 2) for k in ("wall_s", "cpu_s"))
            line = json.dumps(row | {"load": round(os.getloadavg()[0], 1), **machine})
            lines.write(line + "\n")
            lines.flush()
            print(line, flush=True)
    if peer is not None:
        peer.close()


if __name__ == "__main__":
    main()
