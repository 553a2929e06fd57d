"""The learning rate over a run: a short rise, then a cosine down to zero."""

from __future__ import annotations

import math

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

__all__ = ["rise_and_fall", "warm_cosine"]


def warm_cosine(optimizer: torch.optim.Optimizer, steps: float) -> OptimizerLRSchedulerConfig:
    """What `configure_optimizers` returns: warm-up of 5 % (at most 100 steps), then cosine to zero (no decay if the run has no end).

    Args:
        optimizer: The optimiser, with its peak learning rate.
        steps: Steps of the run, ``trainer.estimated_stepping_batches``; infinite if it has no end.
    """
    last = max(2, int(steps)) if math.isfinite(steps) else None
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rise_and_fall(step, last))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rise_and_fall(step: int, last: int | None) -> float:
    """The factor of the learning rate at a step of a run of `last` steps; None: no end, and no decay."""
    warm = 100 if last is None else max(1, min(100, last // 20))
    rise = min(1.0, (step + 1) / warm)
    return rise if last is None else rise * 0.5 * (1 + math.cos(math.pi * min(step, last) / last))
