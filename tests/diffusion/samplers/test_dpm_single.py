"""Single-step DPM-Solver: its formulas as the card types them, and its ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.dpm_single import DPMSolverSingle
from physdiff.diffusion.schedule import RectifiedSchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)
SCHEDULE = VPSchedule()
X = Rng(8).normal((4, 1, 1, 3), like=LIKE)


def denoiser(schedule=SCHEDULE) -> MixtureDenoiser:
    means = Rng(8).child("m").normal((2, 1, 1, 3), like=LIKE)
    return MixtureDenoiser(schedule, torch.ones(2), means, stds=torch.tensor([0.3, 0.6]).double())


def by_the_card(x: Tensor, lam_t: float, h: float, order: int, prediction: str) -> Tensor:
    """One step, typed from the published formulas (2: r = 1/2; 3: r = 1/3 and 2/3)."""
    model = denoiser()

    def level(r: float) -> tuple[Tensor, Tensor, Tensor]:
        t = SCHEDULE.time_of(lam_t + r * h)
        return t, *SCHEDULE(t)

    def noise(state: Tensor, r: float) -> Tensor:
        t, a, s = level(r)
        return (state - a * model(state, t)) / s

    def mean(state: Tensor, r: float) -> Tensor:
        return model(state, level(r)[0])

    (_, a0, s0), (_, a1, s1) = level(0), level(1)
    if order == 2:
        _, aq, sq = level(0.5)
        if prediction == "noise":
            e = noise(x, 0)
            q = aq / a0 * x - sq * math.expm1(h / 2) * e
            return a1 / a0 * x - s1 * math.expm1(h) * e - s1 * math.expm1(h) * (noise(q, 0.5) - e)
        d = mean(x, 0)
        q = sq / s0 * x - aq * math.expm1(-h / 2) * d
        return s1 / s0 * x - a1 * math.expm1(-h) * mean(q, 0.5)
    r1, r2 = 1 / 3, 2 / 3
    (_, b1, c1), (_, b2, c2) = level(r1), level(r2)
    if prediction == "noise":
        e = noise(x, 0)
        one = b1 / a0 * x - c1 * math.expm1(r1 * h) * e
        two = b2 / a0 * x - c2 * math.expm1(r2 * h) * e - c2 * (r2 / r1) * (math.expm1(r2 * h) / (r2 * h) - 1) * (noise(one, r1) - e)
        return a1 / a0 * x - s1 * math.expm1(h) * e - s1 / r2 * (math.expm1(h) / h - 1) * (noise(two, r2) - e)
    d, p2, p = mean(x, 0), math.expm1(-r2 * h), math.expm1(-h)
    one = c1 / s0 * x - b1 * math.expm1(-r1 * h) * d
    two = c2 / s0 * x - b2 * p2 * d + (r2 / r1) * b2 * (p2 / (r2 * h) + 1) * (mean(one, r1) - d)
    return s1 / s0 * x - a1 * p * d + a1 / r2 * (p / h + 1) * (mean(two, r2) - d)


@pytest.mark.parametrize("prediction", ["clean", "noise"])
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("h", [1.3, 0.2])
def test_one_step_is_the_published_formula(order: int, prediction: str, h: float) -> None:
    times = SCHEDULE.time_of(torch.tensor([-0.7, -0.7 + h], dtype=torch.float64))
    out = DPMSolverSingle(order, prediction).run(denoiser(), X, times, rng=Rng(0))
    torch.testing.assert_close(out, by_the_card(X, -0.7, h, order, prediction), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("prediction", ["clean", "noise"])
def test_tiny_steps_keep_their_digits(prediction: str) -> None:
    """Across the switch from the series to the closed form of the second weight nothing jumps."""
    outs = []
    for h in (0.0299999, 0.0300001):  # r h = 0.02 at r = 2/3
        times = SCHEDULE.time_of(torch.tensor([-0.7, -0.7 + h], dtype=torch.float64))
        outs.append(DPMSolverSingle(3, prediction).run(denoiser(), X, times, rng=Rng(0)))
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=1e-6)


def test_the_steps_at_infinite_noise_and_to_clean_are_ddim() -> None:
    linear = RectifiedSchedule()
    for times in ([1.0, 0.6], [0.6, 0.0], [1.0, 0.0]):
        grid = torch.tensor(times, dtype=torch.float64)
        for sampler in (DPMSolverSingle(3), DPMSolverSingle(2, "noise")):
            assert torch.equal(sampler.run(denoiser(linear), X, grid, rng=Rng(0)), DDIM().run(denoiser(linear), X, grid, rng=Rng(0)))


def test_refusals() -> None:
    with pytest.raises(InputError, match="order 2 or 3"):
        DPMSolverSingle(4)
    with pytest.raises(InputError, match="prediction"):
        DPMSolverSingle(2, "v")
