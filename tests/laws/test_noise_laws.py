"""Every noise law in every weighted sampler against quadrature, correlated noise in all methods against the closed form, refusals by name.

With the exact reverse kernel of the prior Z times a weighted mean is unbiased whatever the guidance: a few runs give its mean and standard error.
"""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.exact import GaussianTarget, plain_prior, plain_spec
from physdiff.inference.exact_posterior import exact_posterior
from physdiff.inference.feynman_kac import AnnealedSMC
from physdiff.inference.guided import Guided, GuidedDenoiser, prior_covariance
from physdiff.inference.noise import CorrelatedNoise, PoissonNoise, StudentNoise, ThresholdNoise
from physdiff.inference.observation import MatrixOperator, Observation, Operator
from physdiff.inference.posterior import Posterior
from physdiff.inference.tempered_smc import TemperedSMC
from physdiff.inference.twisted_smc import TwistedSMC
from tests.inference.reverse_kernel import ReverseKernel

LIKE = torch.zeros((), dtype=torch.float64)
VARIANCE, RUNS = 0.5, 9
METHODS = {
    "FKC": lambda: AnnealedSMC(ReverseKernel(VARIANCE), 6, 0.5, particles=128, max_batch=128),
    "bootstrap": lambda: AnnealedSMC(ReverseKernel(VARIANCE), 6, 0.0, particles=128, max_batch=128),
    "twisted": lambda: TwistedSMC(ReverseKernel(VARIANCE), 6, particles=128, max_batch=128),
    "tempered": lambda: TemperedSMC(ExactLinear(), 2, particles=128, max_batch=128),
}


class Detector(Operator):
    """Counts expected by a detector, 3 + 2 x: negative for one draw of the prior in sixty."""

    def __call__(self, x):
        return 3 + 2 * x.flatten(1)


def line(noise, operator, y: float, shape=(1, 1, 1)) -> Posterior:
    spec, unit = plain_spec(shape), torch.eye(math.prod(shape), dtype=torch.float64)
    denoiser = GaussianDenoiser(EDMSchedule(), torch.zeros(shape, dtype=torch.float64), dense_covariance(VARIANCE * unit))
    return Posterior(plain_prior(denoiser, spec), Observation(operator, torch.as_tensor(y).double(), noise=noise))


