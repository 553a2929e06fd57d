"""Products of small float32 matrices by `physdiff.base.products` beside `torch.mm`, in turns.

    python benchmarks/products.py --turns 7

Shapes are those of a coordinate network's pass (20 units, jets of 3333 points) and of a Fourier operator's (32 channels, 4096 points, and a
transform of 64 points). Seconds of processor time of one thread, least of the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from physdiff.base.products import product

SHAPES = {
    "network, forward": (20, 20, 13332),
    "network, weights": (20, 13332, 20),
    "operator, channels": (4096, 32, 32),
    "operator, hidden": (4096, 32, 64),
    "operator, wide transform": (128, 64, 544),
}


def seconds(call: Callable[[], Tensor], repeats: int = 50) -> float:
    """Of one call."""
    begin = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - begin) / repeats


def main() -> None:
    """One line for each shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    for name, (m, k, n) in SHAPES.items():
        a, b = torch.randn(m, k), torch.randn(k, n)
        if name == "network, weights":
            b = torch.randn(n, k).mT
        ours, theirs = [], []
        for _ in range(turns):
            ours.append(seconds(lambda a=a, b=b: product(a, b)))
            theirs.append(seconds(lambda a=a, b=b: torch.mm(a, b)))
        flops = 2e-9 * m * k * n
        line = {"product": name, "shape": [m, k, n], "gflops": round(flops / min(ours)), "gflops_torch_mm": round(flops / min(theirs))}
        print(json.dumps({**line, "ratio": round(min(theirs) / min(ours), 2), "load": round(os.getloadavg()[0], 1)}), flush=True)


if __name__ == "__main__":
    main()
