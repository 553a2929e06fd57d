"""Training steps of operator networks beside neuraloperator's, diffusers' and deepinv's: job P2.

    python benchmarks/operators.py --peers ../shared/bench/peers --peer-python <python with torch 2.13.0, neuraloperator 2.0.0, diffusers, deepinv>

Run it from the root of the repository. Work: forward, relative L2 loss, backward, Adam; batch 16, one channel in and out, 64 x 64, float32, one
thread. Every network has a process of its own, so that the peak memory is its own, and the processes take turns, for the machine may be shared:
processor seconds of a step, median and least of all turns, and the peak of the resident memory, whole and above what the process had when the
network stood. Our `FNO` starts from the weights that neuraloperator drew, and the largest difference of the losses of all steps is told. One
JSON line per network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peer import Peer, keep_freed_memory
from physdiff.networks.fno import FFNO, FNO
from physdiff.networks.unet import UNet

WORKER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import p2_operator as job
torch = job.torch_setup()
torch.set_num_threads(1)
torch.manual_seed(0)
name, start = sys.argv[2:]
if name.startswith('physdiff'):
    from benchmarks.operators import build
    model, package = build(name, start), 'physdiff'
else:
    model, package = job.build(name)
    torch.save({k: v for k, v in model.state_dict().items() if torch.is_tensor(v)}, start)
torch.manual_seed(1)
x, y = torch.randn(16, 1, 64, 64), torch.randn(16, 1, 64, 64)
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

def step():
    optimiser.zero_grad(set_to_none=True)
    wrong = torch.linalg.vector_norm((model(x) - y).flatten(1), dim=1)
    loss = (wrong / torch.linalg.vector_norm(y.flatten(1), dim=1)).mean()
    loss.backward()
    optimiser.step()
    return loss.item()

before = job.rss_now_mib()
losses = [step(), step()]
job.rss_reset()
count = sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())
print(json.dumps({'package': package, 'torch': torch.__version__, 'parameters': count}), flush=True)
for line in sys.stdin:
    seconds = []
    for _ in range(json.loads(line)['steps']):
        begin = time.process_time()
        losses.append(step())
        seconds.append(time.process_time() - begin)
    peak = job.rss_peak_mib()
    print(json.dumps({'seconds': seconds, 'losses': losses, 'peak': peak, 'above': peak - before}), flush=True)
"""

PAIRS = {
    "physdiff-fno-16": "fno-neuralop-16",
    "physdiff-fno-32": "fno-neuralop-32",
    "physdiff-ffno": "tfno-neuralop",
    "physdiff-unet": "unet-diffusers",
    "physdiff-unet-pyramid": "drunet-deepinv",
}


class _Level(nn.Module):
    """A U-Net at noise level zero."""

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def build(name: str, start: str) -> nn.Module:
    """Our network of a name; an FNO with the weights that neuraloperator has written to `start`."""
    if name == "physdiff-unet-pyramid":  # wider from level to level, as deepinv's; not in twelves, which cost nearly what sixteens do
        return _Level(UNet(1, 1, width=8, multipliers=(1, 2, 4, 14), attention=False, dropout=0.0))
    if name == "physdiff-unet":
        return _Level(UNet(1, 1, width=36, multipliers=(1, 2, 2), attention=False, dropout=0.0))
    if name == "physdiff-ffno":
        return FFNO(1, 1, periodic=True, width=32, modes=8)
    net = FNO(1, 1, periodic=True, width=32, modes=int(name.split("-")[-1]) // 2, coordinates=True)
    net.load_state_dict(from_neuralop(torch.load(start, weights_only=True), layers=4))
    return net


def from_neuralop(theirs: Mapping[str, Tensor], *, layers: int) -> dict[str, Tensor]:
    """The weights of neuraloperator's FNO under our names."""
    ours: dict[str, Tensor] = {}

    def mlp(there: str, here: str) -> None:
        for number, name in enumerate(("first", "second")):
            ours[f"{here}.{name}.weight"] = theirs[f"{there}.fcs.{number}.weight"][..., 0]
            ours[f"{here}.{name}.bias"] = theirs[f"{there}.fcs.{number}.bias"]

    for i in range(layers):
        weight = theirs.get(f"fno_blocks.convs.{i}.weight.tensor", theirs.get(f"fno_blocks.convs.{i}.weight"))
        assert weight is not None
        ours[f"layers.{i}.conv.weight"] = torch.view_as_real(weight).movedim((0, 1, -1), (-2, -1, 0)).contiguous()
        ours[f"layers.{i}.conv.bias"] = theirs[f"fno_blocks.convs.{i}.bias"].flatten()
        ours[f"layers.{i}.skip"] = theirs[f"fno_blocks.fno_skips.{i}.conv.weight"][..., 0]
        ours[f"layers.{i}.gate"] = theirs[f"fno_blocks.channel_mlp_skips.{i}.weight"].flatten()
        mlp(f"fno_blocks.channel_mlp.{i}", f"layers.{i}.mlp")
    mlp("lifting", "ends.lift")
    mlp("projection", "ends.project")
    return ours


def main() -> None:
    """All networks, in turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    keep_freed_memory()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for ours, theirs in PAIRS.items():
            if args.only and theirs not in args.only.split(","):
                continue
            start = str(Path(folder) / theirs)
            rows += _pair([(theirs, args.peer_python), (ours, sys.executable)], start, args)
    for row in rows:
        line = json.dumps(row)
        print(line, flush=True)
        if args.out is not None:
            with args.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _pair(named: list[tuple[str, str]], start: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A peer and ours, turn by turn."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "BENCH_THREADS")}
    processes = [
        Peer(python, WORKER, needs="neuraloperator, diffusers, deepinv", arguments=[str(args.peers), name, start], variables=threads)
        for name, python in named
    ]
    answers = [[p.ask(steps=args.steps) for p in processes] for _ in range(args.turns)]
    rows = []
    for i, (process, (name, _)) in enumerate(zip(processes, named, strict=True)):
        seconds = [s for turn in answers for s in turn[i]["seconds"]]
        last = answers[-1][i]
        rows.append(
            {
                "network": name,
                **process.versions,
                "cpu_s_per_step": {"median": round(median(seconds), 4), "least": round(min(seconds), 4)},
                "peak_mib": round(last["peak"]),
                "above_start_mib": round(last["above"]),
                "last_loss": last["losses"][-1],
            }
        )
    for process in processes:
        with suppress(subprocess.TimeoutExpired):  # on a busy machine an interpreter takes its time to end
            process.close()
    if len(rows) == 2 and "fno-neuralop" in rows[0]["network"] and "tfno" not in rows[0]["network"]:
        theirs, ours = (turn["losses"] for turn in answers[-1])
        rows[1]["largest_difference_of_losses"] = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    return rows


if __name__ == "__main__":
    main()
