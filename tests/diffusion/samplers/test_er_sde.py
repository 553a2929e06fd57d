"""ER-SDE: the kernel and the multistep weights as the card types them, and their ends."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.samplers.ddim import DDIM, kernel_with
from physdiff.diffusion.samplers.er_sde import ERSDE, ERSDEMultistep
from physdiff.diffusion.samplers.exponential import Node
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


@pytest.mark.parametrize("order", [2, 3])
def test_one_multistep_is_the_card_s_formula_with_adaptive_integrals(order: int) -> None:
    """Taylor's form with I_0, I_1 by quad, and at order 3 the term that moves the slope to the newest node."""
    schedule = VPSchedule()
    lams = [-1.1, -0.6, -0.3, 0.4][4 - order - 1 :]
    levels = [level_at(schedule, schedule.time_of(lam)) for lam in lams]
    means = [Rng(3).child("d", i).normal((2, 1, 1, 4), like=LIKE) for i in range(order)]
    u = [math.exp(-float(level.lam)) for level in levels]
    u_t, u_s = u[-2:]

    def phi(w: float) -> float:
        return w * (math.exp(w**0.3) + 10)

    slope = (means[-1] - means[-2]) / (u[order - 1] - u[order - 2])
    bend = torch.zeros_like(slope)
    if order == 3:
        before = (means[1] - means[0]) / (u[1] - u[0])
        bend = 2 * (slope - before) / (u[2] - u[0])
        slope = slope + bend * (u[2] - u[1]) / 2
    i_0, i_1 = (quad(lambda w, p=p: (w - u_t) ** p / phi(w), u_s, u_t, epsabs=1e-13)[0] for p in (0, 1))
    r, a = phi(u_s) / phi(u_t), levels[-1].alpha
    wanted = a / levels[-2].alpha * r * X + a * (1 - r) * means[-1]
    wanted = wanted + a * (u_s - u_t + phi(u_s) * i_0) * slope + a * ((u_s - u_t) ** 2 / 2 + phi(u_s) * i_1) * bend
    nodes = [Node(level, w, mean) for level, w, mean in zip(levels[:order], u, means, strict=False)][::-1]
    sampler = ERSDEMultistep(order)
    got = sampler.advance(schedule, X, nodes, t=levels[-2], s=levels[-1], z=None)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)
    noise = sampler.advance(schedule, X, nodes, t=levels[-2], s=levels[-1], z=torch.ones_like(X)) - got
    assert float(noise.std()) < 1e-14
    assert float(noise.mean()) == pytest.approx(float(a) * math.sqrt(u_s**2 - r**2 * u_t**2), rel=1e-10)


def test_the_first_multistep_is_the_kernel() -> None:
    schedule = VPSchedule()
    times = torch.tensor([0.7, 0.4], dtype=torch.float64)
    model = GaussianDenoiser(schedule, torch.zeros(1, 1, 4).double(), DiagonalCovariance(torch.full((1, 1, 4), 0.3).double()))
    outs = [sampler.run(model, X, times, rng=Rng(1)) for sampler in (ERSDE(), ERSDEMultistep(2), ERSDEMultistep(3))]
    for out in outs[1:]:
        torch.testing.assert_close(out, outs[0], rtol=1e-12, atol=1e-13)


def test_other_orders_are_refused() -> None:
    for order in (1, 4):
        with pytest.raises(InputError, match="order 2 or 3"):
            ERSDEMultistep(order)
