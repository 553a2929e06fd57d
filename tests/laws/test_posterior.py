"""Posterior samplers on targets with a known answer: guidance is exact on Gaussian priors, in any representation, and biased without a covariance.

Monte Carlo comparisons allow 4 standard errors. Samplers are deterministic; what their finite steps add is known in closed form for a
Gaussian (every mode is multiplied by a number per step) and allowed for as `bias`.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance, dense_covariance
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, VPSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import FieldTarget, GaussianTarget, ar1_covariance, ar1_target, field_spectrum, plain_prior
from physdiff.inference.exact_posterior import exact_posterior
from physdiff.inference.guided import Guided, GuidedDenoiser
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.transforms.compose import Compose
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform

LIKE = torch.zeros((), dtype=torch.float64)


def d(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def line(length: int = 16) -> GaussianTarget:
    """A correlated line of points with a mean, four of them read."""
    matrix = torch.eye(length, dtype=torch.float64)[[1, 5, 6, 13]]
    mean = torch.linspace(-0.5, 0.5, length, dtype=torch.float64)
    return GaussianTarget(mean, ar1_covariance(length, 0.9), matrix, d(1.2, -0.4, -0.3, 0.8), d(0.3, 0.2, 0.2, 0.5))


def check_moments(members: Tensor, target: GaussianTarget, *, bias: float = 0.0) -> None:
    """Means within 4 standard errors, the variance of every entry too; `bias` allows for a sampler's own relative error."""
    n = len(members)
    x, c = members.flatten(1).double(), target.posterior_covariance
    std = c.diagonal().sqrt()
    assert bool(((x.mean(0) - target.posterior_mean).abs() <= (4 / math.sqrt(n) + bias) * std).all())
    # the variance of a normal sample has relative standard error sqrt(2/(n-1))
    assert bool(((x.var(0) / std**2 - 1).abs() <= 4 * math.sqrt(2 / (n - 1)) + bias).all())


