"""Twisted particles: constant weights with the exact twist, unbiased with any, mixtures, worded errors."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.inference.exact import GaussianTarget
from physdiff.inference.observation import Observation, Operator
from physdiff.inference.posterior import Posterior
from physdiff.inference.twisted_smc import TwistedSMC
from tests.inference.reverse_kernel import ReverseKernel
from tests.inference.test_feynman_kac import black_box, check_unbiased, d, mode_runs, modes, plane


def scalar() -> GaussianTarget:
    """T1: prior N(0, 0.5), y = 0.8 with variance 1."""
    return GaussianTarget(d(0.0), d([0.5]), d([1.0]), d(0.8), d(1.0))


@pytest.mark.parametrize("through", [True, False], ids=["network", "covariance"])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_with_the_exact_twist_and_kernels_weights_are_constant(steps, through) -> None:
    """p(x'|x) psi'(x') = psi(x) q(x'|x) is Bayes' rule then: after the start no weight changes, to rounding.

    Only the start, pure noise for a law of variance 80^2 + 0.5, leaves weights that differ by about 0.003.
    """
    method = TwistedSMC(ReverseKernel(0.5, precision=1.0), steps, through_network=through)
    run = method.sample(scalar().posterior(), 100, rng=Rng(0))
    torch.testing.assert_close(run.info["ess"], run.info["ess"][0].expand(steps + 1), rtol=1e-9, atol=0)
    assert float(run.info["ess"][0]) > 99.9
    assert float(run.info["log_evidence"]) == pytest.approx(-1.335004, abs=4 * 0.003 / 10 + 1e-4)


def test_draws_of_the_exact_twist_are_the_posterior() -> None:
    """Mean 0.266667, variance 0.333333; 4 standard errors of 4000 independent draws."""
    run = TwistedSMC(ReverseKernel(0.5, precision=1.0), 5, max_batch=4000).sample(scalar().posterior(), 4000, rng=Rng(1))
    x = run.members.flatten()
    assert abs(float(run.weights @ x) - 0.266667) < 4 * math.sqrt(1 / 3 / 4000)
    assert abs(float(x.var()) * 3 - 1) < 4 * math.sqrt(2 / 4000)


@pytest.mark.parametrize(("through", "wrong"), [(True, 1.0), (True, 0.3), (False, 0.3)])
def test_unbiased_with_any_twist(through, wrong) -> None:
    covariance = DiagonalCovariance(torch.full((1, 1, 2), 0.5 * wrong, dtype=torch.float64))
    method = TwistedSMC(ReverseKernel(0.5), 8, covariance, through_network=through, particles=256, max_batch=256)
    check_unbiased(method, plane(2.0), 12, 256)


class Bent(Operator):
    """A reading that is not linear: the twist is widened reading by reading."""

    def __call__(self, x):
        return x.flatten(1)[:, :1] + 0.3 * x.flatten(1)[:, 1:] ** 2


def test_nonlinear_readings() -> None:
    """Evidence by quadrature on a fine grid (1e-6) against 8 runs with the exact kernel, 4 standard errors of Z."""
    target = plane()
    prior = target.posterior().prior
    posterior = Posterior(prior, Observation(Bent(), d(0.5), std=0.3))
    axis = torch.linspace(-5, 5, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    density = torch.exp(-(grid**2).sum(1) / (2 * 0.5)) / (2 * math.pi * 0.5)
    exact = float((density * posterior.log_likelihood(grid.reshape(-1, 1, 1, 2)).exp()).sum()) * float(axis[1] - axis[0]) ** 2
    method = TwistedSMC(ReverseKernel(0.5), 12, particles=400, max_batch=400)
    ratio = torch.stack([method.sample(posterior, 400, rng=Rng(seed)).info["log_evidence"].exp() / exact for seed in range(8)])
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(8)


def test_weights_of_modes() -> None:
    """As test_feynman_kac's; the standard errors of 24 runs are 0.05 and 0.01 a run."""
    evidence, first = mode_runs(TwistedSMC(DDPM(), 50, particles=400, max_batch=400), 4)
    assert abs(float(evidence.mean()) - modes().log_evidence) < 4 * 0.05 / 2 + 0.03
    assert abs(float(first.mean()) - 0.0695) < 4 * 0.01 / 2 + 0.007


@pytest.mark.slow
def test_weights_of_modes_at_full_size() -> None:
    """2000 particles, 12 runs; 4 standard errors, and the prior's own error in 200 steps, 0.01 and 0.003."""
    evidence, first = mode_runs(TwistedSMC(DDPM(), 200, particles=2000, max_batch=2000), 12)
    assert abs(float(evidence.mean()) - modes().log_evidence) < 4 * float(evidence.std()) / math.sqrt(12) + 0.01
    assert abs(float(first.mean()) - 0.069466) < 4 * float(first.std()) / math.sqrt(12) + 0.003


def test_bad_input() -> None:
    with pytest.raises(InputError, match="got Heun"):
        TwistedSMC(Heun())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="torch can differentiate"):
        TwistedSMC(DDPM(), 5).sample(black_box(), 8, rng=Rng(0))
