"""One checkpoint, ``last.ckpt``, that a kill at any moment leaves whole.

It is written under another name in the same folder and renamed, which is atomic. Lightning's own writer goes through the system's folder
for temporary files; moved from there to another disk a file is copied, and a kill leaves half of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from physdiff.base.errors import Diverged, InputError
from physdiff.base.whole_file import whole_file
from physdiff.training.sharded_weights import whole

__all__ = ["AtomicCheckpointIO", "LastCheckpoint"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target and renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None) -> None:  # noqa: ANN401
        """Write `checkpoint` to the local file `path`; replaced only when the new one is complete.

        Raises:
            InputError: If options of remote storage are given.
            DataError: If it cannot be written; the old one stays.
        """
        if storage_options is not None:
            raise InputError(f"AtomicCheckpointIO: expected no storage options for local files, got {storage_options!r}; leave them out")
        with whole_file(path) as temporary:
            torch.save(checkpoint, temporary)


class LastCheckpoint(Checkpoint):
    """Save after every so many optimiser steps and at the end of training.

    Lightning runs callbacks of this kind after all others, so that averages have moved and learning rates have been set when it saves.

    Args:
        folder: Where ``last.ckpt`` goes; made if need be. Leftovers of a killed run are removed at the start.
        every: Steps between checkpoints.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: int = 50) -> None:
        if every < 1:
            raise InputError(f"LastCheckpoint: expected every >= 1, got {every}")
        self.path, self.every = Path(folder) / "last.ckpt", every
        self._saved = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the folder, remove leftovers, and have the trainer write atomically."""
        if stage != "fit":
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.parent.glob(f".{self.path.name}.*.part"):
            leftover.unlink(missing_ok=True)
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Know where a resumed run stands."""
        self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Save if the step is due."""
        if trainer.global_step > self._saved and trainer.global_step % self.every == 0:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end."""
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Save now, unless the last step is saved already; every process of a run must call it.

        Raises:
            Diverged: If a weight is not finite; the checkpoint before stays.
            DataError: If the file cannot be written; the checkpoint before stays.
        """
        if trainer.global_step <= self._saved:
            return
        bad = next((n for n, p in trainer.lightning_module.named_parameters() if not bool(whole(p.detach()).isfinite().all())), None)
        if bad is not None:
            raise Diverged(f"weight {bad}", trainer.global_step, "lower the learning rate, or take full precision")
        trainer.save_checkpoint(self.path)
        self._saved = trainer.global_step
