"""Conversions: every target to every other and back, against the definition p x_0 + q eps."""

from __future__ import annotations

import itertools

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.parametrize import (
    TARGETS,
    convert,
    mean_of,
    noise_of,
    score_of,
    target_coefficients,
    target_of,
    velocity_of,
)
from physdiff.diffusion.schedule import (
    CosineSchedule,
    EDMSchedule,
    RectifiedSchedule,
    Schedule,
    VPSchedule,
    per_sample,
)

SCHEDULES = [VPSchedule(), CosineSchedule(), EDMSchedule(), RectifiedSchedule()]
LAM = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0, 6.0], dtype=torch.float64)


EVERY = (*TARGETS, 0.0, 0.3, 0.5, 1.0)


def draw(schedule: Schedule) -> tuple[torch.Tensor, ...]:
    like = torch.zeros((), dtype=torch.float64)
    clean, eps = (Rng(0).child(k).normal((6, 2, 1, 3, 5), like=like) for k in ("x", "eps"))
    t = schedule.time_of(LAM)
    alpha, sigma = schedule(t)
    return clean, eps, t, per_sample(alpha, clean) * clean + per_sample(sigma, clean) * eps


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest error per sample relative to the sample's size."""
    return float(((a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).max())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("target", EVERY)
def test_round_trip_through_the_mean(schedule: Schedule, target: str) -> None:
    clean, eps, t, x_t = draw(schedule)
    p, q = target_coefficients(target, schedule, t)
    value = per_sample(p, clean) * clean + per_sample(q, clean) * eps
    # amplification e^|lam| <= e^6 of the rounding 1e-16
    assert relative(target_of(clean, x_t, t, schedule=schedule, target=target), value) < 1e-12
    assert relative(mean_of(value, x_t, t, schedule=schedule, target=target), clean) < 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("source", "target"), list(itertools.product(EVERY, EVERY)))
def test_convert_between_all_pairs(schedule: Schedule, source: str, target: str) -> None:
    clean, eps, t, x_t = draw(schedule)
    values = {}
    for name in (source, target):
        p, q = target_coefficients(name, schedule, t)
        values[name] = per_sample(p, clean) * clean + per_sample(q, clean) * eps
    out = convert(values[source], x_t, t, schedule=schedule, source=source, target=target)
    assert relative(out, values[target]) < 1e-12


def test_named_targets_by_hand() -> None:
    schedule = RectifiedSchedule()
    clean, eps, t, x_t = draw(schedule)
    assert relative(noise_of(clean, x_t, t, schedule=schedule), eps) < 1e-12
    assert relative(velocity_of(clean, x_t, t, schedule=schedule), eps - clean) < 1e-12
    assert relative(score_of(clean, x_t, t, schedule=schedule), -eps / per_sample(schedule.sigma(t), eps)) < 1e-12


def test_v_and_velocity_are_regular_where_nothing_of_the_sample_is_left() -> None:
    clean, eps, _, _ = draw(CosineSchedule())
    for schedule in (CosineSchedule(0.0), RectifiedSchedule()):
        p, q = target_coefficients("velocity", schedule, 1.0)
        value = p * clean + q * eps
        assert relative(mean_of(value, eps, 1.0, schedule=schedule, target="velocity"), clean) < 1e-12
    v = -clean
    assert relative(mean_of(v, eps, 1.0, schedule=CosineSchedule(), target="v"), clean) < 1e-12


def test_float32_loses_nothing_from_the_mean_to_itself_near_clean() -> None:
    schedule = VPSchedule()
    t = schedule.time_of(9.0)
    clean = Rng(1).normal((1, 1, 1, 100))
    x_t = per_sample(schedule.alpha(t), clean) * clean
    assert torch.equal(mean_of(clean, x_t, t, schedule=schedule, target="clean"), clean)


def test_k_prediction_has_its_special_cases_and_is_regular_everywhere() -> None:
    schedule = RectifiedSchedule()
    clean, eps, t, x_t = draw(schedule)
    for k, other, factor in ((1.0, "clean", 1.0), (0.0, "noise", -1.0), (0.5, "velocity", -0.5)):
        mine = target_of(clean, x_t, t, schedule=schedule, target=k)
        torch.testing.assert_close(mine, factor * target_of(clean, x_t, t, schedule=schedule, target=other), rtol=1e-10, atol=1e-10)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)  # no noise, and no sample left
    (alpha, sigma), (p, q) = schedule(ends), target_coefficients(0.7, schedule, ends)
    assert ((alpha * q - sigma * p).abs() > 0.2).all()
    with pytest.raises(InputError, match="k in"):
        target_coefficients(1.5, schedule, 0.5)


def test_unknown_target_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean score"):
        target_coefficients("scores", VPSchedule(), 0.5)
