"""HMC and NUTS on starting noise: T1 and T2, recomputation of the network, states that a solver refuses, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
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
    assert target.calls == 3 and target.push.evaluations == 11


def test_a_state_that_an_operator_refuses_has_no_density() -> None:
    class Refuses(MatrixOperator):
        def __call__(self, x: Tensor) -> Tensor:
            if bool((x > 1e3).any()):
                raise InputError("too large")
            return super().__call__(x)

    posterior = Posterior(plane().posterior().prior, Observation(Refuses(torch.eye(2).double(), (1, 1, 2)), d(0.8, -0.4), std=1.0))
    target = NoiseTarget(posterior, ExactLinear(), 1)
    z = Rng(0).normal((3, 1, 1, 2), like=d(0.0))
    plain = target(z)
    z[1] = 1e5
    point = target(z)
    assert float(point.value[1]) == -torch.inf and bool((point.slope[1] == 0).all())
    torch.testing.assert_close(point.value[[0, 2]], plain.value[[0, 2]])
    with pytest.raises(InputError, match="too large"):
        NoiseTarget(posterior, ExactLinear(), 1)(z)


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
    assert isinstance(NoiseTarget(posterior).push.sampler, DPMSolver2M)
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
