"""DPM-Solver++ 2M: order and golden errors of the card, the recursion on Gaussians in numpy, the steps at both ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.stats import norm
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, Schedule, VESchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)
WEIGHTS, MEANS, STDS = np.array([0.4, 0.6]), np.array([-1.5, 1.0]), np.array([0.35, 0.5])
SCHEDULES = [VPSchedule(), CosineSchedule(), VESchedule(), EDMSchedule(), RectifiedSchedule()]


def normal(*shape: int, key: str) -> Tensor:
    return Rng(6).child(key).normal(shape, like=LIKE)


def gaussian(schedule: Schedule, variance: Tensor, mean: float = 0.0) -> GaussianDenoiser:
    shape = (1, 1, variance.numel())
    return GaussianDenoiser(schedule, torch.full(shape, mean, dtype=torch.float64), DiagonalCovariance(variance.double().reshape(shape)))


# ---------------------------------------------------------------------------------------------------------------- T-ODE


def flow_end(start: np.ndarray) -> np.ndarray:
    """The exact flow of the mixture from lam = -4 to 3, in y = x/alpha and u = exp(-lam): dy/du = (y - D)/u = eps."""

    def slope(u: float, y: np.ndarray) -> np.ndarray:
        v, d = STDS**2 + u**2, y[:, None] - MEANS
        logit = np.log(WEIGHTS) - d**2 / (2 * v) - np.log(v) / 2
        share = np.exp(logit - logit.max(1, keepdims=True))
        return u * (share / share.sum(1, keepdims=True) * d / v).sum(1)

    u = np.exp([4.0, -3.0])
    alpha = 1 / np.sqrt(1 + u**2)
    return alpha[1] * solve_ivp(slope, u, start / alpha[0], method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]


def test_second_order_and_the_golden_errors_of_the_card() -> None:
    schedule = VPSchedule()
    start = norm.ppf((np.arange(64) + 0.5) / 64)
    exact = torch.from_numpy(flow_end(start)).reshape(64, 1, 1, 1)
    denoiser = MixtureDenoiser(schedule, torch.from_numpy(WEIGHTS), torch.from_numpy(MEANS).reshape(2, 1, 1, 1), stds=torch.from_numpy(STDS))
    error = {}
    for steps in (20, 80, 160, 320):
        times = schedule.time_of(torch.linspace(-4, 3, steps + 1, dtype=torch.float64))
        out = DPMSolver2M().run(denoiser, torch.from_numpy(start).reshape(64, 1, 1, 1), times, rng=Rng(0))
        error[steps] = float((out - exact).square().mean().sqrt())
    # the row "2M midpoint"
    assert [f"{error[n]:.1e}" for n in (20, 80, 320)] == ["1.5e-02", "9.3e-04", "5.7e-05"]
    for coarse, fine in ((80, 160), (160, 320)):
        assert math.log2(error[coarse] / error[fine]) == pytest.approx(2, abs=0.15)


# -------------------------------------------------------------------------------------------------- Gaussian closed form


def factors(variance: np.ndarray, u: np.ndarray) -> np.ndarray:
    """By how much the flow of N(0, S) stretches y = x/alpha along the noise ratios u, typed independently: D = S y/(S + u^2)."""
    y, last, last_h = np.ones_like(variance), np.zeros_like(variance), 0.0
    for i, (a, b) in enumerate(zip(u[:-1], u[1:], strict=True)):
        d = variance / (variance + a**2) * y
        if b == 0:
            return d
        h = math.log(a / b)
        middle = d if i == 0 else d + h / (2 * last_h) * (d - last)
        y, last, last_h = b / a * y - math.expm1(-h) * middle, d, h
    return y


@pytest.mark.parametrize("schedule", [VPSchedule(), VESchedule(), EDMSchedule()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", ["uniform_lam", "edm"])
def test_every_mode_of_a_gaussian_is_scaled_as_the_recursion_says(schedule: Schedule, kind: str) -> None:
    variance = np.logspace(-4, 2, 13)
    times = timesteps(schedule, 15, kind)
    u = np.append([float(schedule.noise_ratio(t)) for t in times[:-1]], 0.0)
    start = normal(3, 1, 1, 13, key="x")
    expected = start / float(schedule.alpha(times[0])) * torch.from_numpy(factors(variance, u))
    out = DPMSolver2M().run(gaussian(schedule, torch.from_numpy(variance)), start, times, rng=Rng(0))
    # 15 steps of float64; u up to 150
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-12)


def test_the_spread_of_a_red_spectrum() -> None:
    """64 modes, S ~ k^-3, u from 80 to 0.002 in uniform steps of lam: the largest relative error of a mode's std, as in the card."""
    k = torch.arange(1, 65, dtype=torch.float64)
    variance = k**-3 / (k**-3).mean()
    schedule = EDMSchedule(1e-4, 80.0)
    for steps, first, second in ((16, 0.153, 0.023), (32, 0.079, 0.0066)):
        times = schedule.time_of(torch.linspace(-math.log(80), -math.log(0.002), steps + 1, dtype=torch.float64))
        start = (variance + 80.0**2).sqrt().reshape(1, 1, 1, 64)
        exact = (variance + 0.002**2).sqrt()
        error = {}
        for sampler in (DDIM(), DPMSolver2M()):
            out = sampler.run(gaussian(schedule, variance), start, times.clamp_max(1.0), rng=Rng(0)).flatten()
            error[type(sampler)] = float((out / exact - 1).abs().max())
        assert error[DDIM] == pytest.approx(first, rel=0.02)
        assert error[DPMSolver2M] == pytest.approx(second, rel=0.02)


