"""Guidance through the network: the published figures in one dimension, exactness on Gaussians, a decoder that is not linear, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, VPSchedule
from physdiff.inference.exact import GaussianTarget, ar1_covariance
from physdiff.inference.guided import Guided, GuidedDenoiser
from physdiff.inference.network_guided import NetworkGuidedDenoiser
from physdiff.transforms.transform import Transform

LIKE = torch.zeros((), dtype=torch.float64)
UNIT = DiagonalCovariance(torch.ones(1, 1, 1, dtype=torch.float64))


def d(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def line(length: int = 8) -> GaussianTarget:
    """A correlated line of points with a mean, three of them read, one sharply."""
    matrix = torch.eye(length, dtype=torch.float64)[[1, 5, 6]]
    mean = torch.linspace(-0.5, 0.5, length, dtype=torch.float64)
    return GaussianTarget(mean, ar1_covariance(length, 0.9), matrix, d(1.2, -0.4, -0.3), d(0.3, 0.02, 0.2))


# methods/posterior 3.3: gradient of log p(y | x_t) at sigma = 0.1, 1, 5 under each choice
FIGURES = [
    ("moments", None, 1.0, (-1.349351, -0.076190, 0.027530)),
    ("prior", None, 1.0, (-1.349351, -0.076190, 0.027530)),
    ("none", None, 1.0, (-1.376204, -0.177778, 0.129492)),
    ("unit", UNIT, 1.0, (-1.349481, -0.088889, 0.044300)),
    ("readings", None, 1e-2, (-1.375928, -0.174292, 0.086328)),
]


@pytest.mark.parametrize(("spread", "covariance", "strength", "figures"), FIGURES, ids=[f[0] for f in FIGURES])
def test_score_of_the_likelihood_in_one_dimension(spread, covariance, strength, figures) -> None:
    """Prior variance 2, noise variance 0.5, y = 1, x = 1.7; (D_y - D)/sigma^2 is the score on a schedule without scale."""
    target = GaussianTarget(d(0.0), d([2.0]), d([1.0]), d(1.0), d(math.sqrt(0.5)))
    posterior = target.posterior()
    linear = GuidedDenoiser(posterior, covariance or target.denoiser(EDMSchedule()).covariance)
    guided, x = NetworkGuidedDenoiser(linear, spread, strength), d(1.7).reshape(1, 1, 1, 1)
    for sigma, expected in zip((0.1, 1.0, 5.0), figures, strict=True):
        t = guided.schedule.time_of(-math.log(sigma))
        score = (guided(x, t) - posterior.prior.denoiser(x, t)) / sigma**2
        # the card has six decimals; sigma comes back from its logarithm
        torch.testing.assert_close(score.flatten(), d(expected), rtol=0, atol=6e-7)


def test_the_normalised_step_has_the_strength_as_its_length() -> None:
    """A = J = c I: the step is c times a unit vector times zeta."""
    target = GaussianTarget(d(0.0, 0.0), torch.eye(2).double(), torch.eye(2).double(), d(3.0, 4.0), d(0.1, 0.1))
    guided = NetworkGuidedDenoiser(GuidedDenoiser(target.posterior(), DiagonalCovariance(torch.ones(1, 1, 2).double())), "residual", 0.7)
    x, t = torch.zeros(1, 1, 1, 2).double(), guided.schedule.time_of(0.0)
    # D(0) = 0, r = (3, 4), J = 1/(1 + 1)
    torch.testing.assert_close(guided(x, t).flatten(), 0.7 * 0.5 * d(0.6, 0.8), rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", [EDMSchedule(), VPSchedule(), CosineSchedule()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("spread", ["moments", "prior"])
@pytest.mark.parametrize("matrix", [True, False], ids=["matrix", "matrix-free"])
def test_two_spreads_are_exact_on_gaussians(schedule, spread, matrix) -> None:
    """E[x_0 | x_t, y] to rounding where the solves are: with Tweedie's covariance nothing need be known of the prior's."""
    target = line()
    # "moments" never asks for the covariance but at infinite noise, where nothing of it can be seen through the network
    c = target.denoiser(schedule).covariance
    linear = GuidedDenoiser(target.posterior(schedule), c, matrix=matrix, tolerance=1e-13)
    guided = NetworkGuidedDenoiser(linear, spread)
    for t in (1.0, 0.6, 0.2):
        x_t = Rng(0).normal((3, 1, 1, 8), like=LIKE) * schedule.sigma(t)
        t = torch.tensor(t, dtype=torch.float64)
        torch.testing.assert_close(guided(x_t, t), target.posterior_denoiser(schedule)(x_t, t), rtol=0, atol=1e-8)
    times = torch.tensor([0.6, 0.2, 0.2], dtype=torch.float64)
    each = torch.cat([guided(x[None], s) for x, s in zip(x_t, times, strict=True)])
    torch.testing.assert_close(guided(x_t, times), each, rtol=0, atol=1e-10)


def test_draws_by_moments_have_the_posteriors_moments() -> None:
    target, n = line(), 1000
    ensemble = Guided(Heun(), 30, covariance=DiagonalCovariance(torch.ones(1, 1, 8).double()), spread="moments", max_batch=n).sample(
        target.posterior(), n, rng=Rng(1)
    )
    x, c = ensemble.members.flatten(1), target.posterior_covariance
    std = c.diagonal().sqrt()
    # 4 standard errors, and 5 % for 30 steps of Heun
    assert bool(((x.mean(0) - target.posterior_mean).abs() <= (4 / math.sqrt(n) + 0.05) * std).all())
    assert bool(((x.var(0) / std**2 - 1).abs() <= 4 * math.sqrt(2 / n) + 0.05).all())
    assert int(ensemble.info["nfe"]) == 59 and int(ensemble.info["operator_calls"]) > 59
    assert abs(float(ensemble.info["misfit"].mean()) - 1) < 0.5


class Sinh(Transform):
    """Fields that are the sinh of their coefficients: a decoder that is not linear."""

    def _encode(self, x, cond=None):
        return torch.asinh(x)

    def _decode(self, z, cond=None):
        return torch.sinh(z)

    def out_shape(self, shape):
        return shape


@pytest.mark.parametrize("spread", [None, "none", "prior", "moments", "readings"])
def test_readings_reach_through_a_decoder_that_is_not_linear(spread) -> None:
    """A sharp reading of the decoded field that differs a little from it: D_y decodes to the reading, up to the square of the step."""
    target = GaussianTarget(d(0.0, 0.0), d([1.0, 0.5], [0.5, 1.0]), d([1.0, 0.0]), d(0.8), d(1e-6))
    posterior = target.posterior()
    posterior.prior.transform = Sinh()
    x, t = d(0.9, 0.2).reshape(1, 1, 1, 2), torch.tensor(0.1).double()
    start = posterior.prior.denoiser(x, t)
    linear = GuidedDenoiser(posterior, target.denoiser(EDMSchedule()).covariance)
    assert linear._matrix is None
    # a reading that differs from the decoded mean by a little
    small = 1e-4
    posterior.observations[0].y = torch.sinh(start.flatten()[:1]) + small
    guided = linear if spread is None else NetworkGuidedDenoiser(linear, spread, 1e-12 if spread == "none" else 1.0)
    moved = guided(x, t)
    gap = torch.sinh(moved.flatten()[0]) - posterior.observations[0].y[0]
    if spread in (None, "prior", "moments"):
        assert abs(float(gap)) < 2 * small**2  # Gauss-Newton: the error is the square of the step
    else:
        assert (moved - start).flatten()[0] > 0


def test_worded_errors() -> None:
    with pytest.raises(InputError, match="Guided spread"):
        Guided(spread="moment")
    with pytest.raises(InputError, match="Guided strength"):
        Guided(spread="none", strength=0.0)
