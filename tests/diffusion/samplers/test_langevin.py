"""Langevin corrections: the formula, where they are made, what is refused; their moments are in tests/laws/test_more_samplers.py."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.langevin import LangevinCorrected
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)
SCHEDULE = VPSchedule()
X = Rng(8).normal((4, 1, 1, 3), like=LIKE)
MODEL = MixtureDenoiser(SCHEDULE, torch.ones(2), Rng(8).child("m").normal((2, 1, 1, 3), like=LIKE), stds=torch.tensor([0.3, 0.6]).double())


def test_one_step_is_the_formula() -> None:
    times, d, rng = torch.tensor([0.7, 0.4], dtype=torch.float64), 0.2, Rng(3)
    out = LangevinCorrected(DDIM(), 2, size=d).run(MODEL, X, times, rng=rng)
    state, (alpha, sigma) = DDIM().run(MODEL, X, times, rng=rng), SCHEDULE(times[1])
    for n in range(2):
        z = rng.child("correct", 0).child("step", n).normal_each(range(4), (1, 1, 3), like=LIKE)
        centre = alpha * MODEL(state, times[1])
        state = centre + (1 - d) ** 0.5 * (state - centre) + d**0.5 * sigma * z
    torch.testing.assert_close(out, state, rtol=1e-12, atol=1e-13)


def test_no_correction_at_time_zero_and_none_asked_for() -> None:
    end = torch.tensor([0.4, 0.0], dtype=torch.float64)
    assert torch.equal(LangevinCorrected(DDIM(), 3).run(MODEL, X, end, rng=Rng(0)), DDIM().run(MODEL, X, end, rng=Rng(0)))
    times = timesteps(SCHEDULE, 8)
    torch.testing.assert_close(LangevinCorrected(Heun(), 0).run(MODEL, X, times, rng=Rng(0)), Heun().run(MODEL, X, times, rng=Rng(0)))


def test_refusals() -> None:
    for sampler in (DPMSolver2M(), ExactLinear(), Heun(5.0)):
        with pytest.raises(InputError, match="needs nothing but the state"):
            LangevinCorrected(sampler)
    with pytest.raises(InputError, match="corrections >= 0"):
        LangevinCorrected(DDIM(), -1)
    for size in (0.0, 1.0):
        with pytest.raises(InputError, match="size in"):
            LangevinCorrected(DDIM(), size=size)
