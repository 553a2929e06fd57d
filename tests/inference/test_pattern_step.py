"""A step solved in the patterns of the covariance is that of conjugate gradients."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.inference.guided import GuidedDenoiser
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior
from tests.inference.test_guided import LIKE, SPEC, Square, covariances, prior


@pytest.mark.parametrize("t", [0.5, 0.7])
def test_a_step_in_few_patterns_is_that_of_conjugate_gradients(t) -> None:
    dense = covariances()["dense"]
    few = LowRankCovariance(dense.eigenvectors[-6:], dense.eigenvalues[-6:])
    posterior = Posterior(prior(few), Observation(Square(), y=Rng(4).uniform(SPEC.shape, like=LIKE), std=0.3))
    x_t, time = Rng(5).normal((5, *SPEC.shape), like=LIKE), torch.tensor(t, dtype=torch.float64)
    # both solve the same system in float64, one to rounding and one to 1e-10
    at_once = GuidedDenoiser(posterior, few)
    nearly = LowRankCovariance(few.eigenvectors, few.eigenvalues, 1e-13)
    iterated = GuidedDenoiser(posterior, nearly, iterations=300, tolerance=1e-10)
    expected = iterated(x_t, time)
    moved = (expected - posterior.prior.denoiser(x_t, time)).norm()
    assert float(moved) > 0.01 and float((at_once(x_t, time) - expected).norm()) < 1e-6 * float(moved)
    # one sample is its own mean; members that are far apart get another derivative than their own
    shared = GuidedDenoiser(posterior, few, shared=True)
    torch.testing.assert_close(shared(x_t[:1], time), at_once(x_t[:1], time))
    assert float((shared(x_t, time) - expected).norm()) > 1e-3 * float(moved)
