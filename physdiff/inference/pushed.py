"""Clean coefficients as a function of starting noise: a deterministic sampler makes the prior the image of a standard normal law."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.inference.posterior import Posterior

__all__ = ["Pushed"]

log = logging.getLogger(__name__)


class Pushed:
    """The map G of starting noise z ~ N(0, I) to clean coefficients.

    Args:
        posterior: Gives the prior and its condition.
        sampler: A deterministic sampler; the prior's own if None (DPMSolver2M where that adds noise).
        steps: Number of its steps; the prior's own if None.
        what: Who asks, for messages.
        denoiser: Takes the place of the prior's, if given.

    Attributes:
        sampler: The one that is used.
        evaluations: Network evaluations of one call, forward.

    Raises:
        InputError: If the sampler that is given adds noise.
    """

    def __init__(self, posterior: Posterior, sampler: Sampler | None, steps: int | None, *, what: str, denoiser: Denoiser | None = None) -> None:
        self.prior, self._denoiser = posterior.prior, denoiser or posterior.prior.denoiser
        self._cond = self.prior.encode_cond(posterior.completed)
        self._steps = steps or self.prior.steps
        self._take(sampler or self.prior.sampler)
        if self._adds_noise(posterior):
            name = type(self.sampler).__name__
            if sampler is not None:
                raise InputError(f"{what}: expected a deterministic sampler, got {name}, which adds noise; pass DPMSolver2M() or Heun()")
            log.info("%s: the prior's sampler %s adds noise; DPMSolver2M takes its place", what, name)
            self._take(DPMSolver2M())

    def __call__(self, z: Tensor, rng: Rng | None = None) -> Tensor:
        """(B, *latent) to (B, *latent)."""
        start = self.prior.noisiest(z, self._times[0], self._cond)
        return self.sampler.run(self._denoiser, start, self._times, cond=self._cond, rng=rng or Rng(0))

    def _take(self, sampler: Sampler) -> None:
        self.sampler, self._times = sampler, sampler.grid(self.prior.denoiser, self._steps)
        self.evaluations = sampler.evaluations(len(self._times) - 1)

    @torch.no_grad()
    def _adds_noise(self, posterior: Posterior) -> bool:
        z = Rng(0).child("check").normal((1, *self.prior.latent_shape), like=posterior.state)
        return not torch.equal(self(z, Rng(1)), self(z, Rng(2)))
