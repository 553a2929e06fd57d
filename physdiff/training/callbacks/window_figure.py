"""Pictures of draws beside their truth while a prior is trained: what a loss does not show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import Dataset, default_collate

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.whole_file import whole_file
from physdiff.data.convert import to_dataset
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.field_spec import FieldSpec
from physdiff.plots.maps import ensemble_maps
from physdiff.plots.style import figure_of
from physdiff.training.sharded_weights import sharded_mesh

__all__ = ["WindowFigure"]

_MEMBERS = 8
_SHOWN = 3  # frames


class WindowFigure(pl.Callback):
    """Draw members for one window and write ``<field>_<step>.png``: truth, mean, two members, standard deviation; frames below one another.

    Draws come from the weights themselves (an average is put in place at the end). They have randomness of their own: training is not touched.

    Args:
        windows: Windows of which one is drawn for; validation windows if there are any.
        folder: Where to.
        every: Steps between pictures.
        index: Which window.

    Raises:
        InputError: If every is not positive or there is no such window.
    """

    def __init__(self, windows: Dataset, folder: str | os.PathLike[str], *, every: int, index: int = 0) -> None:
        if every < 1 or not 0 <= index < len(windows):  # type: ignore[arg-type]
            raise InputError(f"WindowFigure: expected every >= 1 and a window below {len(windows)}, got {every} and {index}")  # type: ignore[arg-type]
        self.windows, self.folder, self.every, self.index = windows, Path(folder), every, index
        self._drawn = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Know where a resumed run stands."""
        if sharded_mesh(pl_module) is not None:
            raise InputError("WindowFigure: expected whole weights in the process that draws, got weights shared out (fsdp); leave figures out")
        self._drawn = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Draw if the step is due."""
        if trainer.global_step > self._drawn and trainer.global_step % self.every == 0 and trainer.is_global_zero:
            self._drawn = trainer.global_step
            self.draw(pl_module.prior, trainer.global_step)  # type: ignore[arg-type]

    def draw(self, prior: WindowPrior, step: int) -> None:
        """Write the pictures of a prior as it is."""
        item = default_collate([self.windows[self.index]])
        device = next(iter(prior.parameters())).device
        cond = item["cond"].to(device) if "cond" in item else None
        training = prior.training
        try:
            prior.eval()
            members = prior.sample(_MEMBERS, cond=cond, rng=Rng(0).child("figure")).cpu()
        finally:
            prior.train(training)
        spec = prior.spec
        known = 0 if prior.cond_spec is None else prior.cond_spec.history
        kept = slice(known, None)
        frames = spec.frames - known
        shown: FieldSpec = spec.with_frames(frames)
        drawn = to_dataset(members[:, :, kept], shown)
        truth = to_dataset(item["x"][0][:, kept], shown)
        for name in spec.names:
            rows = torch.linspace(0, frames - 1, min(_SHOWN, frames)).round().long().tolist() if spec.grid.ndim > 1 else list(range(frames))
            axes = ensemble_maps(drawn[name].isel(time=rows), truth[name].isel(time=rows))
            with whole_file(self.folder / f"{name}_{step:07d}.png") as fresh:
                figure_of(axes).savefig(fresh, format="png")
