"""`fit`: sugar over ``lightning.Trainer().fit(module, data)`` with a budget, resumable checkpoints and quiet defaults."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.precision import DoublePrecision
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from physdiff.base.errors import DataError, InputError
from physdiff.training.callbacks.last_checkpoint import LastCheckpoint
from physdiff.training.callbacks.metrics_file import MetricsFile
from physdiff.training.callbacks.progress import StepProgress
from physdiff.training.callbacks.run_report import RunReport
from physdiff.training.callbacks.save_on_signal import SaveOnSignal
from physdiff.training.checkpoint_prior import read_checkpoint
from physdiff.training.failures import in_words
from physdiff.training.ranks import agreed
from physdiff.training.sharded_weights import ShardedWeights, unsharded_copy, whole

__all__ = ["check_trainer_options", "fit", "steps_for"]

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
            of the house (`BestWeights` stops by validation); ``logger="tensorboard"`` also writes what is logged for TensorBoard (an extra).

    Returns:
        The module, trained, in evaluation mode.

    Raises:
        InputError: If a budget makes no sense, or a step does not fit into memory.
        DataError: If the checkpoint cannot be read or is of another model, or something cannot be written.
        Diverged: If the loss or a weight is not finite; the last good checkpoint stays.
        Stopped: If a signal (SIGUSR1, SIGTERM) or a lost process ended the run; the same call goes on.
    """
    if (max_epochs is not None and max_epochs < 1) or (max_steps is not None and max_steps < 1) or save_every < 1:
        raise InputError(f"fit: expected positive max_epochs, max_steps and save_every, got {max_epochs}, {max_steps}, {save_every}")
    own = sorted({"enable_checkpointing", "default_root_dir"} & trainer.keys())
    if own:
        raise InputError(f"fit: it sets {', '.join(own)} itself; for another choice take lightning's Trainer, which fits the module as it is")
    folder = None if out is None else Path(out)
    callbacks: list[pl.Callback] = [StepProgress()] if (sys.stderr.isatty() if progress is None else progress) else []
    callbacks += [*trainer.pop("callbacks", []), RunReport(None if folder is None else folder / "log" / "report.json")]
    trainer["logger"] = _logger(trainer.get("logger", False), folder)
    checkpoint, last = None, None
    if folder is not None:
        last = LastCheckpoint(folder, every=save_every)
        callbacks += [MetricsFile(folder / "log" / "metrics.csv"), last, SaveOnSignal(last)]
        checkpoint = last.path if resume and last.path.is_file() else None
        if checkpoint is not None:
            _check_checkpoint(checkpoint, module)
    if not module.automatic_optimization:
        trainer.setdefault("gradient_clip_val", None)  # Lightning clips for itself alone
    max_epochs = (50 if max_steps is None else -1) if max_epochs is None else max_epochs
    with _quiet(), _modes_kept(), _in_words(None if last is None else last.path):
        runner = _trainer(callbacks, max_epochs=max_epochs, max_steps=-1 if max_steps is None else max_steps, root=folder, **trainer)
        _run(runner, module, data, checkpoint)
    module.eval()
    return module


def _run(runner: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, checkpoint: Path | None) -> None:
    """Train the module, or a copy of it whose weights are shared out."""
    sharded = isinstance(runner.strategy, ShardedWeights)
    trained = unsharded_copy(module) if sharded else module
    _prepare(trained, runner)
    runner.fit(trained, data, ckpt_path=None if checkpoint is None else str(checkpoint), weights_only=None if checkpoint is None else True)
    if sharded:
        module.load_state_dict({name: whole(value) for name, value in trained.state_dict().items()})


def _prepare(module: pl.LightningModule, runner: pl.Trainer) -> None:
    """Training mode, and float64 where it is wanted: Lightning converts after averages were copied and checkpoints loaded, which rounds both."""
    module.train()
    if isinstance(runner.precision_plugin, DoublePrecision):
        module.double()


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
    check_trainer_options(options)
    if options.get("strategy") == "fsdp":  # Lightning's own of that name is the first kind, for GPUs alone
        options["strategy"] = ShardedWeights()
    try:
        return pl.Trainer(max_epochs=max_epochs, max_steps=max_steps, callbacks=callbacks, **{**settings, **options})
    except (ValueError, TypeError, MisconfigurationException) as error:  # what Lightning thinks of values that do not go together
        raise InputError(f"fit: expected options that Lightning's Trainer takes, got {options}: {' '.join(str(error).split())}") from error


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Raise InputError for names that Lightning's Trainer does not know."""
    known = inspect.signature(pl.Trainer.__init__).parameters
    odd = next((name for name in options if name not in known), None)
    if odd is not None:
        near = difflib.get_close_matches(odd, known, n=1)
        raise InputError(f"fit: expected options of lightning's Trainer, got {odd!r}{f'; did you mean {near[0]}?' if near else ''}")


def _logger(asked: Any, folder: Path | None) -> Any:  # noqa: ANN401 - whatever Lightning takes
    """A logger as Lightning takes it, from a name."""
    if asked != "tensorboard":
        if asked is True or isinstance(asked, str):
            raise InputError(f"fit logger: expected false, 'tensorboard' or a logger of Lightning, got {asked!r}; log/metrics.csv is always written")
        return asked
    if folder is None:
        raise InputError("fit logger: expected a folder (out) for TensorBoard's files, got none")
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError('fit logger: expected the package tensorboard, found it not installed; pip install "physdiff[tensorboard]"')
    return TensorBoardLogger(folder / "log", name="tensorboard", version="")


@contextmanager
def _in_words(kept: Path | None) -> Iterator[None]:
    """Say what ended a run from outside, and where it goes on."""
    try:
        yield
    except Exception as error:
        told = in_words(error, kept)
        if told is None:
            raise
        raise told from error


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
            hushed = (".*does not have many workers.*", ".*smaller than the logging interval.*", ".*GPU available but not used.*")
            for message in (*hushed, ".*in eval mode at the.*", ".*isinstance.treespec.*"):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _modes_kept() -> Iterator[None]:
    """What a deterministic trainer switches on in torch is as before afterwards."""
    on, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(on, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark


def _check_checkpoint(path: Path, module: pl.LightningModule) -> None:
    """Raise DataError unless `path` is a whole checkpoint of a model with the same weights."""
    remedy = "remove it, or pass resume=False"
    try:
        found = read_checkpoint(path)["state_dict"]
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
    except KeyError as error:
        raise DataError(f"{path}: expected a checkpoint to go on from, got one without weights; {remedy}") from error
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
    if trainer.get("strategy") == "fsdp":
        raise InputError("fit strategy fsdp: expected a number of steps, got a budget of time or a plan; give max_steps, or plan without fsdp")
    before = {name: value.detach().clone() for name, value in module.state_dict().items()}
    watch = _Clock(clock)
    module.train()
    with _quiet(), _modes_kept(), _in_words(None):
        _trainer([watch], max_epochs=-1, max_steps=_TIMED + 2, limit_val_batches=0, **trainer).fit(module, data)
    module.load_state_dict(before)
    # the first steps pay for memory and thread pools
    each = sorted(b - a for a, b in zip(watch.times[1:], watch.times[2:], strict=False))[_TIMED // 2]
    return agreed((max(floor, math.floor(seconds / each)), each))


class _Clock(pl.Callback):
    """The time after every step."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Note the time."""
        self.times.append(self.clock())
