"""Sub-VP, decay, discrete and shifted schedules: values, inverses and rates."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, Schedule, VPSchedule
from physdiff.diffusion.special_schedules import DecaySchedule, DiscreteSchedule, ShiftedSchedule, SubVPSchedule

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
ALL = {
    "subvp": SubVPSchedule(),
    "decay": DecaySchedule(0.01),
    "slow": DecaySchedule(20.0),
    "discrete": DiscreteSchedule(BETAS),
    "shifted vp": ShiftedSchedule(VPSchedule(), 4.0, "square"),
    "shifted linear": ShiftedSchedule(RectifiedSchedule(), 3.0, "sum"),
    "shifted edm": ShiftedSchedule(EDMSchedule(), 0.5),
    "shifted linear, square": ShiftedSchedule(RectifiedSchedule(), 3.0, "square"),
}
every = pytest.mark.parametrize("schedule", ALL.values(), ids=ALL)
TIMES = torch.linspace(0.003, 0.997, 41, dtype=torch.float64)


@every
def test_time_of_inverts_lam(schedule: Schedule) -> None:
    lam = schedule.lam(TIMES)
    assert (lam.diff() < 0).all()
    # near t = 0 a relative error of t is one of u
    torch.testing.assert_close(schedule.time_of(lam), TIMES, rtol=1e-10, atol=1e-14)
    early = torch.tensor([1e-8, 1e-6, 1e-4], dtype=torch.float64)
    torch.testing.assert_close(schedule.time_of(schedule.lam(early)), early, rtol=1e-6, atol=1e-9 if "edm" in str(describe(schedule)) else 1e-13)


@every
def test_rates_are_the_derivatives(schedule: Schedule) -> None:
    # away from the nodes of the table, which are multiples of 1e-3
    t = (torch.linspace(0.05, 0.95, 31, dtype=torch.float64) + 0.00037).requires_grad_()
    for value, rate in zip((schedule.alpha(t), schedule.sigma(t)), schedule.rates(t), strict=True):
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), t)
            torch.testing.assert_close(rate.detach(), slope, rtol=1e-9, atol=1e-12)


@every
def test_saved_and_its_device_free_shapes(schedule: Schedule) -> None:
    again = build(describe(schedule))
    assert torch.equal(again.lam(TIMES), schedule.lam(TIMES))
    assert schedule.lam(0.5).dtype == torch.float64 and schedule.lam(TIMES.reshape(1, 41)).shape == (1, 41)


def test_sub_vp_is_its_formula() -> None:
    alpha, sigma = SubVPSchedule()(TIMES)
    torch.testing.assert_close(sigma, 1 - VPSchedule().alpha(TIMES) ** 2, rtol=1e-12, atol=1e-15)
    # g^2 = d(sigma^2)/dt - 2 (d log alpha/dt) sigma^2 = beta (1 - alpha^4)
    a, s = SubVPSchedule().rates(TIMES)
    beta = 0.1 + 19.9 * TIMES
    torch.testing.assert_close(2 * sigma * s - 2 * a / alpha * sigma**2, beta * (1 - alpha**4), rtol=1e-11, atol=1e-13)


def test_decay_is_its_formula_and_tends_to_the_linear_path() -> None:
    alpha, sigma = DecaySchedule(0.01)(TIMES)
    torch.testing.assert_close(sigma, (1 - 0.01**TIMES) / 0.99, rtol=1e-13, atol=0)
    torch.testing.assert_close(alpha + sigma, torch.ones_like(alpha), rtol=1e-14, atol=0)
    torch.testing.assert_close(DecaySchedule(1 + 1e-9).sigma(TIMES), TIMES, rtol=1e-8, atol=0)


def test_the_discrete_chain_has_its_products_at_the_nodes() -> None:
    schedule = DiscreteSchedule(BETAS)
    nodes = torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(schedule.alpha(nodes), torch.cumprod(torch.sqrt(1 - BETAS), 0), rtol=1e-12, atol=0)
    assert float(schedule.sigma(0.0)) == 0 and float(schedule.lam(1.0)) == pytest.approx(math.log(0.00635), abs=0.01)


def test_cosine_without_offset_is_the_circle() -> None:
    alpha, sigma = CosineSchedule(0.0)(TIMES)
    torch.testing.assert_close(alpha, torch.cos(0.5 * math.pi * TIMES), rtol=1e-13, atol=1e-15)
    back = CosineSchedule(0.0).time_of(CosineSchedule(0.0).lam(TIMES))
    torch.testing.assert_close(back, 2 / math.pi * torch.atan(sigma / alpha), rtol=1e-12, atol=0)


def test_the_shift_multiplies_the_ratio_and_keeps_what_it_says() -> None:
    for name, norm in (("shifted vp", lambda a, s: a**2 + s**2), ("shifted linear", lambda a, s: a + s), ("shifted edm", lambda a, s: a)):
        schedule = ALL[name]
        torch.testing.assert_close(schedule.noise_ratio(TIMES), schedule.factor * schedule.base.noise_ratio(TIMES), rtol=1e-11, atol=0)
        torch.testing.assert_close(norm(*schedule(TIMES)), norm(*schedule.base(TIMES)), rtol=1e-11, atol=0)
    kappa = 3.0
    moved = kappa * TIMES / (1 + (kappa - 1) * TIMES)
    torch.testing.assert_close(ALL["shifted linear"].sigma(TIMES), moved, rtol=1e-12, atol=0)


def test_senseless() -> None:
    for wrong in (
        lambda: DecaySchedule(1.0),
        lambda: DecaySchedule(-2.0),
        lambda: DiscreteSchedule(torch.tensor([0.1, 1.0])),
        lambda: DiscreteSchedule(torch.zeros(0)),
        lambda: ShiftedSchedule(VPSchedule(), 0.0),
        lambda: ShiftedSchedule(VPSchedule(), 2.0, "norm"),
    ):
        with pytest.raises(InputError, match="expected"):
            wrong()
