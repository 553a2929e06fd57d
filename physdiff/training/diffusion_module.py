"""Training a diffusion prior: a LightningModule that a plain Trainer fits.

Loss: weighted squared error of the denoiser (see diffusion/objective.py), noise levels log-normal (Karras et al., 2022). All randomness is
keyed by (seed, step, window index), so that a run that was killed and resumed gives the weights of an uninterrupted one.
"""

from __future__ import annotations

import math

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.objective import LogNormalNoise, NoiseLaw, denoising_loss

__all__ = ["DiffusionModule"]


class DiffusionModule(pl.LightningModule):
    """Fit the denoiser of a prior.

    Args:
        prior: The prior; trained in place (with `ema`, it holds the averaged weights at the end).
        lr: Peak learning rate of AdamW; cosine to zero over the run after a warm-up of 5 % (at most 100 steps).
        ema: Decay of the exponential moving average of the weights (reached gradually); 0: no average.
        noise: Law of the training noise levels; LogNormalNoise(-0.5, 1.2) if None.
        weight_decay: Of AdamW.
        input_noise: Standard deviation of noise added to the encoded condition; makes roll-outs forgiving of their own errors.
        roll: Names of periodic axes along which windows are shifted at random (only where the law does not depend on the place).
        seed: Seed of all training randomness.
    """

    def __init__(
        self,
        prior: DiffusionPrior,
        lr: float = 2e-4,
        ema: float = 0.999,
        *,
        noise: NoiseLaw | None = None,
        weight_decay: float = 1e-2,
        input_noise: float = 0.0,
        roll: tuple[str, ...] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if lr <= 0 or not 0 <= ema < 1 or input_noise < 0:
            raise InputError(f"DiffusionModule: expected lr > 0, 0 <= ema < 1, input_noise >= 0, got {lr}, {ema}, {input_noise}")
        self.prior, self.lr, self.ema, self.noise = prior, lr, ema, noise or LogNormalNoise()
        self.weight_decay, self.input_noise = weight_decay, input_noise
        self.rng = Rng(seed)
        dims, periodic = prior.spec.grid.dims, prior.spec.grid.periodic
        if any(name not in dims or not periodic[dims.index(name)] for name in roll):
            raise InputError(f"DiffusionModule roll: expected periodic axes among {dims}, got {roll}")
        self.roll_axes = tuple(dims.index(name) - len(dims) for name in roll)

    def configure_callbacks(self) -> list[pl.Callback]:
        """The weight average."""
        return [WeightAveraging(use_buffers=False, avg_fn=_Average(self.ema))] if self.ema else []

    def configure_optimizers(self) -> dict:
        """AdamW with warm-up and cosine decay over the steps of the run."""
        optimizer = torch.optim.AdamW(self.prior.denoiser.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        total = max(2, int(self.trainer.estimated_stepping_batches))
        warm = max(1, min(100, total // 20))

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(step, total) / total))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        step = int(self.global_step)
        # dropout draws from torch's generator: keyed too, and the caller's generator is left alone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.rng.child("dropout", step).integers(0, 2**62)))
            loss = self._loss(batch, self.rng.child("train", step), train=True).mean()
        if not bool(loss.isfinite()):
            raise Diverged("training loss", step, "lower the learning rate or look at the data of this batch; the last checkpoint is kept")
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss with the same noise at every validation."""
        loss = self._loss(batch, self.rng.child("validate", batch_idx), train=False).mean()
        self.log("val_loss", loss, prog_bar=True, batch_size=len(batch["x"]))

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss on test windows."""
        loss = self._loss(batch, self.rng.child("validate", batch_idx), train=False).mean()
        self.log("test_loss", loss, batch_size=len(batch["x"]))

    def _loss(self, batch: dict[str, Tensor], rng: Rng, *, train: bool) -> Tensor:
        index = batch["index"].tolist()
        x, cond, guess = batch["x"], batch.get("cond"), batch.get("guess")
        if train and self.roll_axes:
            x, cond, guess = self._rolled((x, cond, guess), rng.child("roll"))
        completed = self.prior.complete(cond, guess)
        known = x.isfinite()
        z = self.prior.encode(x, completed)
        weights = None if bool(known.all()) else self.prior.transform.weight(known.to(x))
        c = self.prior.encode_cond(completed)
        if train and c is not None and self.input_noise:
            c = c + self.input_noise * rng.child("input").normal_each(index, c.shape[1:], like=c)
        t = self.noise.times(self.prior.denoiser.schedule, index, rng.child("level")).to(z.device)
        eps = rng.child("noise").normal_each(index, z.shape[1:], like=z)
        return denoising_loss(self.prior.denoiser, z, t, noise=eps, cond=c, weights=weights)

    def _rolled(self, tensors: tuple[Tensor, Tensor | None, Tensor | None], rng: Rng) -> list:
        x = tensors[0]
        sizes = [x.shape[a] for a in self.roll_axes]
        shifts = [int(rng.child(k).integers(0, n)) for k, n in enumerate(sizes)]
        return [None if v is None else torch.roll(v, shifts, self.roll_axes) for v in tensors]


class _Average:
    """Moving average whose decay grows with the number of updates, so that the random start is forgotten."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        n = float(count)
        decay = min(self.decay, (1 + n) / (10 + n))
        return averaged + (1 - decay) * (current - averaged)
