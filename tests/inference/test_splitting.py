"""Split Gibbs against its stationary law, RED-diff against the MAP, DiffPIR against its formula, a decoder that is not linear, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.schedule import VPSchedule
from physdiff.inference.exact import GaussianTarget
from physdiff.inference.splitting import DAPS, DiffPIR, REDDiff, SplitGibbs
from tests.inference.test_network_guided import Sinh


def d(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def t1() -> GaussianTarget:
    """Prior N(0, 0.5), y = 0.8 with noise 1."""
    return GaussianTarget(d(0.0), d([0.5]), d([1.0]), d(0.8), d(1.0))


def t2(std: float = 1.0) -> GaussianTarget:
    return GaussianTarget(d(0.0, 0.0), 0.5 * torch.eye(2).double(), d([1.0, 0.4], [-0.2, 0.7]), d(0.8, -0.4), d(std, std))


# methods/posterior 3.3, 3: the x-marginal on T1 by coupling
STATIONARY = {1.0: (0.16, 0.40), 0.3: (0.251572, 0.342767), 0.1: (0.264901, 0.334437)}


def check_stationary(rho: float, n: int, rounds: int, *, inner: int, bias: float) -> None:
    """4 standard errors, and `bias` for the inner steps."""
    mean, variance = STATIONARY[rho]
    x = SplitGibbs(rounds, (2.0, rho), 0.5, inner=inner, max_batch=n).sample(t1().posterior(), n, rng=Rng(0)).members.flatten()
    assert abs(float(x.mean()) - mean) < 4 * math.sqrt(variance / n) + bias * mean
    assert abs(float(x.var()) / variance - 1) < 4 * math.sqrt(2 / n) + bias


def test_split_gibbs_has_its_stationary_law() -> None:
    check_stationary(0.3, 150, 6, inner=6, bias=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "rounds"), [(1.0, 12), (0.3, 30)])
def test_split_gibbs_has_its_stationary_law_closely(rho, rounds) -> None:
    check_stationary(rho, 1500, rounds, inner=20, bias=0.03)


def test_red_diff_is_the_map_and_no_draw() -> None:
    """methods/posterior 3.3, 7: on a Gaussian the MAP is the mean; runs from different starts end on it."""
    for target in (t2(), t2(0.05)):
        ensemble = REDDiff(160).sample(target.posterior(), 3, rng=Rng(0))
        # the prior smoothed by 0.02: its precision is off by 0.02^2/0.5; 160 steps of Adam leave some 3e-3
        torch.testing.assert_close(ensemble.members.flatten(1), target.posterior_mean.expand(3, 2), rtol=0, atol=6e-3)
        assert bool(ensemble.info["point"]) and int(ensemble.info["nfe"]) == 320


def test_a_step_of_diffpir_is_a_weighted_mean() -> None:
    """One level, T1: D = x/(1 + 2 u^2), then the mean of y and D with weights 1 and weight/u^2; VP too, whose states are scaled."""
    for schedule in (None, VPSchedule()):
        posterior = t1().posterior(schedule)
        ensemble = DiffPIR(1, weight=4.0).sample(posterior, 3, rng=Rng(1))
        schedule = posterior.prior.denoiser.schedule
        u = min(float(schedule.noise_ratio(1.0)), 200.0)
        x = u * Rng(1).child("start").normal_each(range(3), (1, 1, 1), like=posterior.state).flatten()
        mean, trust = x / (1 + 2 * u**2), 4 / u**2
        torch.testing.assert_close(ensemble.members.flatten(), (0.8 + trust * mean) / (1 + trust), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "sampler", [DAPS(12, moves=10), DiffPIR(20), SplitGibbs(12, (1.0, 0.05), inner=8), REDDiff(60)], ids=lambda s: type(s).__name__
)
def test_the_decoder_is_in_the_loop(sampler) -> None:
    """Readings of sinh(z): draws decode to fields that fit them, and what Langevin moves there are are accepted."""
    target = GaussianTarget(d(0.0, 0.0), d([1.0, 0.5], [0.5, 1.0]), d([1.0, 0.0]), d(2.0), d(0.3))
    posterior = target.posterior()
    posterior.prior.transform = Sinh()
    ensemble = sampler.sample(posterior, 40, rng=Rng(0))
    assert abs(float(ensemble.members[:, 0, 0, 0].mean()) - 2.0) < 0.4
    assert float(ensemble.members[:, 0, 0, 1].mean()) > 0.2  # it follows: correlation 0.5 of the coefficients
    assert int(ensemble.info["operator_calls"]) > 12
    if "acceptance" in ensemble.info:
        assert 0.2 < float(ensemble.info["acceptance"]) <= 1


def test_worded_errors() -> None:
    with pytest.raises(InputError, match="rho falling"):
        SplitGibbs(rho=(0.1, 1.0))
    for rho in ((100.0, 1.0), (1.0, 0.002)):
        with pytest.raises(InputError, match=r"rho within the schedule's noise-to-signal ratios, 0.002 to 80"):
            SplitGibbs(rho=rho).sample(t1().posterior(), 2, rng=Rng(0))
    with pytest.raises(InputError, match="share in"):
        DiffPIR(share=2.0)
    with pytest.raises(InputError, match="one inner step"):
        DAPS(inner=0)
    with pytest.raises(InputError, match="DAPS: expected n >= 1"):
        DAPS().sample(t1().posterior(), 0, rng=Rng(0))
