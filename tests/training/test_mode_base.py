"""A network between the patterns of a prior's Gaussian part: draws lie in the patterns, and what has none is refused."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.networks.mode_network import ModeNetwork
from physdiff.training.mode_base import with_modes
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import line, tiny


def test_draws_lie_in_the_patterns() -> None:
    prior, _ = prepare(line(60, 4), Recipe(history=0, horizon=4, gaussian="modes", steps=6), network=tiny)
    assert isinstance(prior.denoiser.network, ModeNetwork)
    covariance = prior.denoiser.base.covariance
    assert covariance.rest == 0
    with torch.no_grad():  # a network that has learnt something
        prior.denoiser.network.head.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    z = prior.encode(prior.sample(3, rng=Rng(0))).flatten(1)
    mean, patterns = prior.denoiser.base.mean.flatten(), covariance.eigenvectors
    left = z - mean - (z - mean) @ patterns.T @ patterns
    # float32, and the last noise level (0.02) is not kept
    assert float(left.abs().max()) < 1e-4 * float(z.abs().max())


def test_a_prior_without_patterns_is_refused() -> None:
    plain, _ = prepare(line(), Recipe(history=0, horizon=1, gaussian="no"), network=tiny)
    with pytest.raises(InputError, match=r"with a Gaussian base of patterns, got one without; use with_gaussian"):
        with_modes(plain)
