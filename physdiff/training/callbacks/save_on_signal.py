"""Save and stop when the system asks, and have SLURM begin the job again.

A scheduler warns before it kills: SLURM sends SIGUSR1 some seconds before the time limit if it is asked to (``sbatch --signal=SIGUSR1@120``), and
SIGTERM when a job must make room. The run then ends with the optimiser step under way, saves, and stops with `Stopped`. After SIGUSR1 under SLURM
the first process also puts the job back into the queue (``scontrol requeue``).
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import threading
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from physdiff.base.errors import Stopped
from physdiff.training.callbacks.last_checkpoint import LastCheckpoint

__all__ = ["SaveOnSignal"]

log = logging.getLogger(__name__)


class SaveOnSignal(Checkpoint):
    """Stop at the first optimiser step after a signal; one process told is all told.

    Args:
        last: Saves.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self.last = last
        self._got: int | None = None
        self._step = 0
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen; only a main thread can."""
        self._got, self._step = None, trainer.global_step
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGUSR1, signal.SIGTERM)}

    def _note(self, number: int, _: object) -> None:
        self._got = number

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Save, requeue and stop if a signal has come and a step is done."""
        if trainer.global_step <= self._step:
            return
        self._step = trainer.global_step
        if not trainer.strategy.reduce_boolean_decision(self._got is not None, all=False):
            return
        self.last.save(trainer)
        name = "another process's signal" if self._got is None else signal.Signals(self._got).name
        told = f"training was stopped by {name} after step {self._step}; the same command goes on from {self.last.path}"
        job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ.get("SLURM_JOB_ID", ""))
        if self._got == signal.SIGUSR1 and job and trainer.is_global_zero:
            told += f"; {_requeued(job, os.environ.get('SLURM_ARRAY_TASK_ID'))}"
        raise Stopped(told)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen no more."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Likewise."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def _requeued(job: str, task: str | None) -> str:
    """Put the job back into the queue; what came of it, in words."""
    name = job if task is None else f"{job}_{task}"
    if not re.fullmatch(r"\d+(_\d+)?", name):
        return f"job {name!r} was not put back into the queue: no number"
    try:
        done = subprocess.run(["scontrol", "requeue", name], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {name} could not be put back into the queue ({error})"
    if done.returncode:
        return f"job {name} could not be put back into the queue ({' '.join(done.stderr.split())})"
    return f"job {name} was put back into the queue"
