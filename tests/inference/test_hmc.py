"""HMC and NUTS on starting noise: T1 to T3, unknown diffusivity and state together against quadrature, recomputation, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.exact import GaussianTarget, plain_prior
from physdiff.inference.hmc import HMC, NUTS, NoiseTarget
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.posterior import Posterior
from tests.inference.test_feynman_kac import black_box, d, modes, plane
from tests.inference.test_solved import SPEC, TIMES, N, carried


def line() -> GaussianTarget:
    """T1 of methods/posterior 0.4: mean 0.266667, variance 0.333333."""
    return GaussianTarget(d(0.0), 0.5 * torch.eye(1).double(), d([1.0]), d(0.8), d(1.0))


def check_moments(run: Ensemble, mean: Tensor, covariance: Tensor, chains: int) -> None:
    """First and second moments within 4 standard errors of Monte Carlo, from the means of the chains, which are independent."""
    x = run.members.flatten(1)
    off = x - mean
    rows = torch.cat([off, torch.einsum("ni,nj->nij", off, off).flatten(1)], 1).reshape(-1, chains, x.shape[1] * (1 + x.shape[1])).mean(0)
    exact = torch.cat([torch.zeros_like(mean), covariance.flatten()])
    error = rows.std(0) / math.sqrt(chains)
    assert bool(((rows.mean(0) - exact).abs() < 4 * error).all()), (rows.mean(0) - exact) / error


@pytest.mark.parametrize(("method", "target"), [(HMC, line), (HMC, plane), (NUTS, plane), pytest.param(NUTS, line, marks=pytest.mark.slow)])
def test_moments_of_a_gaussian(method, target) -> None:
    """`ExactLinear` in one step is the exact map from noise to the prior, so that nothing but Monte Carlo is allowed for."""
    t = target()
    run = method(ExactLinear(), 1, 3, chains=200, warmup=20, draws=6, max_batch=200).sample(t.posterior(), 1200, rng=Rng(0))
    check_moments(run, t.posterior_mean, t.posterior_covariance, 200)
    assert run.equally_weighted and float(run.info["acceptance"]) > 0.6 and int(run.info["divergences"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", [HMC, NUTS])
def test_moments_of_two_modes(method) -> None:
    """T3, as the sampler draws its prior: 300 000 draws pushed through it and weighted by the likelihood are the truth to 0.002."""
    posterior, sampler, steps = modes().posterior(), DPMSolver2M(), 16
    z = Rng(9).normal((300_000, 1, 1, 2), like=d(0.0))
    with torch.no_grad():
        target = NoiseTarget(posterior, sampler, steps)
        x = torch.cat([posterior.decode(target.clean(part, Rng(0))) for part in z.split(20_000)])
        weights = torch.softmax(posterior.log_likelihood(x), 0)
    flat = x.flatten(1)
    mean = weights @ flat
    covariance = torch.einsum("n,ni,nj->ij", weights, flat - mean, flat - mean)
    assert float((mean - modes().posterior_mean).abs().max()) < 0.03  # what the steps themselves do
    run = method(sampler, steps, chains=200, warmup=60, draws=60, max_batch=200).sample(posterior, 12_000, rng=Rng(1))
    check_moments(run, mean, covariance, 200)


RATES = torch.linspace(-6, 3, 1801, dtype=torch.float64)  # of log k


def unknown_diffusivity() -> tuple[Posterior, Tensor, Tensor, Tensor]:
    """Waves 1 to 3 with unknown amplitudes (6 numbers, standard deviations 1/k), log k ~ N(-2, 0.8^2); 24 readings at t = 0.5 and 1, noise 0.1.

    Given k the readings are linear in the amplitudes, so that p(k | y) and E[amplitudes | y] follow from quadrature over log k. Returns the
    posterior, the density of log k on `RATES`, the mean amplitudes and the waves (6, N).
    """
    place = torch.arange(N, dtype=torch.float64) * 2 * math.pi / N
    orders = torch.tensor([1.0, 1, 2, 2, 3, 3], dtype=torch.float64)
    shifts = torch.tensor([0.0, math.pi / 2] * 3, dtype=torch.float64)

    def waves(points: Tensor, t: float) -> Tensor:
        return torch.sin(orders[:, None] * (points - t) + shifts[:, None])

    basis, std = waves(place, 0.0), 1 / orders
    rows = torch.zeros(7, 2 * N, dtype=torch.float64)
    rows[:6, :N], rows[6, N:] = basis * math.sqrt(2 / N), 1 / math.sqrt(N)
    values = torch.cat([std**2 * N / 2, d(0.64 * N)])
    mean = torch.zeros(2, 1, N, dtype=torch.float64)
    mean[1] = -2.0
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), mean, LowRankCovariance(rows, values)), SPEC, sampler=ExactLinear(), steps=1)
    seen = torch.arange(0, N, 4)
    matrix = torch.zeros(8, 1, 3, N, dtype=torch.float64)
    matrix[torch.arange(8), 0, torch.tensor([1, 2]).repeat(4), seen.repeat_interleave(2)] = 1
    moments, spots = TIMES[1:].repeat(4), place[seen].repeat_interleave(2)
    phases = torch.stack([waves(spots[i : i + 1], float(moments[i]))[:, 0] for i in range(8)])

    def design(log_k: Tensor) -> Tensor:
        return phases * torch.exp(-log_k.exp() * orders**2 * moments[:, None])

    truth = Rng(3).normal((6,), like=std) * std
    y = design(d(-1.5)[0]) @ truth + 0.1 * Rng(4).normal((8,), like=std)
    logs, means = [], []
    for log_k in RATES:
        a = design(log_k)
        given = GaussianTarget(torch.zeros(6).double(), torch.diag(std**2), a, y, torch.full((8,), 0.1).double())
        logs.append(given.log_evidence - 0.5 * ((float(log_k) + 2) / 0.8) ** 2)
        means.append(given.posterior_mean)
    weights = torch.softmax(torch.tensor(logs, dtype=torch.float64), 0)
    operator = carried(reading=MatrixOperator(matrix))
    return Posterior(prior, Observation(operator, y, std=0.1)), weights, weights @ torch.stack(means), basis


def run_joint(method) -> tuple[Tensor, list[float], Ensemble, int]:
    posterior, weights, amplitudes, basis = unknown_diffusivity()
    chains = method.chains
    run = method.sample(posterior, chains * method.draws, rng=Rng(0))
    log_k = run.members[:, 1, 0]
    assert float(log_k.std(1).max()) < 1e-6, "the parameter is constant in space"
    found = torch.cat([log_k[:, :1], log_k[:, :1] ** 2, run.members[:, 0, 0] @ basis.T * 2 / N], 1)
    exact = [float(weights @ RATES), float(weights @ RATES**2), *amplitudes.tolist()]
    return found.reshape(-1, chains, 8).mean(0), exact, run, chains


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [HMC(None, None, 6, chains=120, warmup=80, draws=40, max_batch=120), NUTS(None, None, 5, chains=120, warmup=80, draws=40, max_batch=120)],
    ids=["HMC", "NUTS"],
)
def test_diffusivity_and_state_together(method) -> None:
    """Means of log k, its square and the six amplitudes against quadrature, 4 standard errors from 120 chains."""
    each, exact, run, chains = run_joint(method)
    error = each.std(0) / math.sqrt(chains)
    off = (each.mean(0) - torch.tensor(exact).double()) / error
    assert bool((off.abs() < 4).all()), off
    assert float(error[0]) < 0.05 and int(run.info["divergences"]) < 0.01 * chains * method.draws


def test_recomputing_the_network_changes_nothing() -> None:
    """The gradient through Heun with the inside of the denoiser computed again is that of plain automatic differentiation, and differences agree."""
    posterior = modes().posterior()
    target = NoiseTarget(posterior, Heun(), 6)
    z = Rng(0).normal((3, 1, 1, 2), like=d(0.0))
    point = target(z)
    plain = z.clone().requires_grad_()
    times = Heun().grid(posterior.prior.denoiser, 6)
    x = Heun().run(posterior.prior.denoiser, posterior.prior.noisiest(plain, times[0], None), times, rng=Rng(0))
    value = posterior.log_likelihood(posterior.decode(x)) - 0.5 * plain.square().flatten(1).sum(1)
    (slope,) = torch.autograd.grad(value.sum(), plain)
    torch.testing.assert_close((point.value, point.slope, point.image), (value.detach(), slope, x.detach()))
    step = 1e-6 * Rng(1).normal(z.shape, like=z)
    change = (target(z + step).value - target(z - step).value) / 2
    torch.testing.assert_close(change, (slope * step).flatten(1).sum(1), rtol=1e-6, atol=1e-13)
    assert target.calls == 3 and target.evaluations_per_call == 11


def test_batches_and_keys() -> None:
    method = HMC(Heun(), 4, 1, chains=3, warmup=2, draws=4, max_batch=2)
    a, b = (method.sample(plane().posterior(), 7, rng=Rng(0)) for _ in range(2))
    assert torch.equal(a.members, b.members) and a.members.shape == (7, 1, 1, 2)
    assert int(a.info["nfe"]) == 7 * int(a.info["gradient_calls"])
    assert set(a.info) == {
        *("rhat", "ess_bulk", "ess_tail", "ess", "acceptance", "step_size", "divergences", "nfe", "gradient_calls", "operator_calls", "seconds"),
    }


def test_chains_that_have_not_mixed_are_told(caplog) -> None:
    HMC(Heun(), 4, 1, chains=3, warmup=0, draws=4).sample(plane(30.0).posterior(), 3, rng=Rng(0))
    assert "chains have not mixed" in caplog.text


def test_a_prior_with_a_noisy_sampler_gets_another() -> None:
    prior = plain_prior(modes().denoiser(EDMSchedule()), modes().window, sampler=DDPM(), steps=5)
    posterior = Posterior(prior, modes().posterior().observations)
    assert isinstance(NoiseTarget(posterior).sampler, DPMSolver2M)
    with pytest.raises(InputError, match="deterministic sampler, got DDPM, which adds noise; pass DPMSolver2M"):
        HMC(DDPM(), 4).sample(posterior, 8, rng=Rng(0))


def test_bad_input() -> None:
    with pytest.raises(InputError, match="use TemperedSMC for a black box"):
        HMC(Heun(), 4).sample(black_box(), 8, rng=Rng(0))
    with pytest.raises(InputError, match="at least 5 draws of each of 2 chains for 9 members, got 4; raise draws"):
        HMC(Heun(), 4, chains=2, draws=4).sample(plane().posterior(), 9, rng=Rng(0))
    with pytest.raises(InputError, match="trajectories of one step or more, got 0"):
        HMC(length=0)
    with pytest.raises(InputError, match="1 to 20 doublings, got 40"):
        NUTS(depth=40)
    with pytest.raises(InputError, match="acceptance in"):
        NUTS(acceptance=1.2)
