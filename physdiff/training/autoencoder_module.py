r"""Training an autoencoder: a LightningModule that a plain Trainer fits.

With u the normalised frame, z its latents, $\epsilon$ standard normal and $\hat u = D(z + \tau\epsilon)$, the loss is

$$ \langle (\hat u - u)^2 \rangle + w_s \frac{\langle |\nabla(\hat u - u)|^2 \rangle}{\langle |\nabla u|^2 \rangle}
+ w_m \langle (\bar{\hat u} - \bar u)^2 \rangle + w_r \frac{\langle |R(\hat x) - R(x)|^2 \rangle}{\langle |R(x)|^2 \rangle}. $$

The second term weighs the spectrum of the error by the square of the wavenumber, at any boundary; in the third, bars are means by cell weights
(what a conservation law keeps); in the last, R is the residual of a law on decoded windows in physical units. Its difference is taken, for
frames of a solver or of measurements have residuals of their own, which are not to be trained away. The noise on the latents keeps the decoder
smooth: a latent that is a little off gives a field that is a little off (Rozet et al., 2025, arXiv 2507.02608).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from physdiff.base.checks import check_positive
from physdiff.base.errors import Diverged, InputError, NotFitted
from physdiff.base.rng import Rng
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import Operator
from physdiff.training.callbacks.weight_average import WeightAverage
from physdiff.training.warm_cosine import warm_cosine
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.transform import Transform

__all__ = ["AutoencoderLosses", "AutoencoderModule"]

_BATCH, _MOST = 32, 1024
_FLOOR = 1e-12


@dataclass(frozen=True)
class AutoencoderLosses:
    """Weights of the terms beside the squared error.

    Args:
        slopes: Weight of the error of the slopes.
        means: Weight of the error of the fields' means.
        noise: Standard deviation of the noise on the latents, in theirs.
        law: Operator on windows in physical units, as `PhysicsResidual`, or None.
        residual: Weight of the error of its readings.
    """

    slopes: float = 0.1
    means: float = 1.0
    noise: float = 0.01
    law: Operator | None = None
    residual: float = 0.1

    def __post_init__(self) -> None:
        for name in ("slopes", "means", "noise", "residual"):
            check_positive(getattr(self, name), f"AutoencoderLosses {name}", zero=True)


class AutoencoderModule(pl.LightningModule):
    """Fit the networks of an autoencoder; at the end its latents have mean zero and variance one, and its `error` is that on validation windows.

    Batches hold windows ``x`` (B, C, T, *S), NaN where missing, and their ``index``, as those of `TrajectoryDataModule`.

    Args:
        autoencoder: Trained in place; sized and with its linear part (`fitted_from`).
        head: What comes before it, fitted: anomaly and normaliser.
        spec: What the windows are.
        losses: Weights of the loss.
        lr: Peak learning rate of AdamW; cosine to zero after a short rise.
        ema: Decay of the average of the weights; 0: no average.
        roll: Axes in space, as ``x``, along which fields are shifted at random.
        seed: Seed of all training randomness.

    Raises:
        InputError: If there is nothing to train, or an axis to roll is not periodic.
    """

    def __init__(
        self,
        autoencoder: FrameCoder,
        head: Transform,
        spec: FieldSpec,
        *,
        losses: AutoencoderLosses = AutoencoderLosses(),  # noqa: B008 - a frozen value
        lr: float = 1e-3,
        ema: float = 0.99,
        roll: tuple[str, ...] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if autoencoder.width == 0:
            raise InputError("AutoencoderModule: expected an autoencoder with networks, got width 0; its linear part is exact as it is")
        if autoencoder.channels is None or not bool(autoencoder.error.isfinite()):
            raise NotFitted("AutoencoderModule: expected a linear part to begin with; use fitted_from, or fit_autoencoder")
        dims, periodic = spec.grid.dims, spec.grid.periodic
        closed = tuple(name for name, is_circle in zip(dims, periodic, strict=True) if is_circle)
        if not set(roll) <= set(closed):
            there = f"some of {', '.join(closed)}" if closed else "none"
            todo = "leave it out, or say that an axis closes (physdiff convert --periodic x)"
            raise InputError(f"AutoencoderModule roll: expected axes that close, {there} of the data, got {', '.join(roll)}; {todo}")
        if not 0 <= ema < 1:
            raise InputError(f"AutoencoderModule: expected 0 <= ema < 1, got {ema}")
        self.autoencoder, self.head, self.losses, self.lr, self.ema = autoencoder, head, losses, check_positive(lr, "lr"), ema
        self.roll_axes = tuple(dims.index(name) - len(dims) for name in roll)
        self.rng = Rng(seed)
        self.register_buffer("cells", spec.grid.weights().float(), persistent=False)
        autoencoder.requires_grad_(True)

    def configure_callbacks(self) -> list[pl.Callback]:
        """The weight average."""
        return [WeightAverage(self.ema)] if self.ema else []

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with warm-up and cosine decay."""
        optimizer = torch.optim.AdamW(self.autoencoder.parameters(), lr=self.lr, weight_decay=1e-4)
        return warm_cosine(optimizer, self.trainer.estimated_stepping_batches)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        step = int(self.global_step)
        terms = self.terms(batch, self.rng.child("train", step), train=True)
        loss = torch.stack(list(terms.values())).sum()
        if not bool(loss.isfinite()):
            raise Diverged("autoencoder loss", step, "lower the learning rate or look at the data of this batch; the last checkpoint is kept")
        self.log_dict({"loss": loss, **terms}, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Squared error without noise."""
        u = self._normalised(batch["x"], batch.get("cond"))
        error = (self.autoencoder._decode(self.autoencoder._encode(u, None), None) - u).square().mean()
        self.log("val_loss", error, prog_bar=True, batch_size=len(u))

    def terms(self, batch: Mapping[str, Tensor], rng: Rng, *, train: bool = False) -> dict[str, Tensor]:
        """The terms of the loss by name, weighted: squares, slopes, means, residual."""
        w, cond = self.losses, batch.get("cond")
        u = self._normalised(batch["x"], cond)
        if train and self.roll_axes and w.law is None:
            shifts = (rng.child("roll").uniform((len(self.roll_axes),)) * torch.tensor([u.shape[a] for a in self.roll_axes])).long()
            u = u.roll(shifts.tolist(), self.roll_axes)
        z = self.autoencoder._encode(u, None)
        if w.noise:
            z = z + w.noise * rng.child("noise").normal(tuple(z.shape), like=z)
        out = self.autoencoder._decode(z, None)
        off = out - u
        found = {"squares": off.square().mean()}
        if w.slopes and isinstance(self.autoencoder, Autoencoder):  # points have no neighbours along axes
            found["slopes"] = w.slopes * _slopes(off, self.autoencoder.periodic) / _slopes(u, self.autoencoder.periodic).clamp_min(_FLOOR)
        if w.means:
            space = tuple(range(3, off.ndim))
            found["means"] = w.means * (off * self.get_buffer("cells").to(off)).sum(space).square().mean()
        if w.law is not None and w.residual:
            true = w.law(torch.nan_to_num(self.head._decode(u, cond)))
            left = w.law(self.head._decode(out, cond)) - true
            # each equation by its own size, for their units differ
            over = (0, *range(2, true.ndim))
            found["residual"] = w.residual * (left.square().mean(over) / true.square().mean(over).clamp_min(_FLOOR)).mean()
        return found

    def _normalised(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """What the autoencoder sees; missing values are the centre."""
        return torch.nan_to_num(self.head._encode(x, cond))

    def setup(self, stage: str) -> None:
        """Free the weights, which an earlier fit (timed steps of a budget, too) has left fixed."""
        del stage
        self.autoencoder.requires_grad_(True)

    def on_fit_end(self) -> None:
        """Give the latents mean zero and variance one, measure the error, leave an autoencoder whose weights stay."""
        self.eval()
        self.autoencoder.requires_grad_(False)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is not None:
            self.finish(data.train_windows, data.val_windows)

    @torch.no_grad()
    def finish(self, train: Dataset[dict[str, Any]], val: Dataset[dict[str, Any]] | None = None) -> None:
        """What `on_fit_end` does, with the windows given; the error is that on `val` if there are any, else on `train`."""
        self.autoencoder.rescale(self.autoencoder._encode(u, None) for u in self._frames(train))
        square = count = 0.0
        for u in self._frames(train if val is None else val):
            off = self.autoencoder._decode(self.autoencoder._encode(u, None), None) - u
            square, count = square + float(off.double().square().sum()), count + off.numel()
        self.autoencoder.error.fill_((square / count) ** 0.5)

    def _frames(self, windows: Dataset[dict[str, Any]]) -> Iterator[Tensor]:
        """Normalised windows, at most `_MOST`."""
        size = len(windows)  # type: ignore[arg-type]
        index = range(0, size, max(1, -(-size // _MOST)))
        for start in range(0, len(index), _BATCH):
            batch = default_collate([windows[i] for i in index[start : start + _BATCH]])
            cond = batch.get("cond")
            yield self._normalised(batch["x"].to(self.device), None if cond is None else cond.to(self.device))


def _slopes(u: Tensor, periodic: tuple[bool, ...] | None) -> Tensor:
    """Mean squared difference of neighbours, summed over the axes in space."""
    assert periodic is not None
    total = u.new_zeros(())
    for axis, closed in enumerate(periodic, start=3):
        step = u.roll(-1, axis) - u
        total = total + (step if closed else step.narrow(axis, 0, max(1, u.shape[axis] - 1))).square().mean()
    return total
