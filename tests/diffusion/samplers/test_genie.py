"""Taylor steps: the derivative against differences along the flow, one step against its formula, through a network too."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.genie import GENIE, derivative_along_flow
from physdiff.diffusion.samplers.probability_flow import ProbabilityFlow
from physdiff.diffusion.samplers.sampler import level_at
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, VPSchedule
from physdiff.networks.unet import UNet

LIKE = torch.zeros((), dtype=torch.float64)
X = Rng(8).normal((4, 1, 1, 3), like=LIKE)


def denoiser(schedule) -> MixtureDenoiser:
    means = Rng(8).child("m").normal((2, 1, 1, 3), like=LIKE)
    return MixtureDenoiser(schedule, torch.ones(2), means, stds=torch.tensor([0.3, 0.6]).double())


def by_differences(model, x, lam: float, *, step: float = 1e-3):
    """The output a little before and after on the flow itself, by central differences of order four."""
    schedule, t = model.schedule, lambda v: schedule.time_of(torch.tensor(v, dtype=torch.float64))
    values = []
    for k in (-2, -1, 1, 2):
        times = torch.stack([t(lam), t(lam + k * step)])
        if k < 0:  # backwards in lam: the flow's own equation there
            y = x / schedule(times[0])[0]
            for _ in range(200):
                now = lam + k * step * (_ / 200)
                mid = y + 0.5 * k * step / 200 * (model(schedule(t(now))[0] * y, t(now)) - y)
                half = now + 0.5 * k * step / 200
                y = y + k * step / 200 * (model(schedule(t(half))[0] * mid, t(half)) - mid)
            values.append(model(schedule(times[1])[0] * y, times[1]))
        else:
            values.append(model(ProbabilityFlow(1e-12).run(model, x, times, rng=Rng(0)), times[1]))
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)


@pytest.mark.parametrize("schedule", [VPSchedule(), CosineSchedule(), EDMSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_the_derivative_along_the_flow(schedule) -> None:
    model, lam = denoiser(schedule), 0.3
    t = schedule.time_of(torch.tensor(lam, dtype=torch.float64))
    x = X * schedule(t)[0]
    found = derivative_along_flow(model, x, model(x, t), level=level_at(schedule, t))
    # differences of order four over 1e-3, and flows to 1e-12: some 1e-9
    torch.testing.assert_close(found, by_differences(model, x, lam), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("h", [0.9, 0.01])
def test_one_step_is_the_formula(h: float) -> None:
    schedule = VPSchedule()
    model = denoiser(schedule)
    t, s = schedule.time_of(torch.tensor([0.2, 0.2 + h], dtype=torch.float64))
    mean = model(X, t)
    slope = derivative_along_flow(model, X, mean, level=level_at(schedule, t))
    (a0, s0), (a1, s1) = schedule(t), schedule(s)
    clean = s1 / s0 * X - a1 * math.expm1(-h) * mean + a1 * (h + math.expm1(-h)) * slope
    u, du = s0 / a0, s1 / a1 - s0 / a0
    noise = a1 * (X / a0 + du * (X / a0 - mean) / u + du**2 / 2 * slope / u**2)
    for prediction, wanted in (("clean", clean), ("noise", noise)):
        out = GENIE(prediction).run(model, X, torch.stack([t, s]), rng=Rng(0))
        torch.testing.assert_close(out, wanted, rtol=1e-9, atol=1e-11)


def test_the_steps_at_infinite_noise_and_to_clean_are_ddim() -> None:
    model = denoiser(RectifiedSchedule())
    for times in ([1.0, 0.6], [0.6, 0.0]):
        grid = torch.tensor(times, dtype=torch.float64)
        assert torch.equal(GENIE().run(model, X, grid, rng=Rng(0)), DDIM().run(model, X, grid, rng=Rng(0)))


def test_a_network_with_norms_and_gradients_of_a_run() -> None:
    torch.manual_seed(0)
    model = PreconditionedDenoiser(UNet(1, 1, ndim=1, periodic=True, width=4, multipliers=(1,), dropout=0.0), EDMSchedule()).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    x = Rng(1).normal((1, 1, 1, 8), like=LIKE)
    times = GENIE().grid(model, 4)[1:4]
    with torch.no_grad():
        assert bool(GENIE().run(model, x, times, rng=Rng(0)).isfinite().all())
    x = x.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: GENIE().run(model, v, times, rng=Rng(0)), (x,), fast_mode=True, atol=1e-6, rtol=1e-4)


def test_an_unknown_prediction() -> None:
    with pytest.raises(InputError, match="GENIE prediction: expected one of clean, noise"):
        GENIE("eps")
