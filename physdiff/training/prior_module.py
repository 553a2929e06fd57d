"""What training a prior of any kind shares: optimiser, average, clipping, keyed randomness, encoding, validation.

All randomness is keyed by (seed, step, window index), so that a run that was killed and resumed gives the weights of an uninterrupted one. A final
class says what the loss of a window is.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any, Self

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import Dataset

from physdiff.base.errors import Diverged, InputError, SavedError
from physdiff.base.rng import Rng
from physdiff.base.saved import describe
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.training.callbacks.weight_average import WeightAverage
from physdiff.training.encoded import EncodedWindows, encode_batch
from physdiff.training.sharded_weights import ShardedWeights
from physdiff.training.views import Views
from physdiff.training.warm_cosine import warm_cosine
from physdiff.transforms.anomaly import Anomaly

__all__ = ["PriorModule", "shifted"]

_CLIP = 1.0  # largest norm of the gradient, if the trainer names none


class PriorModule(pl.LightningModule, ABC):
    """A LightningModule that fits `prior.model`; abstract. A final class calls `_begin` in its constructor and gives `_loss`."""

    prior: WindowPrior
    views = Views()
    whole = True  # False: of a part of a prior, whose checkpoints are no priors of their own

    def _begin(
        self, prior: WindowPrior, *, lr: float, ema: float, weight_decay: float, input_noise: float, roll: tuple[str, ...], seed: int
    ) -> None:
        """Check and keep what all kinds have.

        Raises:
            InputError: If a number makes no sense, or windows cannot be shifted along `roll`.
        """
        what = type(self).__name__
        if lr <= 0 or not 0 <= ema < 1 or input_noise < 0:
            raise InputError(f"{what}: expected lr > 0, 0 <= ema < 1, input_noise >= 0, got {lr}, {ema}, {input_noise}")
        self.prior, self.lr, self.ema = prior, lr, ema
        self.weight_decay, self.input_noise = weight_decay, input_noise
        self.rng = Rng(seed)
        self.card: dict[str, Any] = {}
        self._described: dict[str, Any] | None = None
        self._frozen: list[nn.Parameter] = []
        dims, periodic = prior.spec.grid.dims, prior.spec.grid.periodic
        closed = tuple(name for name, is_circle in zip(dims, periodic, strict=True) if is_circle)
        if not set(roll) <= set(closed):
            there = f"some of {', '.join(closed)}" if closed else "none"
            todo = "leave it out, or say that an axis closes (physdiff convert --periodic x)"
            raise InputError(f"{what} roll: expected axes that close, {there} of the data, got {', '.join(roll)}; {todo}")
        self.roll = roll

    def with_views(self, views: Views) -> Self:
        """Train on random crops or coarser resolutions of the windows; the module itself.

        Raises:
            InputError: If the prior cannot be trained on them.
        """
        views.check(self.prior)
        self.views = views
        return self

    @abstractmethod
    def _loss(self, batch: dict[str, Tensor], rng: Rng, *, train: bool, step: int = 0) -> Tensor:
        """Loss of each window of a batch, (B,)."""

    def setup(self, stage: str) -> None:
        """Leave what is not trained (an autoencoder of the transform) out of the gradients: processes would wait for them."""
        own = {id(p) for p in self.prior.model.parameters()}
        self._frozen = [p for p in self.prior.parameters() if p.requires_grad and id(p) not in own] if stage == "fit" else []
        for p in self._frozen:
            p.requires_grad_(False)
        if isinstance(self.trainer.strategy, ShardedWeights):
            self._description()  # before classes are those of shared-out weights

    def teardown(self, stage: str) -> None:
        """As before."""
        for p in self._frozen:
            p.requires_grad_(True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint a prior of its own (`prior_from_checkpoint`): what the prior is built from, and `card`, how it came about."""
        checkpoint["physdiff"] = {**self._description(), "card": json.dumps(self.card)}

    def _description(self) -> dict[str, Any]:
        if self._described is None:
            tensors: dict[str, Tensor] = {}
            try:
                self._described = {"description": json.dumps(describe(self.prior, tensors)) if self.whole else "", "tensors": tensors}
            except SavedError:  # a part of the user's own that cannot be described
                self._described = {"description": "", "tensors": {}}
        return self._described

    def configure_callbacks(self) -> list[pl.Callback]:
        """The weight average."""
        return [WeightAverage(self.ema)] if self.ema else []

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with warm-up and cosine decay over the steps of the run (no decay if the run has no end)."""
        optimizer = torch.optim.AdamW(self.prior.model.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=self._fused())
        return warm_cosine(optimizer, self.trainer.estimated_stepping_batches)

    def _fused(self) -> bool:
        """Whether the optimiser runs as one kernel: four times faster; with a gradient scaler (16-mixed) it could not be clipped."""
        return getattr(self.trainer.precision_plugin, "scaler", None) is None

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of the gradient, at 1 unless the trainer names another bound (0: not at all)."""
        bound = _CLIP if gradient_clip_val is None else gradient_clip_val
        if gradient_clip_algorithm not in (None, "norm") or not self._fused():
            self.clip_gradients(optimizer, gradient_clip_val=bound, gradient_clip_algorithm=gradient_clip_algorithm)
        elif bound > 0:
            torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], bound)

    def on_fit_start(self) -> None:
        """Switch dropout on, also for a prior that was loaded or sampled from."""
        self.train()

    def on_fit_end(self) -> None:
        """Leave a prior that is ready to be sampled from."""
        self.eval()

    def encoded(self, windows: Dataset) -> Dataset:
        """The windows as coefficients, kept in memory: what is the same in every epoch is computed once.

        Unchanged if they are coefficients already, too many, or if they are shifted at random before they are encoded.
        """
        if self.roll or "z" in windows[0] or not EncodedWindows.fits(windows, self.prior):
            return windows
        return EncodedWindows(windows, self.prior)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        step, first = int(self.global_step), int(batch["index"][0])
        # dropout draws from torch's generators: keyed too, and the caller's are left alone
        devices = [] if self.device.index is None else [self.device.index]
        with torch.random.fork_rng(devices=devices, device_type=self.device.type):
            torch.manual_seed(int(self.rng.child("dropout", step, first).integers(0, 2**62)))
            loss = self._loss(batch, self.rng.child("train", step), train=True, step=step).mean()
        if not bool(loss.isfinite()):
            raise Diverged("training loss", step, "lower the learning rate or look at the data of this batch; the last checkpoint is kept")
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss with the same noise at every validation."""
        loss = self._loss(batch, self.rng.child("validate", batch_idx), train=False).mean()
        self.log("val_loss", loss, prog_bar=True, batch_size=len(batch["index"]), sync_dist=self.trainer.world_size > 1)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss on test windows."""
        loss = self._loss(batch, self.rng.child("validate", batch_idx), train=False).mean()
        self.log("test_loss", loss, batch_size=len(batch["index"]))

    def _shifted(self, batch: dict[str, Tensor], rng: Rng, *, train: bool) -> dict[str, Tensor]:
        """The batch with its windows shifted along `roll`, in training."""
        if not (train and self.roll) or "z" in batch:
            return batch
        return shifted(batch, self.prior, self.roll, rng=rng.child("roll"))

    def _coefficients(self, batch: dict[str, Tensor], rng: Rng, *, train: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Coefficients, encoded condition (noised in training) and known shares of a batch."""
        if "z" in batch:
            z, c, weights = batch["z"], batch.get("c"), batch.get("weights")
        else:
            z, c, weights = encode_batch(self.prior, batch["x"], batch.get("cond"), guess=batch.get("guess"))
        if train and not self.views.whole:
            z, c, weights = self.views.of(self.prior, (z, c, weights), index=batch["index"].tolist(), rng=rng.child("view"))
        if train and c is not None and self.input_noise:
            c = c + self.input_noise * rng.child("input").normal_each(batch["index"].tolist(), c.shape[1:], like=c)
        return z, c, weights


def shifted(batch: dict[str, Tensor], prior: WindowPrior, roll: tuple[str, ...], *, rng: Rng) -> dict[str, Tensor]:
    """Every window of a batch shifted along periodic axes, with what it is conditioned on; an expected field stays in its place.

    Args:
        batch: As the windows give it, with "index", which keys the shifts.
        prior: Its transform's anomalies are not shifted.
        roll: Names of periodic axes.
        rng: Of the shifts.
    """
    dims = prior.spec.grid.dims
    axes, index = tuple(dims.index(name) - len(dims) for name in roll), batch["index"].tolist()
    rolled = {k: v if k == "index" else _rolled(v, axes, index, rng) for k, v in batch.items()}
    for anomaly in (p for p in prior.transform.modules() if isinstance(p, Anomaly)):
        x, cond = batch["x"], batch.get("cond")
        mean = anomaly.mean_at(cond, x).expand_as(x)
        back = mean - _rolled(mean, axes, index, rng)
        rolled["x"] = rolled["x"] + back
        if cond is not None:
            fields = x.shape[1]
            rolled["cond"] = torch.cat([rolled["cond"][:, :fields] + back, rolled["cond"][:, fields:]], dim=1)
    return rolled


def _rolled(x: Tensor, axes: tuple[int, ...], index: list[int], rng: Rng) -> Tensor:
    """Every window shifted by its own random number of cells."""
    sizes = torch.tensor([x.shape[a] for a in axes])
    shifts = [(rng.child(i).uniform((len(sizes),)) * sizes).long().tolist() for i in index]
    return torch.stack([torch.roll(row, shift, axes) for row, shift in zip(x, shifts, strict=True)])
