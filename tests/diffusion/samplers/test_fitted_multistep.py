"""A multistep method with given coefficients: classical ones are the classical method; what it refuses."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, lam_weights
from physdiff.diffusion.samplers.fitted_multistep import FittedMultistep
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import RectifiedSchedule, VPSchedule
from tests.diffusion.samplers.test_sampler import mixture, normal

TIMES = timesteps(VPSchedule(), 6)


def first_order(times: torch.Tensor) -> FittedMultistep:
    return FittedMultistep(times, torch.eye(len(times) - 1, 2)[:, :1].clamp(1, 1))


@pytest.mark.parametrize("schedule", [VPSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_weights_of_the_newest_mean_alone_are_ddim(schedule) -> None:
    times, x = timesteps(schedule, 6), normal(3, 2, 1, 3)
    # from infinite noise too, and to time 0
    expected = DDIM().run(mixture(schedule), x, times, rng=Rng(0))
    torch.testing.assert_close(first_order(times).run(mixture(schedule), x, times, rng=Rng(0)), expected, rtol=1e-12, atol=1e-12)


def test_exponential_weights_are_the_exponential_method() -> None:
    schedule = VPSchedule()
    lams = [float(schedule.lam(t)) for t in TIMES[:-1]]
    weights = torch.eye(6, 2).double()[:, :1].clamp(1, 1).repeat(1, 2)
    weights[:, 1] = 0
    for i in range(1, 5):
        h = lams[i + 1] - lams[i]
        pair = torch.tensor(lam_weights((0.0, lams[i - 1] - lams[i]), h, 1.0), dtype=torch.float64)
        weights[i] = pair / pair.sum()
    x = normal(3, 2, 1, 3)
    expected = ExponentialMultistep(2).run(mixture(), x, TIMES, rng=Rng(0))
    torch.testing.assert_close(FittedMultistep(TIMES, weights).run(mixture(), x, TIMES, rng=Rng(0)), expected, rtol=1e-11, atol=1e-11)


def test_it_is_built_again_to_the_bit() -> None:
    tensors: dict[str, torch.Tensor] = {}
    again = build(describe(first_order(TIMES), tensors), tensors=tensors)
    assert torch.equal(again.times, TIMES) and torch.equal(again.weights, first_order(TIMES).weights)


def test_errors_are_worded() -> None:
    sampler = first_order(TIMES)
    assert sampler.least_steps() == 6 and sampler.steps_for(6) == 6
    with pytest.raises(InputError, match="the 6 steps it is fitted for, got 5"):
        sampler.grid(mixture(), 5)
    with pytest.raises(InputError, match="times its weights are fitted for"):
        sampler.run(mixture(), normal(1, 2, 1, 3), timesteps(VPSchedule(), 6, "edm"), rng=Rng(0))
    with pytest.raises(InputError, match="at least 6 evaluations, got 5"):
        sampler.steps_for(5)
    with pytest.raises(InputError, match=r"weights \(N, p\)"):
        FittedMultistep(TIMES, torch.ones(5, 1))
    with pytest.raises(InputError, match="rows of sum one"):
        FittedMultistep(TIMES, torch.full((6, 1), 0.9))
    with pytest.raises(InputError, match="means there are"):
        FittedMultistep(TIMES, torch.full((6, 2), 0.5))  # the first step has one mean
