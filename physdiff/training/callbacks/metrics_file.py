"""The loss as a table, ``metrics.csv``, which a resumed run goes on with."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.base.whole_file import whole_file

__all__ = ["MetricsFile"]

_COLUMNS = ("step", "epoch", "lr", "loss", "val_loss")


class MetricsFile(pl.Callback):
    """Write step, epoch, learning rate, mean loss since the last row, and the loss on validation windows where there was one.

    Args:
        path: The file; its folder is made if need be.
        every: Optimiser steps between rows.
    """

    def __init__(self, path: str | os.PathLike[str], *, every: int = 10) -> None:
        if every < 1:
            raise InputError(f"MetricsFile: expected every >= 1, got {every}")
        self.path, self.every = Path(path), every
        self._losses: list[Tensor] = []
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the rows up to the step from which training goes on; a kill may have left later ones, or half a row."""
        self._losses, self._step = [], trainer.global_step
        if not trainer.is_global_zero:
            return
        rows = [r for r in self._rows() if int(r[0]) <= self._step]
        with whole_file(self.path) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file).writerows([_COLUMNS, *rows])

    def _rows(self) -> list[list[str]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            return [row for row in csv.reader(file) if len(row) == len(_COLUMNS) and row[0].isdigit()]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Add a row if it is due."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None:
            self._losses.append(loss.detach())
        if trainer.global_step > self._step and trainer.global_step % self.every == 0:
            self._write(trainer, "")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row with the loss on validation windows."""
        value = trainer.callback_metrics.get("val_loss")
        if value is not None and trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._write(trainer, f"{float(value):.6g}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add what is left."""
        if trainer.global_step > self._step:
            self._write(trainer, "")

    def _write(self, trainer: pl.Trainer, val_loss: str) -> None:
        self._step = trainer.global_step
        mean = ""
        if self._losses:  # of all processes, each of which has had its share of the windows
            mean = f"{float(trainer.strategy.reduce(torch.stack(self._losses).float().mean(), reduce_op='mean')):.6g}"
        self._losses = []
        if not trainer.is_global_zero:
            return
        lr = trainer.optimizers[0].param_groups[0].get("lr", 0.0) if trainer.optimizers else 0.0
        try:
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow([self._step, trainer.current_epoch, f"{lr:.6g}", mean, val_loss])
        except OSError as error:
            raise DataError(f"{self.path}: expected to add a row, got {error.strerror}; check the folder and the space left") from error
