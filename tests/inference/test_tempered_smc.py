"""Tempered particles: exponents, moments and evidence of Gaussian and mixture posteriors, black boxes, worded errors."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.inference.tempered_smc import TemperedSMC, next_exponent
from physdiff.inference.weights import LogWeights
from tests.inference.test_feynman_kac import black_box, mode_runs, modes, plane

LIKE = torch.zeros((), dtype=torch.float64)


def test_the_next_exponent_keeps_the_share() -> None:
    r, weights = 50 * Rng(0).normal((300,), like=LIKE), LogWeights.equal((300,))
    beta = next_exponent(weights, r, 0.2, share=0.5)
    assert 0.2 < beta < 1 and float(weights.cess((beta - 0.2) * r)) == pytest.approx(150, rel=1e-6)
    assert next_exponent(weights, r / 1e4, 0.2, share=0.5) == 1.0
    assert next_exponent(weights, 1e30 * r, 0.2, share=0.5) > 0.2


def test_moments_and_evidence_of_a_gaussian() -> None:
    """DDIM in 60 steps is a linear map of the noise that makes 7 % too little prior variance: 0.1 posterior std and 0.07 of log evidence allowed.

    Monte Carlo: 600 particles, whose walks leave perhaps a third of them independent: 4/sqrt(200) of a standard deviation, and its twice for Z.
    """
    target = plane(4.0)
    run = TemperedSMC(DDIM(), 60, particles=600, max_batch=600).sample(target.posterior(), 600, rng=Rng(1))
    x, std = run.members.flatten(1), target.posterior_covariance.diagonal().sqrt()
    assert run.equally_weighted
    assert bool(((x.mean(0) - target.posterior_mean).abs() < (4 / math.sqrt(200) + 0.1) * std).all())
    assert bool(((x.var(0) / std**2 - 1).abs() < 4 * math.sqrt(2 / 200) + 0.1).all())
    assert abs(float(run.info["log_evidence"]) - target.log_evidence) < 4 * math.sqrt(len(run.info["exponents"]) / 600) + 0.1
    assert float(run.info["exponents"][-1]) == 1 and bool((run.info["exponents"].diff() > 0).all())
    assert 0.05 < float(run.info["acceptance"].min()) <= 1


@pytest.mark.slow
def test_weights_of_modes() -> None:
    """T3 with Heun in 40 steps, whose own error in the weight and the evidence is below 0.005 and 0.01; 12 runs of 1000, 4 standard errors."""
    method = TemperedSMC(Heun(), 40, particles=1000, max_batch=1000)
    evidence, first = mode_runs(method, 12)
    assert abs(float(evidence.mean()) - modes().log_evidence) < 4 * float(evidence.std()) / math.sqrt(12) + 0.01
    assert abs(float(first.mean()) - 0.069466) < 4 * float(first.std()) / math.sqrt(12) + 0.005


def test_a_black_box() -> None:
    """The exact evidence of test_feynman_kac's black box, within 4 standard errors of one run of 400 (0.05) and DDIM's 0.05."""
    run = TemperedSMC(DDIM(), 30, particles=400, max_batch=400).sample(black_box(), 400, rng=Rng(0))
    assert float(run.info["log_evidence"]) == pytest.approx(-0.5 * (0.25 / 1.25 + math.log(2 * math.pi * 1.25)), abs=4 * 0.05 + 0.05)


def test_the_number_of_evaluations() -> None:
    run = TemperedSMC(Heun(), 4, 3).sample(plane().posterior(), 8, rng=Rng(0))
    assert int(run.info["nfe"]) == 7 * (1 + 3 * len(run.info["exponents"]))


def test_bad_input() -> None:
    with pytest.raises(InputError, match="deterministic sampler, got DDPM"):
        TemperedSMC(DDPM(), 4).sample(plane().posterior(), 8, rng=Rng(0))
    with pytest.raises(InputError, match="one move or more"):
        TemperedSMC(moves=0)
    with pytest.raises(InputError, match="TemperedSMC scheme"):
        TemperedSMC(scheme="best")
