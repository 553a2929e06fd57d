"""One progress bar over all steps of a run, after an estimate of its cost."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from tqdm import tqdm

__all__ = ["StepProgress"]

_TIMED = 5


class StepProgress(pl.Callback):
    """Show the steps done, the time left and the loss on the standard error; after a few timed steps one line says what the run will cost."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._times: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar where the run stands."""
        if not trainer.is_global_zero:
            return
        total = trainer.estimated_stepping_batches
        steps = int(total) if total != float("inf") else None
        self._bar = tqdm(total=steps, initial=trainer.global_step, desc="training", unit="step", dynamic_ncols=True)
        self._times = [time.perf_counter()]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Move the bar by an optimiser step."""
        bar = self._bar
        if bar is None or trainer.global_step <= bar.n:
            return
        if len(self._times) <= _TIMED + 1:
            self._times.append(time.perf_counter())
            if len(self._times) == _TIMED + 2 and bar.total is not None:
                # the first step pays for memory and thread pools
                each = sorted(b - a for a, b in zip(self._times[1:], self._times[2:], strict=False))[_TIMED // 2]
                left = bar.total - trainer.global_step
                bar.write(f"training {left} steps of about {each:.3g} s: {_readable(left * each)}", file=bar.fp)
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None:
            looked = {k: f"{float(v):.3g}" for k, v in trainer.callback_metrics.items() if k in ("residual", "error")}
            bar.set_postfix(loss=f"{float(loss):.4g}", **looked, refresh=False)
        bar.update(trainer.global_step - bar.n)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar before the traceback."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _readable(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
