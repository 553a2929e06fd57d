"""ER-SDE: the kernel as the card types it, its ends, and a marginal kept."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDIM, kernel_with
from physdiff.diffusion.samplers.er_sde import ERSDE
from physdiff.diffusion.samplers.sampler import level_at
from physdiff.diffusion.schedule import RectifiedSchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)
X, MEAN = (Rng(3).child(k).normal((2, 1, 1, 4), like=LIKE) for k in ("x", "m"))


def test_the_kernel_is_the_general_one_with_the_published_function() -> None:
    schedule, t, s = VPSchedule(), 0.7, 0.4
    got = ERSDE().kernel(schedule, X, MEAN, t, s)
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    u_t, u_s = s_t / a_t, s_s / a_s

    def phi(u: float) -> float:
        return u * (math.exp(u**0.3) + 10)

    r = phi(float(u_s)) / phi(float(u_t))
    torch.testing.assert_close(got.mean, a_s / a_t * r * X + a_s * (1 - r) * MEAN, rtol=1e-12, atol=1e-13)
    assert float(got.std.flatten()[0]) == pytest.approx(float(a_s * torch.sqrt(u_s**2 - r**2 * u_t**2)), rel=1e-10)


def test_the_ends() -> None:
    linear = RectifiedSchedule()
    clean = ERSDE().kernel(linear, X, MEAN, 0.3, 0.0)
    assert torch.equal(clean.mean, MEAN) and float(clean.std.max()) == 0
    first = ERSDE().kernel(linear, X, MEAN, 1.0, 0.6)  # all noise is fresh: nothing of x_t is left
    assert torch.allclose(first.mean, 0.4 * MEAN) and float(first.std.flatten()[0]) == pytest.approx(0.6, rel=1e-6)


def test_rho_one_is_ddim() -> None:
    schedule = VPSchedule()
    got = kernel_with(X, MEAN, here=level_at(schedule, 0.8), there=level_at(schedule, 0.5), rho=torch.tensor(1.0).double())
    torch.testing.assert_close(got.mean, DDIM().kernel(schedule, X, MEAN, 0.8, 0.5).mean, rtol=1e-12, atol=1e-13)
    assert float(got.std.max()) == 0
