"""Smoke led through a tank by what is done around it: state and control drawn together, steered, and judged by the tank itself.

    physdiff generate --recipe wdno_smoke --samples 260 --out ../smoke/smoke.h5
    python benchmarks/smoke_control.py --data ../smoke/smoke.h5 --models haar,pixels --work ../smoke --out benchmarks/results

The setting of the wavelet diffusion neural operator (`wdno_smoke`): seven openings, bars inside, velocities set in the frame around the tank, smoke
that should leave through the middle opening at the top. Block means on 32 x 32 cells, 16 frames, t = 0 to 240; the last 20 trajectories are tests.
``haar`` or any wavelet, and ``pixels``, the same channels without one: one model for two tasks, what a control does and which control there is. The
objective J is the share of the smoke that does not leave there; `control` draws with weight `strength` against the prior, by the denoiser's own
covariance and by unit spread (the paper's way). The controls go through the tank's own flow (`WDNOSmoke.driven`), beside unsteered draws of the
prior, the data's own controls and none. One JSON line per model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import interpolate

from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset, to_tensor
from physdiff.data.open import open_dataset
from physdiff.data.recipes.wdno_smoke import WDNOSmoke
from physdiff.data.tasks import Task, task_condition
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.grids.blocks import coarsened
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.control import control
from physdiff.networks.unet import UNet
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.trajectories import prepare_trajectories

FRAMES, EVERY, TEST = 16, 2, 20
TASKS: list[Task] = [{"smoke": (0,)}, {"smoke": (0,), "control_x": "all", "control_y": "all"}]


def coarse_data(path: Path) -> xr.Dataset:
    """Every second frame, block means over 2 x 2 cells."""
    fine = open_dataset(path).isel(time=slice(0, FRAMES * EVERY, EVERY)).load()
    spec = spec_of(fine, frames=FRAMES, periodic=(False, False))
    grid = CartesianGrid((32, 32), 128.0, -0.5, periodic=False, length_unit="1")
    x = coarsened(to_tensor(fine, spec), 2)
    return to_dataset(x, FieldSpec(spec.names, spec.units, grid, spec.dt, frames=FRAMES), fine["time"].values, batch="sample")


def trained(model: str, train: xr.Dataset, args: argparse.Namespace) -> tuple[DiffusionPrior, dict[str, Any]]:
    """A trained prior, kept in `work`."""
    stem = args.work / f"smoke_{model}_{args.steps}_{args.width}_{args.seed}"
    path, note = stem.with_suffix(".prior"), stem.with_suffix(".json")
    if path.exists() and note.exists():
        return DiffusionPrior.load(path), json.loads(note.read_text())
    net, start = partial(UNet, width=args.width, dropout=0.0), time.process_time()
    prior, windows = prepare_trajectories(train, TASKS, wavelet=model, network=net, seed=args.seed)
    module = DiffusionModule(prior, 2e-3, 0.99, seed=args.seed)
    fit(module, TrajectoryDataModule(windows, batch_size=8, seed=args.seed), max_steps=args.steps, out=stem.with_suffix(".fit"), progress=False)
    facts = {"train_cpu_s": round(time.process_time() - start, 1), "parameters": sum(p.numel() for p in prior.parameters())}
    prior.save(path)
    note.write_text(json.dumps(facts))
    return prior, facts


def judged(smoke: Tensor, given: Tensor) -> Tensor:
    """J of controls (B, 2, T, 32, 32) in the tank: the share of the smoke that does not leave through the middle opening at the top, (B,)."""
    tank = WDNOSmoke(intervals=FRAMES - 1, every=8 * EVERY)
    wide = interpolate(given.flatten(0, 1), scale_factor=2, mode="nearest").unflatten(0, given.shape[:2])
    return 1 - tank.driven(smoke, wide)["target"][:, -1, 0, 0]


def leak(z: Tensor, channel: int) -> Tensor:
    """The share of the smoke that a drawn window (B, C, T, y, x) believes not to leave there, (B,)."""
    return 1 - z[:, channel, -1].mean((1, 2))


def main() -> None:
    """Run and append lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="haar,pixels")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=1000.0)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--commit", default="")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    ds = coarse_data(args.data)
    cut = ds.sizes["sample"] - TEST
    train, test = ds.isel(sample=slice(0, cut)), ds.isel(sample=slice(cut, None))
    first = torch.from_numpy(open_dataset(args.data)["smoke"].isel(time=0, sample=slice(cut, None)).values)
    shared: dict[str, float] = {}
    for model in args.models.split(","):
        prior, facts = trained(model, train, args)
        names = {name: k for k, name in enumerate(prior.spec.names)}
        x = to_tensor(test, prior.spec)
        known = torch.full_like(x, torch.nan)
        known[:, names["smoke"], 0] = x[:, names["smoke"], 0]
        cond, target = task_condition(prior.spec, known), names["target"]
        forces = slice(names["control_x"], names["control_y"] + 1)
        row: dict[str, Any] = {"model": model, "train": cut, "test": TEST, "steps": args.steps, "width": args.width, "seed": args.seed, **facts}
        whole = known.clone()
        whole[:, forces] = x[:, forces]
        drawn = prior.sample(TEST, cond=task_condition(prior.spec, whole), rng=Rng(2))
        for name in ("smoke", "velocity_x", "velocity_y", "target"):
            k = names[name]
            row[f"{name}_mse"] = float((drawn[:, k] - x[:, k]).square().mean() / x[:, k].var())
        if not shared:  # neither depends on the model
            shared = {f"{name}_J": float(judged(first, given).mean()) for name, given in (("none", 0 * x[:, forces]), ("own", x[:, forces]))}
        row |= {**shared, "data_J": float(1 - x[:, target, -1].mean()), "strength": args.strength}
        row["unsteered_J"] = float(judged(first, prior.sample(TEST, cond=cond, rng=Rng(4))[:, forces]).mean())
        for spread in ("moments", "unit"):
            begin = time.process_time()
            found = control(prior, partial(leak, channel=target), TEST, cond=cond, strength=args.strength, spread=spread, rng=Rng(3), max_batch=TEST)
            row[f"{spread}_cpu_s_each"] = round((time.process_time() - begin) / TEST, 2)
            row[f"{spread}_belief"] = float(1 - found[:, target, -1].mean())
            row[f"{spread}_J"] = float(judged(first, found[:, forces]).mean())
        row |= {"machine": platform.machine(), "torch": torch.__version__, "commit": args.commit, "load": round(os.getloadavg()[0], 1)}
        line = json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})
        print(line, flush=True)
        with (args.out / "smoke_control.jsonl").open("a") as lines:
            lines.write(line + "\n")


if __name__ == "__main__":
    main()
