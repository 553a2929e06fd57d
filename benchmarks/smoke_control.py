"""Smoke led through a tank by what is done around it: state and control drawn together, steered, and judged by the tank itself.

    physdiff generate --recipe wdno_smoke --samples 1280 --change.intervals 15 --change.every 20 --change.coarse 2 --change.noise 0.02 \
        --change.compiled true --batch_size 32 --out ../smoke/smoke.h5
    python benchmarks/smoke_control.py --data ../smoke/smoke.h5 --models patterns --work ../smoke --out benchmarks/results

The setting of the wavelet diffusion neural operator (`wdno_smoke`) on the tank of 64 x 64 cells, with little noise on the controls, up to time 300 of
a course planned for 256: seven openings, bars inside, velocities set in the frame around the tank, smoke that should leave through the middle opening
at the top. Block means on 32 x 32 cells, 16 frames; the last 100 trajectories are tests, of which ``--cases`` are used. One model for two tasks, what
a control does and which control there is: ``haar`` or any wavelet, and ``pixels``, diffusion by a U-Net on folded points with or without a wavelet;
``patterns``: the haar coefficients drawn along their leading patterns by a fully connected network (`in_patterns`); ``unet``: a deterministic network
on folded points, what a control does alone. The objective J is the share of the smoke that does not leave there. Draws are steered with a
weight against the prior, by the denoiser's own covariance (moments) and by unit spread (the paper's way); ``chosen``: of ``--chosen`` such draws
that whose control, simulated anew by the same model, leaks least. The controls go through the tank's own flow (`WDNOSmoke.driven`), of 64 x 64 cells
and with ``--fine`` of 127 x 127, beside unsteered draws of the prior and the data's own controls. One JSON line per model.
"""

from __future__ import annotations

import argparse
import hashlib
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
from torch import Tensor, nn

from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset, to_tensor
from physdiff.data.open import open_dataset
from physdiff.data.recipes.wdno_smoke import WDNOSmoke, _tank
from physdiff.data.tasks import Task, TaskWindows, task_condition
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.blocks import coarsened, refined
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.control import SteeredDenoiser
from physdiff.networks.unet import UNet
from physdiff.training.build import build_forecaster
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.operator_module import OperatorModule
from physdiff.training.pattern_prior import in_patterns, pattern_noise
from physdiff.training.prior_module import PriorModule
from physdiff.training.trajectories import prepare_trajectories

FRAMES, EVERY, TEST = 16, 20, 100
SIMULATE: Task = {"smoke": (0,), "control_x": "all", "control_y": "all"}
STEER: Task = {"smoke": (0,)}


def coarse_data(path: Path, work: Path) -> xr.Dataset:
    """Block means over 2 x 2 cells, made once."""
    kept = work / f"{path.stem}_32.nc"
    if not kept.exists():
        made, fine = [], open_dataset(path)
        for start in range(0, fine.sizes["sample"], TEST):
            part = fine.isel(sample=slice(start, start + TEST)).load()
            spec = spec_of(part, frames=FRAMES, periodic=(False, False))
            made.append(coarsened(to_tensor(part, spec), 2))
        grid = CartesianGrid((32, 32), 128.0, -0.5, periodic=False, length_unit="1")
        spec = FieldSpec(spec.names, spec.units, grid, spec.dt, frames=FRAMES)
        to_dataset(torch.cat(made), spec, fine["time"].values, batch="sample").to_netcdf(kept)
    return open_dataset(kept).load()


