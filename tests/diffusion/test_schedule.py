"""Schedules: lam and its inverse, closed forms in mpmath-free float64, ends, saving."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe
from physdiff.diffusion.schedule import (
    CosineSchedule,
    EDMSchedule,
    RectifiedSchedule,
    Schedule,
    VESchedule,
    VPSchedule,
    per_sample,
)

SCHEDULES = [
    VPSchedule(),
    VPSchedule(1.0, 1.0),
    CosineSchedule(),
    CosineSchedule(0.0),
    VESchedule(),
    EDMSchedule(),
    RectifiedSchedule(),
]
INNER = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_time_of_inverts_lam(schedule: Schedule) -> None:
    # Rounding: lam is known to 1e-15, its slope in t is above 1; near the ends 1 - t carries the last digits
    assert torch.allclose(schedule.time_of(schedule.lam(INNER)), INNER, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_lam_inverts_time_of_far_out_in_the_clean_end(schedule: Schedule) -> None:
    low, high = max(float(schedule.lam(1.0)), -10.0), min(float(schedule.lam(0.0)), 15.0)
    lam = torch.linspace(low, high, 50, dtype=torch.float64)
    # lam = 15 is t of order 1e-13 for VP: only forms without cancellation still know it
    assert torch.allclose(schedule.lam(schedule.time_of(lam)), lam, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_lam_decreases_and_is_log_of_the_ratio(schedule: Schedule) -> None:
    alpha, sigma = schedule(INNER)
    assert (schedule.lam(INNER).diff() < 0).all()
    assert torch.allclose(schedule.lam(INNER), torch.log(alpha / sigma), rtol=0, atol=1e-12)
    assert torch.allclose(schedule.noise_ratio(INNER), sigma / alpha, rtol=1e-12)
    assert torch.allclose(schedule.log_alpha(INNER).exp(), alpha, rtol=1e-14)


@pytest.mark.parametrize("schedule", [VPSchedule(), CosineSchedule()], ids=lambda s: type(s).__name__)
def test_variance_is_preserved(schedule: Schedule) -> None:
    alpha, sigma = schedule(torch.linspace(0, 1, 101, dtype=torch.float64))
    assert torch.allclose(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-15)


def test_values_by_hand() -> None:
    # methods card: alpha(1) = 0.0066 of the linear VP schedule
    assert float(VPSchedule().alpha(1.0)) == pytest.approx(math.exp(-5.025), rel=1e-14)
    assert float(CosineSchedule(0.0).sigma(0.5)) == pytest.approx(math.sqrt(0.5), rel=1e-15)
    shifted = math.cos(math.pi / 2 * 0.308 / 1.008) / math.cos(math.pi / 2 * 0.008 / 1.008)
    assert float(CosineSchedule().alpha(0.3)) == pytest.approx(shifted, rel=1e-14)
    assert float(EDMSchedule().sigma(0.5)) == pytest.approx(0.4, rel=1e-14)
    assert float(RectifiedSchedule().lam(0.25)) == pytest.approx(math.log(3), rel=1e-14)


def test_ends() -> None:
    for schedule in (VPSchedule(), CosineSchedule(), RectifiedSchedule()):
        assert float(schedule.lam(0.0)) == math.inf
        assert float(schedule.sigma(0.0)) == 0
    for schedule in (CosineSchedule(), CosineSchedule(0.0), RectifiedSchedule()):
        assert float(schedule.lam(1.0)) == -math.inf
        assert float(schedule.alpha(1.0)) == 0
        assert float(schedule.time_of(-math.inf)) == 1
        assert float(schedule.time_of(math.inf)) == 0
    assert float(EDMSchedule().sigma(0.0)) == pytest.approx(0.002, rel=1e-14)
    assert float(EDMSchedule().sigma(1.0)) == pytest.approx(80, rel=1e-14)
    assert float(EDMSchedule().time_of(99.0)) == 0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_rates_are_the_derivatives(schedule: Schedule) -> None:
    h = 1e-6
    rates = schedule.rates(INNER)
    for rate, f in zip(rates, (schedule.alpha, schedule.sigma), strict=True):
        central = (f(INNER + h) - f(INNER - h)) / (2 * h)
        # truncation h^2 f'''/6 and rounding 1e-16/h, both relative to the largest value
        assert torch.allclose(rate, central, rtol=1e-5, atol=1e-8)


def test_rates_are_finite_where_nothing_is_left() -> None:
    assert [float(r) for r in RectifiedSchedule().rates(1.0)] == [-1.0, 1.0]
    assert float(CosineSchedule(0.0).rates(1.0)[0]) == pytest.approx(-math.pi / 2)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_saved_and_built_again(schedule: Schedule) -> None:
    again = build(describe(schedule))
    assert type(again) is type(schedule)
    assert torch.equal(again.lam(INNER), schedule.lam(INNER))


def test_coefficients_meet_the_state_in_its_dtype() -> None:
    x = torch.zeros(3, 2, 1, 4)
    assert per_sample(torch.ones(3, dtype=torch.float64), x).shape == (3, 1, 1, 1)
    assert per_sample(torch.tensor(1.0, dtype=torch.float64), x).shape == (1, 1, 1, 1)
    assert per_sample(torch.ones(3, dtype=torch.float64), x).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong", [lambda: VPSchedule(2.0, 1.0), lambda: VPSchedule(-1.0), lambda: VESchedule(1.0, 0.5), lambda: CosineSchedule(-1.0)]
)
def test_senseless_arguments(wrong) -> None:
    with pytest.raises(InputError, match="expected"):
        wrong()
