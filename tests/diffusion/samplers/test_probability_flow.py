"""The flow to a tolerance, and log densities: exact and Hutchinson's, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance, dense_covariance
from physdiff.diffusion.samplers.probability_flow import ProbabilityFlow, log_likelihood
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, VESchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)


def normal(*shape: int, key: str = "x") -> Tensor:
    return Rng(2).child(key).normal(shape, like=LIKE)


def gaussian(schedule) -> tuple[GaussianDenoiser, Tensor, Tensor]:
    root, mean = normal(6, 6, key="r") / 2, normal(2, 1, 3, key="m")
    c = root @ root.T + 0.1 * torch.eye(6, dtype=torch.float64)
    return GaussianDenoiser(schedule, mean, dense_covariance(c)), mean, c


@pytest.mark.parametrize("schedule", [VPSchedule(), VESchedule(), CosineSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_the_flow_of_a_gaussian_whatever_the_grid(schedule) -> None:
    denoiser, mean, _ = gaussian(schedule)
    x = normal(3, 2, 1, 3)
    (a, s), (b, r) = schedule(0.9), schedule(0.1)
    wanted = b * mean + denoiser.covariance.apply_function(lambda c: torch.sqrt((b**2 * c + r**2) / (a**2 * c + s**2)), x - a * mean)
    for times in ([0.9, 0.1], [0.9, 0.5, 0.1]):
        out = ProbabilityFlow(1e-9).run(denoiser, x, torch.tensor(times, dtype=torch.float64), rng=Rng(0))
        torch.testing.assert_close(out, wanted, rtol=1e-7, atol=1e-7)


def test_the_steps_at_infinite_noise_and_to_clean() -> None:
    denoiser, _, _ = gaussian(RectifiedSchedule())
    x = normal(3, 2, 1, 3)
    whole = ProbabilityFlow(1e-8).run(denoiser, x, torch.tensor([1.0, 0.999, 0.001, 0.0]).double(), rng=Rng(0))
    # the law of the noisiest level is N(0, 1) up to 1e-3, and the last mean lacks 1e-6 of the variance
    wanted = denoiser.mean + denoiser.covariance.apply_function(torch.sqrt, x)
    torch.testing.assert_close(whole, wanted, rtol=0, atol=1e-2)


@pytest.mark.parametrize("schedule", [VPSchedule(), EDMSchedule(1e-5, 500.0)], ids=["vp", "edm"])
def test_log_density_of_a_gaussian(schedule) -> None:
    denoiser, mean, c = gaussian(schedule)
    x = mean + 1.3 * normal(2, 2, 1, 3)
    wanted = torch.distributions.MultivariateNormal(mean.flatten(), c).log_prob(x.flatten(1))
    got = log_likelihood(denoiser, x, start=denoiser, tol=1e-6)
    # the density of data with noise 1e-4 differs by 1e-8/eigenvalue (0.1 the smallest); some tens of steps of 1e-6
    torch.testing.assert_close(got, wanted, rtol=0, atol=3e-5)


def test_log_density_of_a_mixture_to_a_millionth() -> None:
    schedule = EDMSchedule(1e-5, 1000.0)
    means = torch.tensor([-1.5, 1.0]).double().reshape(2, 1, 1, 1)
    mixture = MixtureDenoiser(schedule, torch.tensor([0.4, 0.6]), means, stds=torch.tensor([0.35, 0.5]).double())
    mean, variance = mixture.moments()
    x = torch.linspace(-2.4, 2.2, 5).double().reshape(5, 1, 1, 1)
    got = log_likelihood(mixture, x, start=GaussianDenoiser(schedule, mean, DiagonalCovariance(variance)), tol=1e-7)
    density = torch.distributions.Normal(means.reshape(1, 2), torch.tensor([0.35, 0.5]).double())
    wanted = torch.logsumexp(density.log_prob(x.reshape(5, 1)) + torch.tensor([0.4, 0.6]).double().log(), 1)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


def test_hutchinson_is_unbiased_and_exact_where_the_jacobian_is_diagonal() -> None:
    schedule, variance = VPSchedule(), torch.tensor([0.5, 1.0, 2.0]).double().reshape(1, 1, 3)
    diagonal = GaussianDenoiser(schedule, torch.zeros_like(variance), DiagonalCovariance(variance))
    x = normal(2, 1, 1, 3)
    exact = log_likelihood(diagonal, x, start=diagonal, tol=1e-5)
    torch.testing.assert_close(log_likelihood(diagonal, x, start=diagonal, tol=1e-5, probe=Rng(1)), exact, rtol=0, atol=1e-3)
    denoiser, _, _ = gaussian(schedule)
    one = normal(1, 2, 1, 3)
    exact = float(log_likelihood(denoiser, one, start=denoiser, tol=1e-4))
    draws = log_likelihood(denoiser, one.expand(400, -1, -1, -1), start=denoiser, tol=1e-3, probe=Rng(1))
    assert float(draws.mean()) == pytest.approx(exact, abs=4 * float(draws.std()) / 20)


def test_refusals() -> None:
    denoiser, _, _ = gaussian(VPSchedule())
    with pytest.raises(InputError, match="finite ends"):
        log_likelihood(denoiser, normal(1, 2, 1, 3), start=denoiser, smallest=2.0, largest=1.0)
    with pytest.raises(InputError, match="positive"):
        ProbabilityFlow(0.0)
