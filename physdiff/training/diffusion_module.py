"""Training a diffusion prior: a LightningModule that a plain Trainer fits.

Loss: weighted squared error of the denoiser (see diffusion/objective.py), noise levels log-normal (Karras et al., 2022). All randomness is
keyed by (seed, step, window index), so that a run that was killed and resumed gives the weights of an uninterrupted one.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.coupled_flow import CoupledPrior, coupled_loss
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.interpolant import interpolant_loss
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.diffusion.objective import LogNormalNoise, NoiseLaw, denoising_loss
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.evaluation.consistency import ConsistencyTerm
from physdiff.training.encoded import base_of
from physdiff.training.prior_module import PriorModule

__all__ = ["DiffusionModule"]

_EDGE = 1e-5  # an interpolant is not drawn closer to its ends


class DiffusionModule(PriorModule):
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

    Raises:
        InputError: If the prior is a deterministic forecast, which `OperatorModule` trains, or a number makes no sense.
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
        if not isinstance(prior, DiffusionPrior | InterpolantPrior | CoupledPrior):
            got = f"a {type(prior).__name__}; take OperatorModule for it"
            raise InputError(f"DiffusionModule: expected a prior that draws (diffusion, interpolant, bridge), got {got}")
        self._begin(prior, lr=lr, ema=ema, weight_decay=weight_decay, input_noise=input_noise, roll=roll, seed=seed)
        self.noise = noise or LogNormalNoise()
        self.term: ConsistencyTerm | None = None

    def with_term(self, term: ConsistencyTerm | None) -> Self:
        """Add a term that draws the denoiser towards one that some law has (see evaluation/consistency.py); the module itself."""
        if term is not None and term.due(0) and not isinstance(self.prior, DiffusionPrior):
            raise InputError(f"DiffusionModule: expected a DiffusionPrior for a term on its denoiser, got {type(self.prior).__name__}; leave it out")
        self.term = term
        return self

    def _loss(self, batch: dict[str, Tensor], rng: Rng, *, train: bool, step: int = 0) -> Tensor:
        """Loss of each window of a batch, (B,)."""
        index, batch = batch["index"].tolist(), self._shifted(batch, rng, train=train)
        z, c, weights = self._coefficients(batch, rng, train=train)
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
