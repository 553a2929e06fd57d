"""The smallest training problem: one weight, one number, a step of known size."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from physdiff.training.datamodule import KeyedLoader


class Quadratic(pl.LightningModule):
    """Loss (w - 1)^2 / 2 from w = 0 with gradient descent: w_n = 1 - (1 - lr)^n."""

    def __init__(self, lr: float = 0.25) -> None:
        super().__init__()
        self.w, self.frozen = torch.nn.Parameter(torch.zeros(())), torch.nn.Parameter(torch.tensor(7.0), requires_grad=False)
        self.register_buffer("table", torch.zeros(3), persistent=False)
        self.lr, self.seen = lr, []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return 0.5 * (self.w - 1) ** 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.w], lr=self.lr)


class Validated(Quadratic):
    """The same, validated."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(self.w.item())
        self.log("val_loss", 0.5 * (self.w - 1) ** 2)


def loader(batches: int = 4) -> DataLoader:
    return KeyedLoader(TensorDataset(torch.zeros(batches)))


def trainer(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    saves = any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks)
    return pl.Trainer(accelerator="cpu", callbacks=list(callbacks), enable_checkpointing=saves, **{**quiet, **options})
