"""What an accelerator gives: steps of the spectral solver, training steps and draws, by size, precision and compilation.

    python benchmarks/accelerator.py --out benchmarks/results

Solver: ETDRK4 on two-dimensional decaying turbulence in float32. Training: forward, backward and AdamW of the U-Net (width 128, 24 channels in, 16
out, 32 x 32 points, batch 64). Draws: 64 windows by 20 steps of the multistep sampler through a U-Net of width 64. The best of several runs after a
first one; one JSON line per result goes to ``<out>/accelerator.jsonl`` and the terminal. Without a CUDA device the same runs on the CPU at the
smaller sizes, for comparison.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn

from physdiff.base.rng import Rng
from physdiff.cli.device import best_device
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import VPSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.networks.unet import UNet
from physdiff.operators.spectral import Spectral
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField
from physdiff.solvers.solve import solve

STEPS = 20
Line = dict[str, Any]


def main() -> None:
    """Run all and write the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--parts", nargs="+", default=["solver", "training", "draws"])
    arguments = parser.parse_args()
    device = best_device()
    parts: dict[str, Callable[[torch.device], Iterator[Line]]] = {"solver": solver, "training": training, "draws": draws}
    about = facts(device)
    path = Path(arguments.out) / "accelerator.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for name in arguments.parts:
            for line in parts[name](device):
                text = json.dumps({"part": name, **line, **about})
                print(text, flush=True)
                file.write(text + "\n")


def solver(device: torch.device) -> Iterator[Line]:
    """Milliseconds per step of ETDRK4, and grid points advanced per second."""
    sizes = ((128, 8), (256, 8), (256, 64), (512, 32), (1024, 8)) if device.type == "cuda" else ((128, 8), (256, 8))
    for points, batch in sizes:
        grid = CartesianGrid((points, points), extent=2 * math.pi)
        stepper = ETDRK4(NavierStokes(1e-3), Spectral(grid))
        start = {"vorticity": RandomField(length=0.4).sample(grid, batch, Rng(0)).to(device)}
        times = torch.tensor([0.0, STEPS * 1e-3], dtype=torch.float64)
        with torch.no_grad():
            seconds = best(lambda s=stepper, u=start, t=times: solve(s, u, t, substeps=STEPS), device)
        yield {"points": points, "batch": batch, "ms_per_step": 1e3 * seconds / STEPS, "points_per_second": batch * points**2 * STEPS / seconds}


def training(device: torch.device) -> Iterator[Line]:
    """Milliseconds per training step by precision, plain and compiled."""
    network = UNet(24, 16, ndim=2, periodic=True, width=128, dropout=0.0).to(device)
    batch = 64 if device.type == "cuda" else 8
    x, noise = torch.randn(batch, 24, 32, 32, device=device), torch.rand(batch, device=device)
    for precision in ("float32", "bfloat16") if device.type == "cuda" else ("float32",):
        for compiled in (False, True) if device.type == "cuda" else (False,):
            module = copy.deepcopy(network)
            if compiled:
                module.compile()
            optimizer = torch.optim.AdamW(module.parameters(), fused=True)

            def step(module: nn.Module = module, optimizer: torch.optim.Optimizer = optimizer, half: bool = precision == "bfloat16") -> None:
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    loss = module(x, noise).float().pow(2).mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()

            seconds = best(step, device, times=10)
            yield {"precision": precision, "compiled": compiled, "batch": batch, "ms_per_step": 1e3 * seconds, "windows_per_second": batch / seconds}


def draws(device: torch.device) -> Iterator[Line]:
    """Seconds for a batch of draws, and the share of it that is not the network."""
    network = UNet(16, 16, ndim=2, periodic=True, width=64, dropout=0.0)
    denoiser = PreconditionedDenoiser(network, VPSchedule()).to(device).eval()
    times = timesteps(denoiser.schedule, STEPS)
    batch = 64 if device.type == "cuda" else 8
    start = Rng(0).normal((batch, 16, 1, 32, 32)).to(device)
    with torch.no_grad():
        whole = best(lambda: DPMSolver2M().run(denoiser, start, times, rng=Rng(1)), device)
        alone = best(lambda: [denoiser(start, t) for t in times[:-1]], device)
    yield {"batch": batch, "steps": STEPS, "seconds": whole, "network_seconds": alone}


def best(run: Callable[[], object], device: torch.device, *, times: int = 3) -> float:
    """Least wall-clock seconds of several runs, after one that pays for compilation and memory."""
    found = math.inf
    for k in range(times + 1):
        begin = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if k:
            found = min(found, time.perf_counter() - begin)
    return found


def facts(device: torch.device) -> Line:
    """Device, versions and commit."""
    here = Path(__file__).resolve().parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=here).stdout.strip()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    load = None if device.type == "cuda" else round(os.getloadavg()[0], 2)
    return {"device": name, "torch": torch.__version__, "python": platform.python_version(), "commit": commit, "load": load}


if __name__ == "__main__":
    main()
