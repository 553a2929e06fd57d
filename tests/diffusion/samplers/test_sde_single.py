"""The two-stage SDE solvers: their formulas as the card types them, the stage's noise, their ends."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.sde_single import SDESolverSingle
from physdiff.diffusion.schedule import RectifiedSchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)
SCHEDULE = VPSchedule()
X = Rng(8).normal((4, 1, 1, 3), like=LIKE)


def denoiser(schedule=SCHEDULE) -> MixtureDenoiser:
    means = Rng(8).child("m").normal((2, 1, 1, 3), like=LIKE)
    return MixtureDenoiser(schedule, torch.ones(2), means, stds=torch.tensor([0.3, 0.6]).double())


@pytest.mark.parametrize("prediction", ["clean", "noise"])
@pytest.mark.parametrize("h", [1.3, 0.2])
def test_one_step_is_the_published_formula(prediction: str, h: float) -> None:
    model, rng = denoiser(), Rng(2)
    t, q, s = SCHEDULE.time_of(torch.tensor([-0.7, -0.7 + h / 2, -0.7 + h], dtype=torch.float64))
    (a0, s0), (aq, sq), (a1, s1) = SCHEDULE(t), SCHEDULE(q), SCHEDULE(s)
    z1, z2 = (r.child("step", 0).normal_each(range(4), (1, 1, 3), like=LIKE) for r in (rng, rng.child("second")))
    d = model(X, t)
    if prediction == "clean":
        x_q = sq / s0 * math.exp(-h / 2) * X - aq * math.expm1(-h) * d + sq * math.sqrt(-math.expm1(-h)) * z1
        noise = s1 * math.sqrt(-math.expm1(-h)) * (math.exp(-h / 2) * z1 + z2)
        wanted = s1 / s0 * math.exp(-h) * X - a1 * math.expm1(-2 * h) * model(x_q, q) + noise
    else:
        e = (X - a0 * d) / s0
        x_q = aq / a0 * X - 2 * sq * math.expm1(h / 2) * e + sq * math.sqrt(math.expm1(h)) * z1
        e_q = (x_q - aq * model(x_q, q)) / sq
        noise = s1 * (math.sqrt(math.exp(2 * h) - math.exp(h)) * z1 + math.sqrt(math.expm1(h)) * z2)
        wanted = a1 / a0 * X - 2 * s1 * math.expm1(h) * e_q + noise
    out = SDESolverSingle(prediction).run(model, X, torch.stack([t, s]), rng=rng)
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-12)


def test_the_steps_at_infinite_noise_and_to_clean_are_ddim() -> None:
    linear = RectifiedSchedule()
    for times in ([1.0, 0.6], [0.6, 0.0], [1.0, 0.0]):
        grid = torch.tensor(times, dtype=torch.float64)
        for prediction in ("clean", "noise"):
            out = SDESolverSingle(prediction).run(denoiser(linear), X, grid, rng=Rng(0))
            assert torch.equal(out, DDIM().run(denoiser(linear), X, grid, rng=Rng(0)))


def test_noise_prediction_from_twenty_steps_on() -> None:
    sampler, model = SDESolverSingle("noise"), denoiser()
    out = sampler.run(model, X, sampler.grid(model, 20), rng=Rng(1))
    assert float(out.abs().max()) < 6
    with pytest.raises(InputError, match="at least 39 evaluations, got 38"):
        sampler.steps_for(38)


def test_refusals() -> None:
    with pytest.raises(InputError, match="prediction"):
        SDESolverSingle("v")
