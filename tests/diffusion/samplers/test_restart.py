"""Restart: where its stretch lies, what it costs, and what it refuses; its moments are in tests/laws/test_more_samplers.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.restart import Restart
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import RectifiedSchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)
X = Rng(8).normal((4, 1, 1, 3), like=LIKE)


class Seen(Denoiser):
    """A mixture's mean that notes the noise levels asked for."""

    def __init__(self, schedule=None) -> None:
        super().__init__()
        self.schedule = schedule or VPSchedule()
        self.inner = MixtureDenoiser(self.schedule, torch.ones(2), Rng(8).normal((2, 1, 1, 3), like=LIKE), stds=torch.tensor([0.3, 0.6]).double())
        self.ratios: list[float] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.ratios.append(float(self.schedule.noise_ratio(t)))
        return self.inner(x_t, t)


@pytest.mark.parametrize("schedule", [VPSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_the_levels_visited(schedule) -> None:
    """Down to the node nearest 0.1, twice from 1 to it by two geometric steps, and on."""
    model = Seen(schedule)
    u = [8.0, 1.0, 0.09, 0.01]
    times = torch.cat([schedule.time_of(-torch.log(torch.tensor(u, dtype=torch.float64))), torch.zeros(1, dtype=torch.float64)])
    Restart(DDIM(), low=0.1, high=1.0).run(model, X, times, rng=Rng(0))
    assert model.ratios == pytest.approx([8.0, 1.0, *[1.0, 0.3] * 2, 0.09, 0.01], rel=1e-6)


def test_a_grid_that_ends_in_the_stretch() -> None:
    model = Seen()
    times = model.schedule.time_of(-torch.log(torch.tensor([8.0, 1.0, 0.1], dtype=torch.float64)))
    Restart(DDIM(), low=0.1, high=1.0, repeats=1, steps=1).run(model, X, times, rng=Rng(0))
    assert model.ratios == pytest.approx([8.0, 1.0, 1.0], rel=1e-6)


def test_no_round_is_the_other_sampler() -> None:
    times = timesteps(VPSchedule(), 8)
    assert torch.equal(Restart(repeats=0).run(Seen(), X, times, rng=Rng(1)), Heun().run(Seen(), X, times, rng=Rng(1)))


def test_rounds_count_in_a_budget() -> None:
    model, sampler = Seen(), Restart(low=0.06, high=0.3)
    sampler.run(model, X, sampler.grid(model, sampler.steps_for(43)), rng=Rng(1))
    assert sampler.steps_for(43) == 18
    assert len(model.ratios) == 43  # the published count for 18 nodes and two rounds of two steps
    with pytest.raises(InputError, match="at least 11 evaluations, got 10"):
        sampler.steps_for(10)


def test_refusals() -> None:
    with pytest.raises(InputError, match="low < high"):
        Restart(low=0.3, high=0.3)
    for wrong in ({"repeats": -1}, {"steps": 0}):
        with pytest.raises(InputError, match="repeats >= 0 and steps >= 1"):
            Restart(**wrong)
    with pytest.raises(InputError, match="a node with u below high"):
        Restart().run(Seen(), X, torch.tensor([0.4, 0.0]), rng=Rng(0))
    with pytest.raises(InputError, match="high within the grid"):
        Restart(high=50.0).run(Seen(), X, torch.tensor([0.4, 0.1, 0.0]), rng=Rng(0))
