"""`fit`: sugar over ``lightning.Trainer().fit(module, data)`` with a budget, resumable checkpoints and quiet defaults."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from physdiff.base.errors import DataError, InputError
from physdiff.training.callbacks.last_checkpoint import LastCheckpoint
from physdiff.training.callbacks.metrics_file import MetricsFile
from physdiff.training.callbacks.progress import StepProgress

__all__ = ["fit", "steps_for"]

_TIMED = 5
_LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric")


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
    **trainer: Any,  # noqa: ANN401 - Lightning's
) -> pl.LightningModule:
    """Train a module on data.

    Args:
        module: Any LightningModule of physdiff.
        data: Any data module.
        max_epochs: Passes over the data (default 50 if max_steps is not given).
        max_steps: Optimiser steps; whichever of both comes first.
        out: Folder for the checkpoint (``last.ckpt``) and the losses (``log/metrics.csv``); None: nothing is written.
        resume: Go on from ``out/last.ckpt`` if it is there; exact (same weights as an uninterrupted run on the same machine, float32).
        save_every: Steps between checkpoints.
        progress: Show a progress bar; default: if the standard error is a terminal.
        **trainer: More options of Lightning's Trainer, as ``precision="bf16-mixed"`` or ``devices=2, strategy="ddp"``; `callbacks` join those
            of the house (`BestWeights` stops by validation).

    Returns:
        The module, trained, in evaluation mode.

    Raises:
        InputError: If a budget makes no sense.
        DataError: If the checkpoint cannot be read or is of another model.
    """
    if (max_epochs is not None and max_epochs < 1) or (max_steps is not None and max_steps < 1) or save_every < 1:
        raise InputError(f"fit: expected positive max_epochs, max_steps and save_every, got {max_epochs}, {max_steps}, {save_every}")
    own = sorted({"logger", "enable_checkpointing", "default_root_dir"} & trainer.keys())
    if own:
        raise InputError(f"fit: it sets {', '.join(own)} itself; for another choice take lightning's Trainer, which fits the module as it is")
    folder = None if out is None else Path(out)
    callbacks: list[pl.Callback] = [StepProgress()] if (sys.stderr.isatty() if progress is None else progress) else []
    callbacks += trainer.pop("callbacks", [])
    checkpoint = None
    if folder is not None:
        last = LastCheckpoint(folder, every=save_every)
        callbacks += [MetricsFile(folder / "log" / "metrics.csv"), last]
        checkpoint = last.path if resume and last.path.is_file() else None
        if checkpoint is not None:
            _check_checkpoint(checkpoint, module)
    if not module.automatic_optimization:
        trainer.setdefault("gradient_clip_val", None)  # Lightning clips for itself alone
    if max_epochs is None:
        max_epochs = 50 if max_steps is None else -1
    module.train()
    with _quiet():
        runner = _trainer(callbacks, max_epochs=max_epochs, max_steps=-1 if max_steps is None else max_steps, root=folder, **trainer)
        runner.fit(module, data, ckpt_path=None if checkpoint is None else str(checkpoint), weights_only=None if checkpoint is None else True)
    module.eval()
    return module


def _trainer(callbacks: list[pl.Callback], *, max_epochs: int, max_steps: int, root: Path | None = None, **options: Any) -> pl.Trainer:  # noqa: ANN401
    settings: dict[str, Any] = {
        "accelerator": "auto",
        "devices": 1,
        "gradient_clip_val": 1.0,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, LastCheckpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,  # the loaders of the house share batches among the processes themselves
        "default_root_dir": None if root is None else str(root),
    }
    return pl.Trainer(max_epochs=max_epochs, max_steps=max_steps, callbacks=callbacks, **{**settings, **options})


@contextmanager
def _quiet() -> Iterator[None]:
    """Hush what Lightning says about itself and advice that does not apply; all as before afterwards."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logging.WARNING, logger.level))
    try:
        with warnings.catch_warnings():
            # data are in memory, and the number of workers is the user's choice; what is frozen is meant to be; the last is Lightning's own business
            for message in (".*does not have many workers.*", ".*GPU available but not used.*", ".*in eval mode at the.*", ".*isinstance.treespec.*"):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_checkpoint(path: Path, module: pl.LightningModule) -> None:
    """Raise DataError unless `path` is a whole checkpoint of a model with the same weights."""
    remedy = "remove it, or pass resume=False"
    try:
        # onto the CPU, wherever it was written
        found = torch.load(path, map_location=lambda storage, _: storage, weights_only=True)["state_dict"]
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything
        raise DataError(f"{path}: expected a checkpoint to go on from, cannot read it ({type(error).__name__}: {error}); {remedy}") from error
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
    if wrong:
        there, here = shapes.get(wrong[0], "missing"), expected.get(wrong[0], "missing")
        raise DataError(f"{path}: expected a checkpoint of this model, but {wrong[0]} is {there} there and {here} here; {remedy}")


def steps_for(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    *,
    seconds: float,
    floor: int = 600,
    clock: Callable[[], float] = time.perf_counter,
    **trainer: Any,  # noqa: ANN401 - Lightning's
) -> tuple[int, float]:
    """Number of training steps that fit into a time budget, from a few timed steps whose effect is taken back.

    Args:
        module: The module to be trained.
        data: Its data.
        seconds: Budget of time.
        floor: Least number of steps, whatever they cost.
        clock: What time is: of the wall, or ``time.process_time``, which a busy machine does not stretch.
        **trainer: As in `fit`.

    Returns:
        Steps, and seconds per step.

    Raises:
        InputError: If the budget is not positive.
    """
    if not seconds > 0 or floor < 1:
        raise InputError(f"steps_for: expected seconds > 0 and floor >= 1, got {seconds} and {floor}")
    before = {name: value.detach().clone() for name, value in module.state_dict().items()}
    watch = _Clock(clock)
    module.train()
    with _quiet():
        _trainer([watch], max_epochs=-1, max_steps=_TIMED + 2, limit_val_batches=0, **trainer).fit(module, data)
    module.load_state_dict(before)
    # the first steps pay for memory and thread pools
    each = sorted(b - a for a, b in zip(watch.times[1:], watch.times[2:], strict=False))[_TIMED // 2]
    return max(floor, math.floor(seconds / each)), each


class _Clock(pl.Callback):
    """The time after every step."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Note the time."""
        self.times.append(self.clock())
