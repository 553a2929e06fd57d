"""Samplers that claim exactness against exact posteriors: evidence, mode weights and distance within 4 standard errors of some runs.

Targets, samplers and figures are those of `posterior_gates`. A standard error that is large proves nothing: it has a bound too. What the steps of a
prior's own sampler add to the evidence is allowed for as `bias`; that it is theirs, and falls with their number, is a test of its own.
"""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.guided import Guided
from physdiff.inference.hmc import HMC, NUTS
from physdiff.inference.twisted_smc import TwistedSMC
from tests.laws.posterior_gates import TARGETS, Gate, line, measured, methods, modes


def check(found: Gate, *, bias: float = 0.0, error: float = math.inf) -> None:
    """Evidence and weights within 4 standard errors and a bias, the distance within 4 of its own.

    Args:
        found: What runs gave.
        bias: Of evidence and weights, by the prior's steps.
        error: Largest standard error of the evidence that still says something; inf: the method gives no evidence.
    """
    if error < math.inf:
        assert found.ratio_error < error, found
        assert abs(found.ratio - 1) < 4 * found.ratio_error + bias, found
    assert found.shares < 4 or found.worst < bias, found
    # pointwise in the distribution functions of all slices, whose own errors must be those of a hundredth of the draws or better
    assert found.distance < 4 * found.distance_error + bias, found
    assert found.distance_error < 10 * found.floor, found


def test_twenty_five_modes_in_the_plane() -> None:
    method = TwistedSMC(steps=60, through_network=False, max_batch=500)
    check(measured(modes(2, 1, 0.5, 1), method, n=500, runs=3), bias=0.05, error=0.1)


@pytest.mark.parametrize("noise", [0.05, 0.5])
@pytest.mark.parametrize("spread", [None, pytest.param("moments", marks=pytest.mark.slow)])
def test_guidance_of_a_gaussian(noise, spread) -> None:
    """The prior's covariance and the denoiser's own; 30 steps of Heun make 5 % too much variance."""
    check(measured(line(4, noise, 2), Guided(Heun(), 30, spread=spread, max_batch=400), n=400, runs=3, sigma_max=80.0))


@pytest.mark.parametrize("name", [pytest.param("EnsembleKalman('eki')", marks=pytest.mark.slow), "EnsembleKalman('etkf')"])
def test_ensembles_of_a_gaussian(name) -> None:
    check(measured(line(4, 0.05, 2), methods(1000)[name][0], n=1000, runs=4, sigma_max=80.0))


# bias: what 100 steps of DDPM (TwistedSMC), 200 (AnnealedSMC) and 18 of Heun (TemperedSMC) do to a law
CASES = [
    ("gmm2, noise 0.05", "TwistedSMC", 0.05, 0.1),
    ("gmm2, noise 0.05", "TwistedSMC(through_network=False)", 0.05, 0.1),
    ("gmm2, noise 0.5", "TwistedSMC(through_network=False)", 0.05, 0.1),
    ("gmm2, noise 0.05", "AnnealedSMC(guidance=0)", 0.05, 0.15),
    ("gmm2, noise 0.05", "AnnealedSMC(guidance=0.5)", 0.05, 0.15),
    ("gmm2, noise 0.05", "AnnealedSMC(guidance=1)", 0.05, 0.15),
    ("gmm2, noise 0.5", "AnnealedSMC(guidance=0.5)", 0.05, 0.15),
    ("gmm80, noise 0.05", "TwistedSMC(through_network=False)", 0.05, 0.1),
    ("gmm80, noise 0.05", "TwistedSMC", 0.05, 0.1),
    ("gmm80, noise 0.05", "AnnealedSMC(guidance=0)", 0.05, 0.15),
    ("gauss16, noise 0.05", "AnnealedSMC(guidance=0)", 0.05, 0.15),
    ("gauss16, noise 0.05", "AnnealedSMC(guidance=0.5)", 0.05, 0.15),
    ("gauss16, noise 0.05", "AnnealedSMC(guidance=1)", 0.05, 0.15),
    ("gauss16, noise 0.05", "TemperedSMC", 0.05, 0.15),
    ("gauss16, noise 0.05", "TwistedSMC(through_network=False)", 0.12, 0.1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "name", "bias", "error"), CASES)
def test_the_gates(target, name, bias, error) -> None:
    law, sigma_max = TARGETS[target]
    sampler, n = methods(1000)[name]
    check(measured(law, sampler, n=n, runs=4, sigma_max=sigma_max), bias=bias, error=error)


@pytest.mark.slow
def test_what_is_left_is_the_steps_of_the_prior() -> None:
    """Four sharp readings: log evidence too high by 0.17, 0.08 and 0.03 with 50, 100 and 200 steps, as DDPM's own loss of spread falls."""
    off = [
        measured(line(4, 0.05, 2), TwistedSMC(steps=steps, through_network=False, max_batch=500), n=500, runs=3, sigma_max=80.0)
        for steps in (50, 100, 200)
    ]
    ratios = [g.ratio - 1 for g in off]
    assert ratios[0] > ratios[1] > ratios[2] > 0 and ratios[2] < 0.3 * ratios[0] and ratios[2] < 0.05, off


CHAINS = dict(chains=50, max_batch=50)
MOVES = [
    (0.05, HMC(ExactLinear(), 1, 40, warmup=100, draws=40, **CHAINS), 1.1),
    (0.05, NUTS(ExactLinear(), 1, 6, warmup=80, draws=30, **CHAINS), 1.05),
    (0.5, HMC(ExactLinear(), 1, 10, warmup=100, draws=40, **CHAINS), 1.1),
    (0.5, NUTS(ExactLinear(), 1, 5, warmup=80, draws=30, **CHAINS), 1.05),
]


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "method", "mixed"), MOVES, ids=["sharp, HMC", "sharp, NUTS", "HMC", "NUTS"])
def test_chains_of_a_gaussian(noise, method, mixed) -> None:
    """Sixteen entries, readings up to twenty times sharper than the prior: means and variances within 4 standard errors from the chains, all mixed.

    R-hat of 40 draws is 1.07 and 1.06 with HMC, of 30 draws 1.03 and 1.04 with NUTS. `ExactLinear` in one step is the exact map from noise to the
    prior. Trajectories must be as long as the widest direction over the step, which the sharpest one sets: with 8 steps in place of 40 chains had
    R-hat 2 to 3 after 60 moves.
    """
    target = line(4, noise, 2)
    posterior = target.posterior(EDMSchedule(sigma_max=80.0), sampler=ExactLinear(), steps=1)
    run = method.sample(posterior, method.chains * method.draws, rng=Rng(1))
    off, variances = run.members.flatten(1) - target.posterior_mean, target.posterior_covariance.diagonal()
    rows = torch.cat([off, off**2 - variances], 1).reshape(method.draws, method.chains, -1).mean(0)
    error = rows.std(0) / math.sqrt(method.chains)
    assert bool((rows.mean(0).abs() < 4 * error).all()), rows.mean(0) / error
    # errors that say something: means to a tenth of a spread, variances to 15 %
    assert bool((error[:16] < 0.1 * variances.sqrt()).all()) and bool((error[16:] < 0.15 * variances).all()), error
    assert float(run.info["rhat"]) < mixed and int(run.info["divergences"]) == 0, run.info
