"""A run of training that a test starts: alone, or as one of several processes; ``python -m tests.training.ddp_run FOLDER DEVICES STEPS DTYPE``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from physdiff.base.errors import PhysdiffError
from physdiff.networks.unet import UNet
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.ranks import is_first_process
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import calendar


def network(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], width: int = 4) -> torch.nn.Module:
    """Without dropout, whose draws follow the shape of what a process sees."""
    return UNet(i, o, ndim=ndim, periodic=periodic, width=4, multipliers=(1, 2), dropout=0.0)


class Curve(pl.Callback):
    """The mean loss of every step over all processes, and which windows each process saw."""

    def __init__(self, folder: Path, kill: int | None) -> None:
        self.folder, self.kill = folder, kill
        self.losses: list[float] = []
        self.seen: list[list[int]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")))
        self.seen.append(sorted(int(i) for i in batch["index"]))
        if self.kill == trainer.global_step and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = {"losses": self.losses, "seen": self.seen, "world": trainer.world_size}
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


def main(folder: str, devices: str, steps: str, dtype: str, kill: str = "0", strategy: str = "ddp") -> int:
    """Train, and leave losses, windows and weights in the folder."""
    torch.set_num_threads(1)
    prior, data = prepare(calendar(45), Recipe(history=2, horizon=2, guess="increment"), network=network, batch_size=8, seed=3)
    module = DiffusionModule(prior, 1e-3, 0.9, input_noise=0.1, seed=5)
    data = TrajectoryDataModule(data.train_windows, data.train_windows, batch_size=8, seed=3)
    place = Path(folder)
    options: dict[str, Any] = {"strategy": strategy, "devices": int(devices)} if int(devices) > 1 else {}
    if dtype == "64":
        options["precision"] = "64-true"
    try:
        curve = Curve(place, int(kill) or None)
        fit(module, data, max_steps=int(steps), out=place, save_every=5, accelerator="cpu", callbacks=[curve], check_val_every_n_epoch=3, **options)
    except PhysdiffError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 75
    if is_first_process():
        torch.save(module.state_dict(), place / "final.pt")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
