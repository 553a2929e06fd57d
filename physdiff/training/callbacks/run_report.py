"""What a run took: steps and windows per second, time spent waiting for data, memory at its highest."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from physdiff.base.whole_file import whole_file

__all__ = ["RunReport", "peak_memory"]

log = logging.getLogger(__name__)


def peak_memory() -> dict[str, float]:
    """Most memory held so far in MiB: ``process`` (of this one, resident), and ``accelerator`` (by tensors) where one is used."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    found = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        found["accelerator"] = torch.cuda.max_memory_allocated() / 2**20
    return found


class RunReport(pl.Callback):
    """Write ``report.json`` and log one line at the end; of a resumed run the part since it was resumed. With several processes: the first one's.

    Args:
        path: The file; None: it is only logged.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._first, self._windows, self._waited = 0, 0, 0.0
        self._began = self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._first, self._windows, self._waited = trainer.global_step, 0, 0.0
        self._began = self._since = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """What has passed since the last step was spent on loading, validating and saving."""
        self._waited += time.perf_counter() - self._since
        if isinstance(batch, dict) and "index" in batch:
            self._windows += len(batch["index"]) * trainer.world_size

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Note the time."""
        self._since = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, if a step was done."""
        steps, seconds = trainer.global_step - self._first, time.perf_counter() - self._began
        if steps < 1 or not trainer.is_global_zero:
            return
        memory = peak_memory()
        found = {
            "steps": steps,
            "seconds": seconds,
            "steps_per_second": steps / seconds,
            "windows_per_second": self._windows / seconds if self._windows else None,
            "share_between_steps": self._waited / seconds,
            "peak_memory_mib": memory,
            "processes": trainer.world_size,
        }
        if self.path is not None:
            with whole_file(self.path) as fresh:
                fresh.write_text(json.dumps(found, indent=1), encoding="utf-8")
        windows = f", {self._windows / seconds:.3g} windows/s" if self._windows else ""
        held = " and ".join(f"{size:.0f} MiB ({what})" for what, size in memory.items())
        log.info(
            "trained  %d steps in %.1f s: %.3g steps/s%s, %.0f %% of the time between steps (loading, checkpoints); at most %s",
            *(steps, seconds, steps / seconds, windows, 100 * self._waited / seconds, held),
        )
