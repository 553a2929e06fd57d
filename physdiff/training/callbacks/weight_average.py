r"""Exponential moving average of the weights.

After step n every weight w of the average $\bar w$ takes

$$ \bar w \leftarrow \bar w + (1 - d_n)(w - \bar w), \qquad d_n = \min\Big(d, \frac{1 + n}{10 + n}\Big), $$

so that the random start is forgotten soon. Validation and the end of training see the average; a checkpoint holds both.
Reference: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992; Karras et al., Analyzing and improving the training
dynamics of diffusion models, 2024 (why it matters here).
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.training.sharded_weights import own_part, put_whole, shard, sharded_mesh, whole

__all__ = ["WeightAverage"]


class WeightAverage(WeightAveraging):
    """Lightning's weight averaging with a decay that grows, all weights in one pass, on the device of the module.

    Args:
        decay: Largest decay d, in (0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise InputError(f"WeightAverage: expected a decay in (0, 1), got {decay}")
        super().__init__(use_buffers=False)
        self.decay = decay
        self._pairs: tuple[list[Tensor], list[Tensor]] = ([], [])

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the average where the module has been moved to since it was copied, and pair their weights."""
        assert self._average_model is not None
        self._average_model.to(pl_module.device)
        mesh = sharded_mesh(pl_module)
        if mesh is not None and sharded_mesh(self._average_model) is None:
            shard(self._average_model.module, mesh)
        pairs = [(a, p) for a, p in zip(self._average_model.module.parameters(), pl_module.parameters(), strict=True) if p.requires_grad]
        self._pairs = ([a for a, _ in pairs], [p for _, p in pairs])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Move the average after an optimiser step; buffers are constants here, and copying them at every step would cost more than the rest."""
        average = self._average_model
        if average is None or trainer.global_step <= self._latest_update_step:
            return
        count = int(average.n_averaged)
        decay = min(self.decay, (1 + count) / (10 + count)) if count else 0.0
        _move([own_part(a) for a in self._pairs[0]], [own_part(p) for p in self._pairs[1]], 1 - decay)
        average.n_averaged += 1
        self._latest_update_step = trainer.global_step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing: the average moves with the steps."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing yet: checkpoints written at the end must still find the weights themselves."""

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Both sets of weights, whole where they are shared out over processes."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint["state_dict"] = {name: whole(value) for name, value in checkpoint["state_dict"].items()}

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Both sets of weights."""
        if self._average_model is None or sharded_mesh(pl_module) is None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            return
        put_whole(self._average_model.module, checkpoint["state_dict"])
        self._average_model.n_averaged.copy_(checkpoint["averaging_state"]["n_averaged"])
        put_whole(pl_module, checkpoint["current_model_state"])

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place; this is also called when a finished run is resumed, where `on_train_end` is not."""
        if self._average_model is not None:
            self._copy_average_to_current(pl_module)


@torch.no_grad()
def _move(averages: list[Tensor], weights: list[Tensor], share: float) -> None:
    if share == 1.0:
        torch._foreach_copy_(averages, weights)
    elif any(a.dtype != w.dtype for a, w in zip(averages, weights, strict=True)):  # weights in bf16: the average keeps its own digits
        torch._foreach_lerp_(averages, [w.to(a.dtype) for a, w in zip(averages, weights, strict=True)], share)
    else:
        torch._foreach_lerp_(averages, weights, share)