def untrained(model: str, train: xr.Dataset, args: argparse.Namespace) -> tuple[PriorModule, TaskWindows]:
    """What is fitted, and to what."""
    wavelet, net = "haar" if model == "patterns" else "pixels" if model == "unet" else model, partial(UNet, width=args.width, dropout=0.0)
    tasks = [SIMULATE] if model == "unet" else [STEER, SIMULATE]
    prior, windows = prepare_trajectories(train, tasks, wavelet=wavelet, network=net, seed=args.seed)
    if model == "patterns":
        drawn = in_patterns(prior, windows, args.most, seed=args.seed)
        return DiffusionModule(drawn, 3e-3, 0.995, noise=pattern_noise(drawn), seed=args.seed), windows
    if model != "unet":
        return DiffusionModule(prior, 2e-3, 0.99, seed=args.seed), windows

    def still(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], width: int) -> nn.Module:
        return net(i, o, ndim=ndim, periodic=periodic)

    assert prior.cond_spec is not None
    with torch.random.fork_rng():
        torch.manual_seed(args.seed)
        mean = build_forecaster(prior.spec, prior.transform, cond_spec=prior.cond_spec, cond_transform=prior.cond_transform, network=still)
    return OperatorModule(mean, 2e-3, 0.99, seed=args.seed), windows


def trained(model: str, train: xr.Dataset, args: argparse.Namespace) -> tuple[WindowPrior, dict[str, Any]]:
    """A trained prior, kept in `work`."""
    steps = args.pattern_steps if model == "patterns" else args.steps
    stem = args.work / f"smoke_{model}_{train.sizes['sample']}_{steps}_{args.width}_{args.seed}"
    path, note = stem.with_suffix(".prior"), stem.with_suffix(".json")
    if path.exists() and note.exists():
        return WindowPrior.load(path), json.loads(note.read_text())
    start = time.process_time()
    module, windows = untrained(model, train, args)
    facts: dict[str, Any] = {"steps": steps, "prepare_cpu_s": round(time.process_time() - start, 1)}
    data = TrajectoryDataModule(windows, batch_size=256 if model == "patterns" else 8, seed=args.seed)
    fit(module, data, max_steps=steps, max_epochs=100000, progress=False)
    facts |= {"train_cpu_s": round(time.process_time() - start, 1), "parameters": sum(p.numel() for p in module.prior.parameters())}
    module.prior.save(path)
    note.write_text(json.dumps(facts))
    return module.prior, facts


def judged(first: Tensor, given: Tensor, work: Path, *, fine: bool = False) -> Tensor:
    """J of controls (B, 2, T, 32, 32) in the tank, (B,), kept in `work`: the share of the smoke that does not leave through the middle at the top."""
    key = hashlib.sha256(given.contiguous().numpy().tobytes() + bytes([fine])).hexdigest()[:16]
    path = work / f"judged_{key}.pt"
    if not path.exists():
        tank = WDNOSmoke(intervals=FRAMES - 1, every=EVERY, coarse=1 if fine else 2, compiled=True)
        torch.save(1 - tank.driven(first, refined(given, 2))["target"][:, -1, 0, 0], path)
    return torch.load(path)  # type: ignore[no-any-return]


def leak(z: Tensor) -> Tensor:
    """The share of the smoke that a drawn window (B, C, T, y, x) believes not to leave there, (B,); the target is its last channel."""
    return 1 - z[:, -1, -1].mean((1, 2))


def known_of(prior: WindowPrior, x: Tensor, task: Task) -> Tensor:
    """The condition window of a task."""
    known = torch.full_like(x, torch.nan)
    for name, frames in task.items():
        c = prior.spec.channel(name)
        where = slice(None) if isinstance(frames, str) else list(frames)
        known[:, c, where] = x[:, c, where]
    return task_condition(prior.spec, known)


def simulated(prior: WindowPrior, x: Tensor) -> dict[str, float]:
    """Errors over the variance of what a control does: of one draw and of the mean of eight."""
    cond, row = known_of(prior, x, SIMULATE), {}
    draws = torch.stack([prior.sample(len(x), cond=cond, rng=Rng(2).child(member)) for member in range(1 if isinstance(prior, Forecaster) else 8)])
    for kind, found in (("one", draws[0]), ("mean", draws.mean(0))):
        for name in ("smoke", "velocity_x", "velocity_y", "target"):
            k = prior.spec.channel(name)
            row[f"{name}_{kind}"] = float((found[:, k] - x[:, k]).square().mean() / x[:, k].var())
        row[f"leak_correlation_{kind}"] = float(torch.corrcoef(torch.stack([leak(found), leak(x)]))[0, 1])
    return row


