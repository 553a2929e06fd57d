"""What particle methods share: the number of particles, the gradient of the likelihood, the levels, the ensemble at the end."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import Diverged, InputError
from physdiff.base.gaussian import Gaussian
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.inference.diffusion_path import DiffusionPath, count_of, drawn, to_ensemble
from physdiff.inference.smc import run_smc
from tests.inference.test_feynman_kac import black_box, plane

LIKE = torch.zeros((), dtype=torch.float64)


class Prior(DiffusionPath):
    """The prior's own path, the likelihood as the last weight."""

    def start(self, shape, rng):
        x = self.noise(shape, rng)
        return (x,), torch.zeros(shape, dtype=torch.float64)

    def move(self, k, particles, rng):
        x = drawn(self.kernel(particles[0], self.mean(particles[0], k - 1), k - 1), rng)
        return (x,), self.log_likelihood(x) if k == self.steps else torch.zeros(len(x), dtype=torch.float64)


def path(posterior=None, steps: int = 10) -> Prior:
    return Prior(posterior or plane().posterior(), DDPM(), steps, max_batch=7)


def test_the_number_of_particles() -> None:
    assert count_of(None, 5, "x") == 64 and count_of(None, 100, "x") == 100 and count_of(8, 100, "x") == 8
    with pytest.raises(InputError, match="x: expected one member and one particle or more, got 3 and 0"):
        count_of(0, 3, "x")


def test_the_gradient_of_the_likelihood_of_linear_readings() -> None:
    """A^T (y - A z) / std^2, and the value that goes with it."""
    target, z = plane(2.0), Rng(0).normal((5, 1, 1, 2), like=LIKE)
    value, gradient = path(target.posterior()).likelihood_gradient(z)
    expected = ((target.y - z.flatten(1) @ target.matrix.T) / target.std**2) @ target.matrix
    torch.testing.assert_close(gradient.flatten(1), expected)
    torch.testing.assert_close(value, target.posterior().log_likelihood(z))
    with pytest.raises(InputError, match="got Rounded"):
        path(black_box()).likelihood_gradient(z)


def test_levels_and_batches() -> None:
    """The mean in batches of 7 is that of all at once, and is counted once for each particle."""
    p, x = path(), Rng(1).normal((20, 1, 1, 2), like=LIKE)
    torch.testing.assert_close(p.mean(x, 3), p.denoiser(x, p.times[3]))
    assert p.evaluations == 1 and len(p.times) == 11
    with pytest.raises(Diverged, match="level 1 of 10"):
        p.mean(x * torch.inf, 0)


def test_a_transition_without_spread_is_its_mean() -> None:
    mean = Rng(2).normal((4, 3), like=LIKE)
    assert torch.equal(drawn(Gaussian(mean, torch.zeros(1, 1)), Rng(0)), mean)
    assert not torch.equal(drawn(Gaussian(mean, torch.ones(1, 1).double()), Rng(0)), mean)


def test_the_ensemble_is_weighted_or_resampled() -> None:
    posterior = plane().posterior()
    run = run_smc(path(posterior), 40, rng=Rng(3))
    same, fewer = (to_ensemble(posterior, run, n, nfe=10, begun=posterior.begin(), own=40, rng=Rng(4)) for n in (40, 9))
    torch.testing.assert_close(same.log_weights, run.weights.values)
    assert fewer.members.shape[0] == 9 and fewer.equally_weighted
    torch.testing.assert_close(fewer.members, same.members[fewer.info["ancestors"]])
    assert {"log_evidence", "ess", "resampled", "origins", "survivors", "particles", "nfe", "seconds"} <= set(same.info)
