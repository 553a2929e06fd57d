"""Heun against the published algorithm, step by step, and its churn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import EDMSchedule, RectifiedSchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)


def normal(*shape: int, key: str) -> Tensor:
    return Rng(8).child(key).normal(shape, like=LIKE)


def mixture(schedule) -> MixtureDenoiser:
    return MixtureDenoiser(schedule, torch.ones(2), normal(2, 1, 1, 3, key="m"), stds=torch.tensor([0.3, 0.6]).double())


def karras(denoiser, x: Tensor, times: Tensor, churn: float, low: float, high: float, rng: Rng) -> Tensor:
    """Algorithm 2 of Karras et al. (2022) in y and u, S_noise = 1."""
    schedule, n = denoiser.schedule, len(times) - 1
    u = [float(schedule.noise_ratio(t)) for t in times[:-1]] + [0.0]
    y = x / schedule.alpha(times[0])

    def mean(y: Tensor, ratio: float) -> Tensor:
        t = schedule.time_of(-math.log(ratio))
        return denoiser(schedule.alpha(t) * y, t)

    for i in range(n):
        gamma = min(churn / n, math.sqrt(2) - 1) if low <= u[i] <= high else 0.0
        raised = min(u[i] * (1 + gamma), float(schedule.noise_ratio(1.0)))
        z = rng.child("step", i).normal_each(range(len(y)), y.shape[1:], like=y)
        y = y + math.sqrt(raised**2 - u[i] ** 2) * z
        d = (y - mean(y, raised)) / raised
        new = y + (u[i + 1] - raised) * d
        if u[i + 1] > 0:
            new = y + (u[i + 1] - raised) * (d + (new - mean(new, u[i + 1])) / u[i + 1]) / 2
        y = new
    return y


@pytest.mark.parametrize("schedule", [VPSchedule(), EDMSchedule()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("churn", "low", "high"), [(0.0, 0.0, 1e9), (4.0, 0.0, 1e9), (30.0, 0.05, 2.0)])
def test_equals_the_published_algorithm(schedule, churn: float, low: float, high: float) -> None:
    denoiser, times = mixture(schedule), timesteps(schedule, 12)
    x = schedule.sigma(1.0) * normal(4, 1, 1, 3, key="x")
    sampler = Heun(churn, churn_from=low, churn_to=high)
    expected = karras(denoiser, x, times, churn, low, high, Rng(3))
    # the published form subtracts numbers of size u: 1e-16 times 150, grown over the steps
    assert torch.allclose(sampler.run(denoiser, x, times, rng=Rng(3)), expected, rtol=0, atol=1e-9)


def test_no_churn_is_bitwise_deterministic_and_out_of_range_churn_is_none() -> None:
    denoiser, times = mixture(VPSchedule()), timesteps(VPSchedule(), 12)
    x = normal(4, 1, 1, 3, key="x")
    plain = Heun().run(denoiser, x, times, rng=Rng(0))
    assert torch.equal(Heun(10.0, churn_from=1e6).run(denoiser, x, times, rng=Rng(1)), plain)


def test_one_evaluation_for_the_last_step_and_for_an_infinite_start() -> None:
    class Counting(MixtureDenoiser):
        calls = 0

        def forward(self, x_t, t, cond=None):
            self.calls += 1
            return super().forward(x_t, t, cond)

    for schedule, expected in ((VPSchedule(), 19), (RectifiedSchedule(), 18)):
        denoiser = Counting(schedule, torch.ones(2), normal(2, 1, 1, 3, key="m"), stds=torch.tensor([0.3, 0.6]))
        Heun().run(denoiser, normal(2, 1, 1, 3, key="x"), timesteps(schedule, 10), rng=Rng(0))
        assert denoiser.calls == expected


def test_two_steps_from_infinite_noise_by_hand() -> None:
    schedule = RectifiedSchedule()
    denoiser, x = mixture(schedule), normal(2, 1, 1, 3, key="x")
    times = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    middle = 0.5 * denoiser(x, times[0]) + 0.5 * x
    assert torch.allclose(Heun().run(denoiser, x, times, rng=Rng(0)), denoiser(middle, times[1]), rtol=1e-13)
    assert torch.allclose(DDIM().run(denoiser, x, times, rng=Rng(0)), denoiser(middle, times[1]), rtol=1e-13)