def steer(prior: DiffusionPrior, cond: Tensor, spread: str, *, strength: float, rng: Rng) -> Tensor:
    """One draw for each case, as by `control`; decoding is affine, so that the objective of coefficients is one product, and no gain below zero."""
    completed = prior.complete(cond)
    zero = torch.zeros(len(cond), *prior.latent_shape, requires_grad=True)
    start = leak(prior.decode(zero, completed))
    slope = torch.autograd.grad(start.sum(), zero)[0]

    def cost(z: Tensor) -> Tensor:
        return (start.detach() + (slope * z).flatten(1).sum(1)).clamp_min(0)

    parts = {"sampler": prior.sampler, "steps": prior.steps, "cond_transform": prior.cond_transform, "cond_spec": prior.cond_spec}
    denoiser = SteeredDenoiser(prior.denoiser, cost, strength=strength, spread=spread)
    return DiffusionPrior(denoiser, prior.transform, prior.spec, **parts).sample(len(cond), cond=cond, rng=rng)  # type: ignore[arg-type]


def again(prior: DiffusionPrior, x: Tensor) -> Tensor:
    """The leak that the model itself finds for the controls of windows when it simulates them, mean of six draws."""
    cond = known_of(prior, x, SIMULATE)
    return torch.stack([leak(prior.sample(len(x), cond=cond, rng=Rng(9).child(k))) for k in range(6)]).mean(0)


def steered(prior: DiffusionPrior, x: Tensor, first: Tensor, args: argparse.Namespace) -> tuple[dict[str, float], Tensor]:
    """J believed, simulated anew and in the tank of all ways to a control, and the windows of the last way."""
    cond, forces = known_of(prior, x, STEER), slice(prior.spec.channel("control_x"), prior.spec.channel("control_y") + 1)
    row: dict[str, float] = {}

    def kept(way: str, found: Tensor, begin: float) -> Tensor:
        row[f"{way}_cpu_s_each"] = (time.process_time() - begin) / len(x)
        row[f"{way}_belief"], row[f"{way}_again"] = float(leak(found).mean()), float(again(prior, found).mean())
        j = judged(first, found[:, forces], args.work)
        row[f"{way}_J"], row[f"{way}_J_median"] = float(j.mean()), float(j.median())
        if args.fine and way != "unit":
            row[f"{way}_fine_J"] = float(judged(first, found[:, forces], args.work, fine=True).mean())
        return found

    begin = time.process_time()
    made = kept("unsteered", prior.sample(len(x), cond=cond, rng=Rng(4)), begin)
    for spread in ("unit", "moments"):
        begin = time.process_time()
        strength = args.unit_strength if spread == "unit" else args.strength
        made = kept(spread, steer(prior, cond, spread, strength=strength, rng=Rng(3).child(0)), begin)
    begin, least = time.process_time(), again(prior, made)
    for k in range(1, args.chosen):
        other = steer(prior, cond, "moments", strength=args.strength, rng=Rng(3).child(k))
        found = again(prior, other)
        made = torch.where((found < least)[:, None, None, None, None], other, made)
        least = torch.minimum(found, least)
    if args.chosen > 1:
        kept("chosen", made, begin)
    return row, made


