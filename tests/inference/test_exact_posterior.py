"""Exact posteriors through units, wavelets and gaps; mixtures against quadrature, samplers' readings and one component; worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import MixtureTarget, plain_prior, plain_spec
from physdiff.inference.exact_posterior import ExactMixture, exact_posterior
from physdiff.inference.noise import CorrelatedNoise, StudentNoise
from physdiff.inference.observation import MatrixOperator, Observation, Operator
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.networks.mlp import MLP
from physdiff.transforms.compose import Compose
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform

LIKE = torch.zeros((), dtype=torch.float64)


def d(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def plane() -> MixtureTarget:
    """T3 of methods/posterior 0.4."""
    return MixtureTarget(d(0.3, 0.7), d([-1.0, -1.0], [1.0, 1.0]), d([0.1, 0.2], [0.2, 0.1]).sqrt(), d([1.0, 0.5]), d(0.2), d(0.5))


def test_exact_posterior_sees_through_units_wavelets_and_gaps() -> None:
    """Prior in normalised wavelet coefficients, readings in physical units, two operators, one gap: against conditioning by hand."""
    spec = FieldSpec(("u", "v"), ("K", "m"), CartesianGrid((4, 2), periodic=False), 1.0, 2)
    scale, offset = torch.tensor([2.0, 5.0]).reshape(2, 1, 1, 1), torch.tensor([280.0, -3.0]).reshape(2, 1, 1, 1)
    wavelet = WaveletTransform("db2", 1, ("time",), shape=(2, 4, 2), dims=("y", "x"))
    transform = Compose((Normalizer(("channel",), offset.double(), scale.double()), wavelet))
    latent = transform.out_shape(spec.shape)
    size, q = math.prod(latent), math.prod(spec.shape)
    root = Rng(4).normal((size, size), like=LIKE)
    c = root @ root.T / size
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), Rng(5).normal(latent, like=LIKE), dense_covariance(c)), spec)
    prior.transform = transform
    sensors = Sensors(spec, d([0.3, 0.4], [0.7, 0.6]), ("v",))
    y = d([[-4.0, torch.nan], [-3.5, -2.0]])
    mean = MatrixOperator(torch.full((1, *spec.shape), 1 / q).double())
    posterior = Posterior(prior, (Observation(sensors, y, std=0.3), Observation(mean, d(140.0), std=0.1)))
    target = exact_posterior(posterior)
    decode = torch.stack([(posterior.decode(e) - posterior.decode(0 * e)).flatten() for e in torch.eye(size).double().reshape(size, 1, *latent)], 1)
    m = posterior.decode(prior.denoiser.mean[None]).flatten()
    torch.testing.assert_close(target.mean, m, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(target.covariance, decode @ c @ decode.T, rtol=0, atol=1e-11)
    assert target.matrix.shape == (4, q)
    draws = m + Rng(6).normal((5, size), like=LIKE) @ root.T @ decode.T
    expected = torch.distributions.Normal(draws @ target.matrix.T, target.std).log_prob(target.y).sum(1)
    torch.testing.assert_close(posterior.log_likelihood(draws.reshape(5, *spec.shape)), expected, rtol=1e-11, atol=0)
    assert Rng(0) == Rng(0) and torch.equal(target.std, d(0.3, 0.3, 0.3, 0.1))


def test_a_mixture_is_its_target() -> None:
    """T3: the numbers of the card."""
    found = exact_posterior(plane().posterior())
    assert isinstance(found, ExactMixture) and found.window.shape == (1, 1, 2)
    assert found.log_evidence == pytest.approx(-2.610344, abs=1e-6)
    torch.testing.assert_close(found.posterior_weights, d(0.069466, 0.930534), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.posterior_means, d([-0.575, -0.575], [0.452632, 0.863158]), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.posterior_covariance, d([0.181218, 0.074205], [0.074205, 0.234008]), rtol=0, atol=1e-6)
    x = found.draw(20_000, rng=Rng(0)).flatten(1)
    error = (found.posterior_covariance.diagonal() / 20_000).sqrt()
    assert bool(((x.mean(0) - found.posterior_mean).abs() < 4 * error).all())


def test_a_mixture_through_units_and_turned_coefficients() -> None:
    """Three modes, one of them a point, over turned and scaled coefficients, noise that is correlated: against sums over draws of the prior.

    The likelihood of 200 000 prior draws gives evidence and mean to 4 standard errors.
    """
    spec = FieldSpec(("u",), ("K",), CartesianGrid((4,), periodic=False), 1.0)
    means, stds = Rng(1).normal((3, 2, 1, 2), like=LIKE), d(0.5, 0.8, 0.0)  # wavelet coefficients
    prior = plain_prior(MixtureDenoiser(EDMSchedule(), d(1.0, 2.0, 1.0), means, stds=stds), spec)
    wavelet = WaveletTransform("haar", 1, ("x",), shape=(1, 4), dims=("x",))
    prior.transform = Compose((Normalizer((), torch.tensor(280.0).double(), torch.tensor(2.0).double()), wavelet))
    noise = CorrelatedNoise(d([1.0, 0.4], [0.4, 2.0]))
    readings = Observation(Sensors(spec, d([0.2], [0.7])), 280 + d(1.0, -0.5).reshape(1, 1, 2), noise=noise)
    posterior = Posterior(prior, readings)
    found, n = exact_posterior(posterior), 200_000
    which = torch.tensor([0, 1, 1, 2])[Rng(2).integers(0, 4, (n,))]
    x = posterior.decode(means[which] + stds[which].reshape(-1, 1, 1, 1) * Rng(3).normal((n, 2, 1, 2), like=LIKE))
    weights = posterior.log_likelihood(x).exp()
    assert abs(float(weights.mean()) - math.exp(found.log_evidence)) < 4 * float(weights.std()) / math.sqrt(n)
    off = weights[:, None] * (x.flatten(1) - found.posterior_mean)
    assert bool((off.mean(0).abs() < 4 * off.std(0) / math.sqrt(n)).all())


def test_one_component_is_the_gaussian() -> None:
    mean, spread = Rng(4).normal((1, 1, 3), like=LIKE), d(0.3, 0.7, 1.1).reshape(1, 1, 3)
    spec = plain_spec((1, 1, 3))
    law = GaussianDenoiser(EDMSchedule(), mean, dense_covariance(torch.diag(spread.flatten() ** 2)))
    mixture = MixtureDenoiser(EDMSchedule(), d(2.0), mean[None], stds=spread[None])
    readings = Observation(MatrixOperator(Rng(5).normal((2, 1, 1, 3), like=LIKE)), d(0.3, -0.2), std=0.4)
    one, other = (exact_posterior(Posterior(plain_prior(p, spec), readings)) for p in (law, mixture))
    for name in ("posterior_mean", "posterior_covariance"):
        torch.testing.assert_close(getattr(other, name), getattr(one, name), rtol=0, atol=1e-14)
    assert other.log_evidence == pytest.approx(one.log_evidence, abs=1e-13)


class Bent(Operator):
    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) ** 2


def test_worded_errors() -> None:
    posterior = plane().posterior()
    with pytest.raises(InputError, match="expected linear operators, got Bent"):
        exact_posterior(Posterior(posterior.prior, Observation(Bent(), d(0.1, 0.2), std=0.1)))
    with pytest.raises(InputError, match="expected Gaussian noise, got StudentNoise"):
        exact_posterior(Posterior(posterior.prior, Observation(posterior.observations[0].operator, d(0.2), noise=StudentNoise(0.5))))
    network = PreconditionedDenoiser(MLP(2, 4), EDMSchedule())
    with pytest.raises(InputError, match="GaussianDenoiser or a MixtureDenoiser, got PreconditionedDenoiser"):
        exact_posterior(Posterior(plain_prior(network, posterior.prior.spec), posterior.observations))