@pytest.mark.parametrize("schedule", [EDMSchedule(), VPSchedule(), CosineSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("t", [1.0, 0.6, 0.2])
@pytest.mark.parametrize("matrix", [True, False], ids=["matrix", "matrix-free"])
def test_guided_denoiser_is_the_conditional_mean(schedule, t, matrix) -> None:
    """At every level of every schedule, infinite noise included: E[x_0 | x_t, y] to rounding."""
    target = line()
    guided = GuidedDenoiser(target.posterior(schedule), target.denoiser(schedule).covariance, matrix=matrix, tolerance=1e-12)
    x_t = Rng(0).normal((3, 1, 1, 16), like=LIKE) * schedule.sigma(t)
    t = torch.tensor(t, dtype=torch.float64)
    # x_t of size sigma, up to 80, enters with weight alpha/sigma^2: rounding stays at some 1e-13
    torch.testing.assert_close(guided(x_t, t), target.posterior_denoiser(schedule)(x_t, t), rtol=0, atol=1e-10)


def test_score_of_the_likelihood_in_one_dimension() -> None:
    """methods/posterior 3.3: prior variance 2, noise variance 0.5, y = 1, x = 1.7; gradient of log p(y | x_t) at sigma = 0.1, 1, 5.

    The guided denoiser holds it: log p(y | x_t) has gradient (D_y - D)/sigma^2 on a schedule without scale. The figures with C = I are those of
    PiGDM with r^2 = sigma^2/(1 + sigma^2), but for its Jacobian J = 2/(2 + sigma^2) against the r^2/sigma^2 = 1/(1 + sigma^2) used here.
    """
    target = GaussianTarget(d(0.0), d([2.0]), d([1.0]), d(1.0), d(math.sqrt(0.5)))
    posterior = target.posterior()
    schedule = posterior.prior.denoiser.schedule
    x = d(1.7).reshape(1, 1, 1, 1)
    for sigma, exact, pigdm in ((0.1, -1.349351, -1.349481), (1.0, -0.076190, -0.088889), (5.0, 0.027530, 0.044300)):
        t = schedule.time_of(-math.log(sigma))
        for variance, expected in ((2.0, exact), (1.0, pigdm * (1 / (1 + sigma**2)) / (2 / (2 + sigma**2)))):
            guided = GuidedDenoiser(posterior, DiagonalCovariance(torch.full((1, 1, 1), variance)))
            score = (guided(x, t) - posterior.prior.denoiser(x, t)) / sigma**2
            # published to six decimals; sigma comes back from its logarithm
            torch.testing.assert_close(score.flatten(), d(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("sampler", "steps", "bias"), [(Heun(), 60, 0.02), (DDIM(), 120, 0.08)], ids=["Heun", "DDIM"])
def test_draws_have_the_moments_of_the_posterior(sampler, steps, bias) -> None:
    """With geometric levels from 80 to 0.002 variances come out 0.8 % too large by 60 steps of Heun, 4.4 % too small by 120 of DDIM."""
    target = line()
    ensemble = Guided(sampler, steps, max_batch=2000).sample(target.posterior(), 4000, rng=Rng(1))
    check_moments(ensemble.members, target, bias=bias)
    assert int(ensemble.info["nfe"]) == (2 * steps - 1 if isinstance(sampler, Heun) else steps)


def test_a_trajectory_read_at_both_ends() -> None:
    target = ar1_target(4, 0.9, seen=(0, 3), y=d(1.0, -1.0), std=0.5)
    members = Guided(Heun(), 60, max_batch=4000).sample(target.posterior(), 4000, rng=Rng(2)).members
    check_moments(members, target, bias=0.02)
    expected = target.posterior_covariance
    correlation = torch.corrcoef(members.flatten(1).T)[0, 1]
    assert abs(float(correlation - expected[0, 1] / (expected[0, 0] * expected[1, 1]).sqrt())) < 4 / math.sqrt(4000)


def test_the_error_of_the_steps_falls_as_the_samplers_order_says() -> None:
    """The same noise through few and many steps: Heun's difference falls by about 4 when the steps double, DDIM's by about 2."""
    posterior = line().posterior()
    for sampler, order in ((Heun(), 2), (DDIM(), 1)):
        runs = [Guided(sampler, steps).sample(posterior, 8, rng=Rng(3)).members for steps in (20, 40, 80, 640)]
        errors = [float((run - runs[-1]).abs().mean()) for run in runs[:-1]]
        rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
        assert all(rate > order - 0.4 for rate in rates), rates


def smooth_field() -> tuple[FieldSpec, Tensor]:
    """A random field on a non-square grid and its covariance matrix."""
    grid = CartesianGrid((8, 16), extent=(1.0, 2.0), origin=(0.0, -1.0))
    spec = FieldSpec(("t",), ("K",), grid, 3600.0)
    target = FieldTarget(spec, field_spectrum(grid, alpha=2.0, tau=6.0, std=3.0), torch.ones(grid.shape), torch.zeros(grid.shape), 1.0)
    unit = torch.eye(128, dtype=torch.float64).reshape(128, *spec.shape)
    return spec, target.denoiser(EDMSchedule()).covariance(unit).reshape(128, 128)


def stations(spec: FieldSpec, n: int = 12) -> Observation:
    points = Rng(7).uniform((n, 2), like=LIKE) * d(2.0, 1.0) + d(-1.0, 0.0)
    return Observation(Sensors(spec, points), 280 + 3 * Rng(8).normal((n,), like=LIKE), std=0.3)


@pytest.mark.slow
def test_pixels_and_wavelets_give_the_same_posterior() -> None:
    """The prior written in orthonormal wavelet coefficients of the normalised field: the same exact posterior, which the draws of both have."""
    spec, covariance = smooth_field()
    normal = Normalizer(("channel",), torch.full((1, 1, 1, 1), 280.0).double(), torch.full((1, 1, 1, 1), 3.0).double())
    wavelet = WaveletTransform("db2", 2, shape=(1, 8, 16), dims=("y", "x"), periodic=(True, True))
    unit = torch.eye(128, dtype=torch.float64).reshape(128, *spec.shape)
    forward = wavelet.encode(unit).flatten(1)
    priors = []
    for transform, matrix in ((normal, covariance / 9), (Compose((normal, wavelet)), forward.T @ covariance @ forward / 9)):
        latent = transform.out_shape(spec.shape)
        prior = plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(latent).double(), dense_covariance(matrix)), spec, steps=60)
        prior.transform = transform
        priors.append(prior)
    pixel, wave = (Posterior(prior, stations(spec)) for prior in priors)
    exact = [exact_posterior(p) for p in (pixel, wave)]
    torch.testing.assert_close(exact[0].posterior_mean, exact[1].posterior_mean, rtol=0, atol=1e-9)
    torch.testing.assert_close(exact[0].posterior_covariance, exact[1].posterior_covariance, rtol=0, atol=1e-9)
    assert math.isclose(exact[0].log_evidence, exact[1].log_evidence, rel_tol=1e-9)
    # one level, same state: the guided means are one
    x_t = pixel.prior.transform.encode(280 + 30 * Rng(9).normal((4, *spec.shape), like=LIKE))
    t = torch.tensor(0.5)
    means = [
        posterior.decode(GuidedDenoiser(posterior, posterior.prior.denoiser.covariance)(state, t))
        for posterior, state in ((pixel, x_t), (wave, wavelet.encode(x_t)))
    ]
    torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-9)
    for posterior in (pixel, wave):
        check_moments(Guided(max_batch=1000).sample(posterior, 2000, rng=Rng(10)).members, exact[0], bias=0.02)


def test_without_a_covariance_guidance_is_biased_on_a_correlated_prior() -> None:
    """PiGDM with C = I, measured: readings do not spread, where their own prior carries them along (practice.md E2 found 0.69 K against 0.43 K).

    On this field the mean of the draws is off by 0.42 prior standard deviations (root mean square over the grid; 20 standard errors) and their
    variance is 1.34 times the posterior's; with the covariance 0.027 (1.2 standard errors) and 0.99. More steps or members do not mend that.
    """
    spec, covariance = smooth_field()
    normal = Normalizer(("channel",), torch.full((1, 1, 1, 1), 280.0).double(), torch.full((1, 1, 1, 1), 3.0).double())
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(spec.shape).double(), dense_covariance(covariance / 9)), spec, steps=60)
    prior.transform = normal
    posterior = Posterior(prior, stations(spec))
    exact = exact_posterior(posterior)
    identity = DiagonalCovariance(torch.ones(spec.shape, dtype=torch.float64))
    off, wide = {}, {}
    for name, c in (("own", None), ("identity", identity)):
        members = Guided(covariance=c, max_batch=1000).sample(posterior, 1000, rng=Rng(11)).members
        off[name] = float(((members.mean(0).flatten() - exact.posterior_mean) ** 2).mean().sqrt()) / 3.0
        wide[name] = float((members.flatten(1).var(0) / exact.posterior_covariance.diagonal()).mean())
    assert off["own"] < 0.04 and 0.95 < wide["own"] < 1.05
    assert 0.35 < off["identity"] < 0.5 and 1.2 < wide["identity"] < 1.5
