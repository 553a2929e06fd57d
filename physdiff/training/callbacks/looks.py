"""What the looks of a `PINNModule` found, as a table and a picture that grow while it trains."""

from __future__ import annotations

import contextlib
import csv
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from physdiff.base.errors import Diverged
from physdiff.base.whole_file import whole_file
from physdiff.plots.collocation import looks_plot
from physdiff.plots.style import figure_of
from physdiff.training.callbacks.last_checkpoint import LastCheckpoint

__all__ = ["Looks"]


class Looks(pl.Callback):
    """Write ``looks.csv`` (step, seconds, residual, loss, error, coefficients) and ``look.png`` after every look.

    Where a residual is not finite, the network of the step before is saved as the run's checkpoint: what is wrong at a point can be looked at.

    Args:
        folder: Where to; None: nothing is written.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._written = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Write both anew after a look; a kill leaves the ones before whole."""
        looks: list[dict[str, Any]] = getattr(pl_module, "looks", [])
        if self.folder is None or len(looks) == self._written:
            return
        self._written = len(looks)
        with whole_file(self.folder / "looks.csv") as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(looks[-1]))
            writer.writeheader()
            writer.writerows(looks)
        with whole_file(self.folder / "look.png") as part:
            figure_of(looks_plot(looks)).savefig(part, format="png")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save the weights before a step that ended in numbers that are not finite, if they are themselves."""
        if isinstance(exception, Diverged):
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, LastCheckpoint):
                    with contextlib.suppress(Diverged):  # weights that are not finite: the checkpoint before stays
                        callback.save(trainer)
