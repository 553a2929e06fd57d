"""Training a diffusion prior: a LightningModule that a plain Trainer fits.

Loss: weighted squared error of the denoiser (see diffusion/objective.py), noise levels log-normal (Karras et al., 2022). All randomness is
keyed by (seed, step, window index), so that a run that was killed and resumed gives the weights of an uninterrupted one.
"""

from __future__ import annotations

import math
from typing import Self

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import Dataset

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.coupled_flow import CoupledPrior, coupled_loss
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.interpolant import interpolant_loss
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.diffusion.objective import LogNormalNoise, NoiseLaw, denoising_loss
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.evaluation.consistency import ConsistencyTerm
from physdiff.training.callbacks.weight_average import WeightAverage
from physdiff.training.encoded import EncodedWindows, base_of, encode_batch
from physdiff.transforms.anomaly import Anomaly

__all__ = ["DiffusionModule"]

_EDGE = 1e-5  # an interpolant is not drawn closer to its ends
_CLIP = 1.0  # largest norm of the gradient, if the trainer names none


class DiffusionModule(pl.LightningModule):
    """Fit the denoiser of a prior, or the drift of an `InterpolantPrior` (times uniform; `noise` is not used).

    Args:
        prior: The prior; trained in place (with `ema`, it holds the averaged weights at the end).
        lr: Peak learning rate of AdamW; cosine to zero over the run after a warm-up of 5 % (at most 100 steps).
        ema: Decay of the exponential moving average of the weights (reached gradually); 0: no average.
        noise: Law of the training noise levels; LogNormalNoise(-0.5, 1.2) if None.
        weight_decay: Of AdamW.
        input_noise: Standard deviation of noise added to the encoded condition; makes roll-outs forgiving of their own errors.
        roll: Names of periodic axes along which windows are shifted at random (only where the law does not depend on the place). Of a prior with
            an `Anomaly` the departures are shifted, and the mean field stays where it is.
        seed: Seed of all training randomness.
    """

    def __init__(
        self,
        prior: WindowPrior,
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
        self.term: ConsistencyTerm | None = None
        dims, periodic = prior.spec.grid.dims, prior.spec.grid.periodic
        if any(name not in dims or not periodic[dims.index(name)] for name in roll):
            raise InputError(f"DiffusionModule roll: expected periodic axes among {dims}, got {roll}")
        self.roll_axes = tuple(dims.index(name) - len(dims) for name in roll)

    def with_term(self, term: ConsistencyTerm | None) -> Self:
        """Add a term that draws the denoiser towards one that some law has (see evaluation/consistency.py); the module itself."""
        if term is not None and term.due(0) and not isinstance(self.prior, DiffusionPrior):
            raise InputError(f"DiffusionModule: expected a DiffusionPrior for a term on its denoiser, got {type(self.prior).__name__}; leave it out")
        self.term = term
        return self

    def configure_callbacks(self) -> list[pl.Callback]:
        """The weight average."""
        return [WeightAverage(self.ema)] if self.ema else []

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with warm-up and cosine decay over the steps of the run (no decay if the run has no end)."""
        optimizer = torch.optim.AdamW(self.prior.model.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=self._fused())
        total = self.trainer.estimated_stepping_batches
        last = max(2, int(total)) if math.isfinite(total) else None
        warm = 100 if last is None else max(1, min(100, last // 20))

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / warm)
            return rise if last is None else rise * 0.5 * (1 + math.cos(math.pi * min(step, last) / last))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

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

        Unchanged if they are too many, or if they are shifted at random before they are encoded.
        """
        if self.roll_axes or not EncodedWindows.fits(windows, self.prior):
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
        self.log("val_loss", loss, prog_bar=True, batch_size=len(batch["index"]))

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss on test windows."""
        loss = self._loss(batch, self.rng.child("validate", batch_idx), train=False).mean()
        self.log("test_loss", loss, batch_size=len(batch["index"]))

    def _loss(self, batch: dict[str, Tensor], rng: Rng, *, train: bool, step: int = 0) -> Tensor:
        """Loss of each window of a batch, (B,)."""
        index = batch["index"].tolist()
        if "z" in batch:
            z, c, weights = batch["z"], batch.get("c"), batch.get("weights")
        else:
            if train and self.roll_axes:
                batch = self._rolled_batch(batch, index, rng.child("roll"))
            z, c, weights = encode_batch(self.prior, batch["x"], batch.get("cond"), guess=batch.get("guess"))
        if train and c is not None and self.input_noise:
            c = c + self.input_noise * rng.child("input").normal_each(index, c.shape[1:], like=c)
        if isinstance(self.prior, InterpolantPrior):
            base = batch["base"] if "base" in batch else None if "z" in batch else base_of(self.prior, batch.get("cond"), guess=batch.get("guess"))
            return self._interpolated(self.prior, z, base, index=index, cond=c, weights=weights, rng=rng)
        if isinstance(self.prior, CoupledPrior):
            level = rng.child("level")
            t = torch.stack([level.child(i).uniform((), like=torch.empty((), dtype=torch.float64)) for i in index]).clamp(_EDGE, 1 - _EDGE)
            noise = rng.child("noise").normal_each(index, z.shape[1:], like=z)
            return coupled_loss(self.prior.flow, z, t.to(z.device), noise=noise, cond=c)
        assert isinstance(self.prior, DiffusionPrior)
        t = self.noise.times(self.prior.denoiser.schedule, index, rng.child("level")).to(z.device)
        eps = rng.child("noise").normal_each(index, z.shape[1:], like=z)
        loss = denoising_loss(self.prior.denoiser, z, t, noise=eps, cond=c, weights=weights)
        if train and self.term is not None and self.term.due(step):
            loss = loss + self.term.loss(self.prior.denoiser, z, index=index, cond=c, rng=rng.child("term"))
        return loss

    def _interpolated(
        self, prior: InterpolantPrior, z: Tensor, base: Tensor | None, *, index: list[int], cond: Tensor | None, weights: Tensor | None, rng: Rng
    ) -> Tensor:
        """Loss of an interpolant; windows that share their base start from zero."""
        level = rng.child("level")
        t = torch.stack([level.child(i).uniform((), like=torch.empty((), dtype=torch.float64)) for i in index]).clamp(_EDGE, 1 - _EDGE)
        noise = rng.child("noise").normal_each(index, z.shape[1:], like=z)
        ends = (torch.zeros_like(z) if base is None else base.to(z), z)
        return interpolant_loss(prior.drift, ends, t.to(z.device), noise=noise, cond=cond, weights=weights)

    def _rolled_batch(self, batch: dict[str, Tensor], index: list[int], rng: Rng) -> dict[str, Tensor]:
        """Every window shifted, with what it is conditioned on; the expected field stays in its place."""
        rolled = {k: v if k == "index" else self._rolled(v, index, rng) for k, v in batch.items()}
        for anomaly in (p for p in self.prior.transform.modules() if isinstance(p, Anomaly)):
            x, cond = batch["x"], batch.get("cond")
            mean = anomaly.mean_at(cond, x).expand_as(x)
            back = mean - self._rolled(mean, index, rng)
            rolled["x"] = rolled["x"] + back
            if cond is not None:
                fields = x.shape[1]
                rolled["cond"] = torch.cat([rolled["cond"][:, :fields] + back, rolled["cond"][:, fields:]], dim=1)
        return rolled

    def _rolled(self, x: Tensor, index: list[int], rng: Rng) -> Tensor:
        """Every window shifted by its own random number of cells."""
        sizes = torch.tensor([x.shape[a] for a in self.roll_axes])
        shifts = [(rng.child(i).uniform((len(sizes),)) * sizes).long().tolist() for i in index]
        return torch.stack([torch.roll(row, shift, self.roll_axes) for row, shift in zip(x, shifts, strict=True)])