def picture(made: Tensor, own: Tensor, first: Tensor, path: Path) -> None:
    """One case in the tank: smoke and flow under the data's own control and under the drawn one, and what the model believed of the latter."""
    import matplotlib.pyplot as plt

    tank = WDNOSmoke(intervals=FRAMES - 1, every=EVERY, coarse=2, compiled=True)
    found = tank.driven(first.expand(2, -1, -1), refined(torch.stack([own, made])[:, 3:5], 2))
    lines = [(found["smoke"][k], found["velocity_x"][k], found["velocity_y"][k], found["target"][k, :, 0, 0]) for k in (0, 1)]
    believed = refined(made[None], 2)[0]
    lines.append((believed[0], believed[1], believed[2], made[5].mean((1, 2))))
    names = ("the data's own control", "the drawn control, in the tank", "the drawn control, as believed")
    frames, (y, x) = (0, 3, 6, 9, 12, 15), torch.meshgrid(torch.arange(2, 64, 5), torch.arange(2, 64, 5), indexing="ij")
    figure, axes = plt.subplots(3, len(frames), figsize=(2.1 * len(frames), 6.9), constrained_layout=True)
    solid = _tank(2).pressure_solver.solid.float()
    for row, (smoke, u, v, out), name in zip(axes, lines, names, strict=True):
        for a, n in zip(row, frames, strict=True):
            a.imshow(smoke[n], origin="lower", cmap="Greys", vmin=0, vmax=1)
            a.imshow(torch.where(solid > 0, 1.0, torch.nan), origin="lower", cmap="copper", vmin=0, vmax=2)
            outside = (y < 8) | (y >= 56) | (x < 8) | (x >= 56)
            for where, colour in ((outside, "tab:red"), (~outside, "tab:blue")):
                a.quiver(x[where], y[where], u[n][y[where], x[where]], v[n][y[where], x[where]], color=colour, scale=25, width=0.006)
            a.set(xticks=[], yticks=[], title=f"t = {n * EVERY}, out: {float(out[n]):.2f}")
        row[0].set_ylabel(name)
    figure.savefig(path, dpi=70)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="patterns")
    parser.add_argument("--train", type=int, default=0, help="trajectories trained on; 0: all")
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--skip", type=int, default=0, help="cases left out before them")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pattern_steps", type=int, default=2500)
    parser.add_argument("--most", type=int, default=400)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=1000.0)
    parser.add_argument("--unit_strength", type=float, default=5000.0)
    parser.add_argument("--chosen", type=int, default=8)
    parser.add_argument("--fine", action="store_true")
    parser.add_argument("--picture", type=Path, help="PNG of the case of middling J")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--commit", default="")
    args = parser.parse_args()
    for folder in (args.work, args.out):
        folder.mkdir(parents=True, exist_ok=True)
    return args


def main() -> None:
    """Run and append lines."""
    args = arguments()
    torch.set_num_threads(1)
    ds = coarse_data(args.data, args.work)
    cut = ds.sizes["sample"] - TEST
    cases = slice(cut + args.skip, cut + args.skip + args.cases)
    train, test = ds.isel(sample=slice(0, args.train or cut)), ds.isel(sample=cases)
    fine = open_dataset(args.data)["smoke"].isel(time=0, sample=cases)
    first = torch.from_numpy(fine.values)
    shared: dict[str, float] = {}
    for model in args.models.split(","):
        prior, facts = trained(model, train, args)
        x = to_tensor(test, prior.spec)
        row: dict[str, Any] = {"model": model, "train": train.sizes["sample"], "cases": len(x), "width": args.width, "seed": args.seed, **facts}
        row["skip"] = args.skip
        row |= simulated(prior, x)
        if isinstance(prior, DiffusionPrior):
            if not shared:  # depends on no model
                forces = x[:, [prior.spec.channel("control_x"), prior.spec.channel("control_y")]]
                shared = {"own_J": float(judged(first, forces, args.work).mean())}
                shared |= {"own_fine_J": float(judged(first, forces, args.work, fine=True).mean())} if args.fine else {}
            found, made = steered(prior, x, first, args)
            row |= {"strength": args.strength, "unit_strength": args.unit_strength, **found, **shared}
            row |= {"data_J": float(leak(x).mean()), "data_best_J": float(leak(x).min())}
            if args.picture:
                case = int(judged(first, made[:, 3:5], args.work).argsort()[len(x) // 2])
                picture(made[case], x[case], first[case], args.picture)
        row |= {"machine": platform.machine(), "torch": torch.__version__, "commit": args.commit, "load": round(os.getloadavg()[0], 1)}
        line = json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})
        print(line, flush=True)
        with (args.out / "smoke_control.jsonl").open("a") as lines:
            lines.write(line + "\n")


if __name__ == "__main__":
    main()
