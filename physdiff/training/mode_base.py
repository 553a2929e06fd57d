"""A prior whose network works between the leading patterns of its windows: small and fast where fields are smooth."""

from __future__ import annotations

import torch

from physdiff.base.errors import InputError
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.networks.mode_network import ModeNetwork

__all__ = ["with_modes"]


def with_modes(prior: DiffusionPrior, width: int = 256, *, seed: int = 0) -> DiffusionPrior:
    """The prior with a `ModeNetwork` between the patterns of its Gaussian base, in which all its draws then lie.

    What the patterns leave over of the variance (a ten-thousandth, see `with_gaussian`) is left out: as noise from cell to cell it would be most of
    the residual that a draw leaves of its law. A training step takes a tenth or less of a U-Net's time, for windows are a few dozen numbers.

    Args:
        prior: A prior with a Gaussian base of patterns: that of ``with_gaussian(..., patterns=True)``.
        width: Of the network.
        seed: Of its weights.

    Raises:
        InputError: If the prior has no such base.
    """
    denoiser = prior.denoiser
    old = denoiser.base if isinstance(denoiser, PreconditionedDenoiser) else None
    if not isinstance(old, GaussianDenoiser) or not isinstance(old.covariance, LowRankCovariance):
        raise InputError("with_modes: expected a prior with a Gaussian base of patterns, got one without; use with_gaussian(patterns=True) first")
    if prior.cond_spec is not None:
        raise InputError("with_modes: expected a prior without conditions, for its network takes none, got one with some; use history 0, no anomaly")
    covariance = LowRankCovariance(old.covariance.eigenvectors, old.covariance.eigenvalues)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ModeNetwork(covariance.eigenvectors, covariance.eigenvalues, ndim=prior.spec.grid.ndim, width=width)
    base = GaussianDenoiser(old.schedule, old.mean, covariance)
    sampler = ExponentialMultistep(2, noise=1.0)
    return DiffusionPrior(PreconditionedDenoiser(network, old.schedule, base=base), prior.transform, prior.spec, sampler=sampler, steps=prior.steps)