def quadrature(posterior: Posterior) -> torch.Tensor:
    """p(y), and the integrals of x and x^2 with it, by sums so fine that their error is rounding."""
    x = torch.linspace(-8, 8, 40001, dtype=torch.float64) * math.sqrt(VARIANCE)
    weight = torch.exp(-0.5 * x**2 / VARIANCE + posterior.log_likelihood(x.reshape(-1, 1, 1, 1))) / math.sqrt(2 * math.pi * VARIANCE)
    return torch.stack([(weight * x**k).sum() * (x[1] - x[0]) for k in range(3)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("law", ["student", "poisson", pytest.param("event", marks=pytest.mark.slow)])
def test_weighted_samplers_against_quadrature(method, law) -> None:
    if law == "student":
        posterior = line(StudentNoise(0.3, 2.5), MatrixOperator(torch.ones(1, 1).double(), (1, 1, 1)), 1.6)
    elif law == "event":  # beyond one standard deviation, in soft limits of a seventh
        posterior = line(ThresholdNoise(0.1), MatrixOperator(torch.ones(1, 1).double(), (1, 1, 1)), 0.7)
    else:
        posterior = line(PoissonNoise(), Detector(), 2.0)
    rows = []
    for seed in range(RUNS):
        run = METHODS[method]().sample(posterior, 128, rng=Rng(seed))
        x = run.members.flatten()
        rows.append(torch.exp(run.info["log_evidence"]) * torch.stack([x.new_ones(()), run.weights @ x, run.weights @ x**2]))
    found, exact = torch.stack(rows), quadrature(posterior)
    error = found.std(0) / math.sqrt(RUNS)
    # the exponents of tempering follow the particles: a bias of order 1/particles (3 % at 256, 1 % at 2048 of the sharp reading here)
    bias = 0.05 * exact.abs() if method == "tempered" else 0.0
    assert bool(((found.mean(0) - exact).abs() <= 4 * error + bias).all()), (found.mean(0) - exact) / error
    # and the error itself says something
    assert float(error[0] / exact[0]) < 0.1


def test_guidance_by_an_event_is_exact_for_a_gaussian() -> None:
    """x > 1 for N(0, 1) at noise 1.5 and x = 0.7: log Phi((D - 1)/sqrt v) with z = -0.942990, and its slope in x, 0.547182 with the score's sign."""
    x = torch.tensor([[0.7]], dtype=torch.float64, requires_grad=True)
    share, left = 1 / (1 + 1.5**2), 1.5**2 / (1 + 1.5**2)
    sharp = ThresholdNoise(1e-9)
    value = sharp.log_prob(1 - share * x, torch.tensor(left).double())
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert float(value.detach()) == pytest.approx(math.log(0.5 * math.erfc(0.942990 / math.sqrt(2))), abs=1e-5)
    assert float(slope) == pytest.approx(0.547182, abs=1e-6)
    # the whole prior as the extra variance: the probability of the event
    assert float(sharp.log_prob(torch.ones(1, 1).double(), torch.ones(1).double())) == pytest.approx(-1.841022, abs=1e-6)
    below = ThresholdNoise(1e-9, above=False).log_prob(torch.ones(1, 1).double(), torch.ones(1).double())
    assert float(below) == pytest.approx(math.log(1 - math.exp(-1.841022)), abs=1e-6)


def correlated(std: float = 0.4) -> tuple[Posterior, GaussianTarget]:
    """Three readings of errors that go together; the target written out with R's own inverse, not with what is tested."""
    matrix, y = torch.tensor([[1.0, 0.4], [-0.2, 0.7], [0.5, 0.5]]).double(), torch.tensor([0.8, -0.4, 0.6]).double()
    c = torch.tensor([[1.0, 0.8, 0.6], [0.8, 1.0, 0.8], [0.6, 0.8, 1.0]]).double()
    posterior = line(CorrelatedNoise(c, std), MatrixOperator(matrix, (1, 1, 2)), y, (1, 1, 2))
    lower = torch.linalg.cholesky(std**2 * c)
    white = torch.linalg.solve_triangular(lower, torch.cat([matrix, y[:, None]], 1), upper=False)
    return posterior, GaussianTarget(torch.zeros(2).double(), VARIANCE * torch.eye(2).double(), white[:, :2], white[:, 2], torch.ones(3).double())


def test_correlated_noise_in_the_closed_form_and_in_guidance() -> None:
    posterior, target = correlated()
    found = exact_posterior(posterior)
    torch.testing.assert_close(found.posterior_mean, target.posterior_mean)
    torch.testing.assert_close(found.posterior_covariance, target.posterior_covariance)
    # whitening by Cholesky scales the density of y by the determinant of its factor; turning by eigenvectors does not
    determinant = torch.linalg.slogdet(0.4**2 * posterior.observations[0].noise.covariance)[1]
    assert found.log_evidence == pytest.approx(target.log_evidence - 0.5 * float(determinant), abs=1e-10)
    x_t = Rng(1).normal((4, 1, 1, 2), like=LIKE)
    for t in (0.9, 0.4):
        expected = target.posterior_denoiser(EDMSchedule())(x_t, torch.tensor(t))
        for matrix in (True, False):
            guided = GuidedDenoiser(posterior, prior_covariance(posterior), matrix=matrix, tolerance=1e-12)
            torch.testing.assert_close(guided(x_t, torch.tensor(t)), expected, rtol=0, atol=1e-9)
    # one sensor lost: the covariance is cut, not the factor
    fewer = Observation(posterior.observations[0].operator, torch.tensor([0.8, torch.nan, 0.6]), noise=posterior.observations[0].noise)
    rows, c = [0, 2], posterior.observations[0].noise.covariance
    cut = Observation(
        MatrixOperator(posterior.observations[0].operator.matrix[rows], (1, 1, 2)), fewer.y[rows], noise=CorrelatedNoise(c[rows][:, rows], 0.4)
    )
    one, other = (exact_posterior(Posterior(posterior.prior, o)) for o in (fewer, cut))
    torch.testing.assert_close(one.posterior_mean, other.posterior_mean)
    assert one.log_evidence == pytest.approx(other.log_evidence, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_correlated_noise_in_weighted_samplers(method) -> None:
    posterior, _ = correlated(1.0)
    exact = exact_posterior(posterior)
    runs = [METHODS[method]().sample(posterior, 128, rng=Rng(seed)) for seed in range(RUNS)]
    ratio = torch.stack([torch.exp(r.info["log_evidence"] - exact.log_evidence) for r in runs])
    mean = torch.stack([q * (r.weights @ r.members.flatten(1)) for q, r in zip(ratio, runs, strict=True)])
    found, goal = torch.cat([ratio[:, None], mean], 1), torch.cat([torch.ones(1).double(), exact.posterior_mean])
    assert bool(((found.mean(0) - goal).abs() <= 4 * found.std(0) / math.sqrt(RUNS)).all())


def test_guidance_refuses_other_laws_and_names_who_takes_them() -> None:
    with pytest.raises(InputError, match="got PoissonNoise; use a weighted sampler .TwistedSMC, AnnealedSMC or TemperedSMC."):
        Guided().sample(line(PoissonNoise(), Detector(), 2.0), 1, rng=Rng(0))
    with pytest.raises(InputError, match="expected Gaussian noise, got StudentNoise"):
        exact_posterior(line(StudentNoise(1.0), MatrixOperator(torch.ones(1, 1), (1, 1, 1)), 0.0))
    with pytest.raises(InputError, match="expected counts"):
        line(PoissonNoise(), Detector(), 2.5)
