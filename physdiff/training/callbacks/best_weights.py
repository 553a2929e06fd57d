"""Stop when the loss on validation windows falls no more, and keep the weights it was least with.

Small data sets are overfitted within minutes; what counts is the loss on windows that no training window overlaps.
"""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from physdiff.base.errors import InputError

__all__ = ["BestWeights"]


class BestWeights(pl.Callback):
    """Early stopping that gives the best weights back (the averaged ones, where the module has an average).

    Pass it to `fit` as ``callbacks=[BestWeights()]``, with a data module that has validation windows; Lightning's
    ``check_val_every_n_epoch`` says how often they are looked at. A resumed run goes on as if it had not been interrupted.

    Args:
        patience: Number of validations without a smaller loss after which training stops.
        monitor: What is looked at.

    Raises:
        InputError: If patience is no positive number, or nothing of that name was measured.
    """

    def __init__(self, patience: int = 5, monitor: str = "val_loss") -> None:
        if patience < 1:
            raise InputError(f"BestWeights: expected patience >= 1, got {patience}")
        self.patience, self.monitor = patience, monitor
        self.best, self.step, self.stale = math.inf, 0, 0
        self._weights: dict[str, Tensor] = {}
        self._seen: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best, "step": self.step, "stale": self.stale, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self.best, self.step, self.stale, self._weights = (state_dict[k] for k in ("best", "step", "stale", "weights"))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the weights that were validated, while an average still stands in their place."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._seen = {name: value.detach().clone() for name, value in pl_module.named_parameters()}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare, and stop if the patience is at its end."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            have = ", ".join(trainer.callback_metrics) or "nothing"
            raise InputError(f"BestWeights: expected {self.monitor!r} among what is measured, got {have}; give the data module validation data")
        if float(value) < self.best:
            self.best, self.step, self.stale, self._weights = float(value), trainer.global_step, 0, self._seen
        else:
            self.stale += 1
            trainer.should_stop = trainer.should_stop or self.stale >= self.patience
        self._seen = {}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put the best weights in place, after an average has been; a run that was never validated keeps its own."""
        if stage == "fit":
            own = dict(pl_module.named_parameters())
            for name, value in self._weights.items():
                own[name].data.copy_(value)
