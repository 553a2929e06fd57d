"""Wavelet transforms beside ptwt: job P3, forward, inverse and gradient of batches in one to three axes.

    python benchmarks/wavelets.py --peer-python <python with ptwt 1.0.1> --out benchmarks/results

Float32, standard normal data; haar, db4 and bior4.4, one and three levels; ours in mode "periodization" (as many coefficients as points),
ptwt in its fastest comparable mode, "periodic". Both sides take one thread and run in turns; the figure of a turn is the median CPU time
of its thread over five calls, that of a side the median over turns, for the wall clock of a shared machine says little; both keep freed
memory. The gradient is that of the sum of squares of forward and inverse. ``gradient_factor`` is the time of all of it, forward and squares too, as
a multiple of forward and inverse run alone, again and again on data that stays in the cache; ``backward_factor`` that of the backward pass, with
that of the squares, as a multiple of the forward and inverse before it. One JSON line
per case goes to ``<out>/wavelets.jsonl`` and the terminal; without ``--peer-python`` only our side runs.
"""

from __future__ import annotations

# ruff: noqa: ANN401 - JSON lines are not typed
import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from peer import Peer, keep_freed_memory

from physdiff.wavelets.dwt import Decomposition, wavedec, waverec

CASES: dict[str, tuple[tuple[int, ...], int]] = {
    "1d": ((64, 1, 8192), 1),
    "2d-odd": ((64, 1, 81, 128), 2),
    "2d": ((16, 3, 128, 128), 2),
    "3d": ((4, 3, 32, 64, 64), 3),
}

WORKER = """
import json, statistics, sys, time
from importlib.metadata import version
import torch
import ptwt
torch.set_num_threads(1)
def cpu(call, repeats=5):
    call()
    found = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        found.append(time.thread_time() - start)
    return statistics.median(found)
def leaves(c):
    if isinstance(c, dict):
        c = list(c.values())
    return [a for v in c for a in leaves(v)] if isinstance(c, (list, tuple)) else [c]
print(json.dumps({"ptwt": version("ptwt"), "peer_torch": torch.__version__}), flush=True)
for line in sys.stdin:
    ask = json.loads(line)
    shape, n = ask["shape"], ask["axes"]
    torch.manual_seed(0)
    x = torch.randn(shape).reshape(-1, *shape[-n:])
    dec, rec = ((ptwt.wavedec, ptwt.waverec), (ptwt.wavedec2, ptwt.waverec2), (ptwt.wavedec3, ptwt.waverec3))[n - 1]
    there = lambda v=x: dec(v, ask["wavelet"], mode="periodic", level=ask["levels"])
    crop = lambda y: y[tuple(slice(0, k) for k in x.shape)]
    with torch.no_grad():
        c = there()
        back = lambda: rec(c, ask["wavelet"])
        answer = {"forward": cpu(there), "inverse": cpu(back), "error": float((crop(back()) - x).abs().max())}
        answer["growth"] = sum(a.numel() for a in leaves(c)) / x.numel()
    z = x.clone().requires_grad_()
    backward = []
    def gradient():
        z.grad = None
        times = [time.thread_time()]
        back = crop(rec(there(z), ask["wavelet"]))
        times.append(time.thread_time())
        loss = back.square().sum()
        times.append(time.thread_time())
        loss.backward()
        times.append(time.thread_time())
        backward.append((times[3] - times[2]) / (times[1] - times[0]))
    answer["gradient"] = cpu(gradient) / (answer["forward"] + answer["inverse"])
    answer["backward"] = statistics.median(backward)
    print(json.dumps(answer), flush=True)
"""


def cpu(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median CPU seconds of this thread, after one call that does not count."""
    call()
    found = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        found.append(time.thread_time() - start)
    return statistics.median(found)


def ours(shape: tuple[int, ...], axes: int, wavelet: str, *, levels: int) -> dict[str, float]:
    """One turn of our side."""
    torch.manual_seed(0)
    x, along = torch.randn(shape), tuple(range(-axes, 0))

    def there(v: torch.Tensor = x) -> Decomposition:
        return wavedec(v, wavelet, levels, axes=along)

    with torch.no_grad():
        c = there()
        back = waverec(c, wavelet, along)
        size = c.approximation.numel() + sum(band.numel() for bands in c.details for band in bands.values())
        answer = {"forward": cpu(there), "inverse": cpu(lambda: waverec(c, wavelet, along))}
        answer |= {"error": float((back - x).abs().max()), "growth": size / x.numel()}
    z = x.clone().requires_grad_()
    backward = []

    def gradient() -> None:
        z.grad = None
        times = [time.thread_time()]
        made = waverec(there(z), wavelet, along)
        times.append(time.thread_time())
        loss = made.square().sum()
        times.append(time.thread_time())
        loss.backward()  # type: ignore[no-untyped-call]
        times.append(time.thread_time())
        backward.append((times[3] - times[2]) / (times[1] - times[0]))

    answer["gradient"] = cpu(gradient) / (answer["forward"] + answer["inverse"])
    answer["backward"] = statistics.median(backward)
    return answer


def settled(turns: list[dict[str, float]], points: int) -> dict[str, float]:
    """Medians over turns, with the throughput of a round trip."""
    found = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    rate = points / (found["forward"] + found["inverse"]) / 1e6
    return {
        "mpoints_per_s": round(rate, 1),
        "forward_ms": round(1e3 * found["forward"], 3),
        "inverse_ms": round(1e3 * found["inverse"], 3),
        "gradient_factor": round(found["gradient"], 2),
        "backward_factor": round(found["backward"], 2),
        "max_error": found["error"],
        "coefficients_per_point": round(found["growth"], 3),
    }


def main() -> None:
    """Run the job and append its lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--wavelets", default="haar,db4,bior4.4")
    parser.add_argument("--commit", default="")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    peer = Peer(args.peer_python, WORKER, needs="ptwt", variables={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}) if args.peer_python else None
    args.out.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "torch": torch.__version__, "commit": args.commit, **({} if peer is None else peer.versions)}
    with (args.out / "wavelets.jsonl").open("a") as lines:
        for name, (shape, axes) in CASES.items():
            for wavelet in args.wavelets.split(","):
                for levels in (1, 3):
                    mine, theirs = [], []
                    for _ in range(args.turns):
                        mine.append(ours(shape, axes, wavelet, levels=levels))
                        if peer is not None:
                            theirs.append(peer.ask(shape=list(shape), axes=axes, wavelet=wavelet, levels=levels))
                    points = torch.Size(shape).numel()
                    row: dict[str, Any] = {"job": "P3", "case": name, "shape": list(shape), "wavelet": wavelet, "levels": levels, "turns": args.turns}
                    row["physdiff"] = settled(mine, points)
                    if theirs:
                        row["peer"] = settled(theirs, points)
                        row["ratio"] = round(row["physdiff"]["mpoints_per_s"] / row["peer"]["mpoints_per_s"], 2)
                    row |= {"load": round(os.getloadavg()[0], 1), **machine}
                    line = json.dumps(row)
                    lines.write(line + "\n")
                    lines.flush()
                    print(line, flush=True)
    if peer is not None:
        peer.close()


if __name__ == "__main__":
    main()
