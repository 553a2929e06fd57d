"""A sampler with times of its own."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import FourierCovariance
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.exponential import UniPC
from physdiff.diffusion.samplers.fixed_grid import FixedGrid
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.restart import Restart
from physdiff.diffusion.schedule import EDMSchedule

DENOISER = GaussianDenoiser(EDMSchedule(0.002, 80.0), torch.zeros(1, 1, 8).double(), FourierCovariance(torch.ones(1, 1, 8).double(), 1))
TIMES = torch.tensor([1.0, 0.7, 0.3, 0.0], dtype=torch.float64)


def test_its_times_for_as_many_steps_and_the_samplers_own_for_others() -> None:
    fixed = FixedGrid(DDIM(), TIMES)
    assert torch.equal(fixed.grid(DENOISER, 3), TIMES) and torch.equal(fixed.grid(DENOISER, 5), DDIM().grid(DENOISER, 5))
    x = 80 * Rng(0).normal((2, 1, 1, 8), like=TIMES)
    assert torch.equal(fixed.run(DENOISER, x, TIMES, rng=Rng(1)), DDIM().run(DENOISER, x, TIMES, rng=Rng(1)))
    assert FixedGrid(Heun(), TIMES).steps_for(9) == Heun().steps_for(9) and FixedGrid(UniPC(3), TIMES).least_steps() == 3
    restart = Restart(DDIM(), low=0.5, high=5.0, repeats=2, steps=3)
    assert FixedGrid(restart, TIMES).evaluations(3) == restart.evaluations(3) == 3 + 6 == 9 and FixedGrid(restart, TIMES).steps_for(9) == 3
    fixed.grid(DENOISER, 3)[0] = 0.5
    assert float(fixed.times[0]) == 1  # a caller's change of what it got does not reach it


def test_it_is_built_again_to_the_bit() -> None:
    tensors: dict[str, torch.Tensor] = {}
    again = build(describe(FixedGrid(Heun(0.3), TIMES), tensors), tensors=tensors)
    assert torch.equal(again.times, TIMES) and again.sampler.churn == 0.3


def test_errors_are_worded() -> None:
    with pytest.raises(InputError, match="from 1 to 0"):
        FixedGrid(DDIM(), TIMES[1:])
    with pytest.raises(InputError, match="strictly decreasing"):
        FixedGrid(DDIM(), TIMES.flip(0))
    with pytest.raises(InputError, match="at least 3 steps for UniPC, got 2"):
        FixedGrid(UniPC(3), TIMES[[0, 2, 3]])
    with pytest.raises(InputError, match="without fixed times"):
        FixedGrid(FixedGrid(DDIM(), TIMES), TIMES)
