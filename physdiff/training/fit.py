"""`fit`: sugar over ``lightning.Trainer().fit(module, data)`` with a budget, resumable checkpoints and quiet defaults."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from physdiff.base.errors import DataError, InputError

__all__ = ["fit", "steps_for"]

_TIMED = 5


def fit(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    *,
    max_epochs: int | None = None,
    max_steps: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    save_every: int = 50,
    progress: bool | None = None,
) -> pl.LightningModule:
    """Train a module on data.

    Args:
        module: Any LightningModule of physdiff.
        data: Any data module.
        max_epochs: Passes over the data (default 50 if max_steps is not given).
        max_steps: Optimiser steps; whichever of both comes first.
        out: Folder for checkpoints (``last.ckpt``) and ``metrics.csv``; None: nothing is written.
        resume: Go on from ``out/last.ckpt`` if it is there; exact (same weights as an uninterrupted run on the same machine, float32).
        save_every: Steps between checkpoints.
        progress: Show a progress bar; default: if the output is a terminal.

    Returns:
        The module, trained.

    Raises:
        InputError: If a budget makes no sense.
        DataError: If the checkpoint cannot be read.
    """
    if (max_epochs is not None and max_epochs < 1) or (max_steps is not None and max_steps < 1) or save_every < 1:
        raise InputError(f"fit: expected positive max_epochs, max_steps and save_every, got {max_epochs}, {max_steps}, {save_every}")
    show = sys.stderr.isatty() if progress is None else progress
    folder = None if out is None else Path(out)
    callbacks: list[pl.Callback] = []
    if folder is not None:
        # saved with validation off the path: a checkpoint every so many steps, replaced atomically
        callbacks.append(ModelCheckpoint(folder, filename="last", every_n_train_steps=save_every, save_top_k=1, enable_version_counter=False))
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=max_epochs if max_epochs is not None else (-1 if max_steps is not None else 50),
        max_steps=-1 if max_steps is None else max_steps,
        gradient_clip_val=1.0,
        callbacks=callbacks,
        logger=CSVLogger(folder, name="", version="log") if folder is not None else False,
        enable_checkpointing=folder is not None,
        enable_progress_bar=show,
        enable_model_summary=False,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        default_root_dir=None if folder is None else str(folder),
    )
    last = None if folder is None else folder / "last.ckpt"
    checkpoint = str(last) if resume and last is not None and last.is_file() else None
    with warnings.catch_warnings():
        _hush()
        try:
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=False if checkpoint else None)
        except (EOFError, RuntimeError) as error:
            if checkpoint is None or trainer.global_step > 0:
                raise
            raise DataError(f"{checkpoint}: cannot go on from this checkpoint: {error}; remove it or pass resume=False") from error
    return module


def _hush() -> None:
    """Advice of Lightning that does not apply: data are in memory, batches may be few, and workers are the user's choice."""
    for message in (".*does not have many workers.*", ".*The number of training batches.*", ".*Checkpoint directory.*", ".*exists and is not empty.*", ".*isinstance.treespec.*"):
        warnings.filterwarnings("ignore", message=message)


def steps_for(module: pl.LightningModule, data: pl.LightningDataModule, *, seconds: float, floor: int = 600) -> tuple[int, float]:
    """Number of training steps that fit into a time budget, from a few timed steps on a copy of nothing: weights are left untouched.

    Args:
        module: The module to be trained; gradients are computed and thrown away.
        data: Its data.
        seconds: Budget of wall-clock time.
        floor: Least number of steps, whatever they cost.

    Returns:
        Steps, and seconds per step.

    Raises:
        InputError: If the budget is not positive.
    """
    if not seconds > 0 or floor < 1:
        raise InputError(f"steps_for: expected seconds > 0 and floor >= 1, got {seconds} and {floor}")
    module.train()
    batches = iter(data.train_dataloader())
    times = []
    for k in range(_TIMED + 1):
        batch = next(batches, None)
        if batch is None:
            batches = iter(data.train_dataloader())
            batch = next(batches)
        start = time.perf_counter()
        loss = module._loss(batch, module.rng.child("timing", k), train=True).mean()
        loss.backward()
        times.append(time.perf_counter() - start)
    for parameter in module.parameters():
        parameter.grad = None
    # the first step pays for memory and thread pools; the optimiser and the average cost about 8 % on top
    per_step = 1.08 * sorted(times[1:])[_TIMED // 2]
    return max(floor, math.floor(seconds / per_step)), per_step


def _threads() -> int:
    return torch.get_num_threads()