def test_the_claim_of_the_docstring() -> None:
    """Variances of the same spectrum from pure noise to clean: 3.5 % in 20 evaluations, for which Heun needs 59; 1.2 % in 40."""
    k = torch.arange(1, 65, dtype=torch.float64)
    variance, schedule = k**-3 / (k**-3).mean(), EDMSchedule(0.002, 80.0)
    worst = []
    for sampler, steps in ((DPMSolver2M(), 20), (Heun(), 30), (DPMSolver2M(), 40)):
        out = sampler.run(gaussian(schedule, variance), torch.full((1, 1, 1, 64), 80.0).double(), timesteps(schedule, steps), rng=Rng(0))
        worst.append(float((out.flatten() ** 2 / variance - 1).abs().max()))
    assert worst == pytest.approx([0.035, 0.037, 0.0121], rel=0.03)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_a_point_mass_is_reached_whatever_the_steps(schedule: Schedule) -> None:
    denoiser = gaussian(schedule, torch.zeros(3), mean=0.7)
    for steps in (1, 2, 7):
        out = DPMSolver2M().run(denoiser, normal(2, 1, 1, 3, key="x"), timesteps(schedule, steps), rng=Rng(0))
        torch.testing.assert_close(out, torch.full_like(out, 0.7), rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", [CosineSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_converges_from_infinite_noise(schedule: Schedule) -> None:
    denoiser = gaussian(schedule, torch.tensor([0.25]), mean=0.7)
    errors = []
    for steps in (50, 100, 200):
        one, zero = (DPMSolver2M().run(denoiser, torch.full((1, 1, 1, 1), v).double(), timesteps(schedule, steps), rng=Rng(0)) for v in (1.0, 0.0))
        assert float(zero) == pytest.approx(0.7, abs=1e-12)
        errors.append(abs(float(one - zero) - 0.5))
    # the first step from infinite noise is of first order; its share falls with the steps
    assert errors[0] < 5e-3
    assert errors[0] / errors[2] > 10


# ------------------------------------------------------------------------------------------------------------ the steps


def test_the_first_step_and_the_last_are_ddim() -> None:
    schedule, x = VPSchedule(), normal(4, 1, 1, 3, key="x")
    denoiser = MixtureDenoiser(schedule, torch.ones(2), normal(2, 1, 1, 3, key="m"), stds=torch.tensor([0.3, 0.6]).double())
    for times in ([0.9, 0.4], [0.9, 0.0]):
        grid = torch.tensor(times, dtype=torch.float64)
        assert torch.equal(DPMSolver2M().run(denoiser, x, grid, rng=Rng(0)), DDIM().run(denoiser, x, grid, rng=Rng(0)))
    two = DPMSolver2M().run(denoiser, x, torch.tensor([0.9, 0.4], dtype=torch.float64), rng=Rng(0))
    three = DPMSolver2M().run(denoiser, x, torch.tensor([0.9, 0.4, 0.0], dtype=torch.float64), rng=Rng(0))
    assert torch.equal(three, denoiser(two, torch.tensor(0.4, dtype=torch.float64)))


def test_one_evaluation_per_step_and_no_randomness() -> None:
    class Counting(MixtureDenoiser):
        calls = 0

        def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            self.calls += 1
            return super().forward(x_t, t, cond)

    denoiser = Counting(VPSchedule(), torch.ones(2), normal(2, 1, 1, 3, key="m"), stds=torch.tensor([0.3, 0.6]))
    x, times = normal(2, 1, 1, 3, key="x"), timesteps(VPSchedule(), 12)
    first = DPMSolver2M().run(denoiser, x, times, rng=Rng(0))
    assert denoiser.calls == 12
    assert torch.equal(DPMSolver2M().run(denoiser, x, times, rng=Rng(1)), first)
    assert type(build(describe(DPMSolver2M()))) is DPMSolver2M


def test_gradients_are_those_of_finite_differences() -> None:
    schedule = VPSchedule()
    denoiser = MixtureDenoiser(schedule, torch.ones(2), normal(2, 1, 1, 2, key="m"), stds=torch.tensor([0.3, 0.6]).double())
    times = timesteps(schedule, 10)
    assert torch.autograd.gradcheck(lambda x: DPMSolver2M().run(denoiser, x, times, rng=Rng(0)), normal(2, 1, 1, 2, key="x").requires_grad_())
