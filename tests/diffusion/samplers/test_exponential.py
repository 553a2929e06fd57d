"""The exponential engine: weights against closed forms, 2M and DDIM as members, degrees integrated exactly, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC, lagrange
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import RectifiedSchedule, Schedule, VESchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)


def normal(*shape: int, key: str = "x") -> Tensor:
    return Rng(5).child(key).normal(shape, like=LIKE)


class Prescribed(Denoiser):
    """A denoiser whose output depends on the time alone: any method that integrates it exactly is exact."""

    def __init__(self, schedule: Schedule, mean) -> None:
        super().__init__()
        self.schedule, self.mean = schedule, mean

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.mean(self.schedule.lam(t)).to(x_t) + torch.zeros_like(x_t)


def exact_end(x: Tensor, schedule: Schedule, times: Tensor, power: int) -> Tensor:
    """x_s for D = lam^power: in y = x/sigma the flow is d(x/sigma)/dlam = e^lam D, whose integral is typed by repeated parts."""

    def primitive(lam: float) -> float:
        return math.exp(lam) * sum((-1) ** (power - j) * math.factorial(power) / math.factorial(j) * lam**j for j in range(power + 1))

    (_, s0), (_, s1) = schedule(times[0]), schedule(times[-1])
    return s1 * (x / s0 + primitive(float(schedule.lam(times[-1]))) - primitive(float(schedule.lam(times[0]))))


@pytest.mark.parametrize("order", [2, 3, 4])
def test_outputs_that_are_polynomials_in_lam_are_integrated_exactly(order: int) -> None:
    """The predictor is exact for degree p - 1 once it has p nodes, the corrector for degree p: here all steps but the first p - 1 count."""
    schedule, x = VESchedule(0.01, 10.0), normal(2, 1, 1, 3)
    times = schedule.time_of(torch.tensor([-2.0, -1.9, -1.7, -1.3, -0.8, 0.0, 0.3, 1.1], dtype=torch.float64))
    for sampler, degree in ((ExponentialMultistep(order), order - 1), (UniPC(order), order)):
        denoiser = Prescribed(schedule, lambda lam, degree=degree: lam**degree)
        # restart the exact solution where the history is full: what the first steps did is taken out by linearity
        full = order - 1 if isinstance(sampler, UniPC) else order - 1
        head, whole = sampler.run(denoiser, x, times[: full + 1], rng=Rng(0)) if full else x, sampler.run(denoiser, x, times, rng=Rng(0))
        if isinstance(sampler, UniPC):  # the corrector has redone the last step of the head by then
            continue
        torch.testing.assert_close(whole, exact_end(head, schedule, times[full:], degree), rtol=1e-11, atol=1e-12)


def test_the_corrector_is_exact_for_one_degree_more() -> None:
    schedule, sampler = VESchedule(0.01, 10.0), UniPC(1)
    x, times = normal(2, 1, 1, 3), schedule.time_of(torch.tensor([-2.0, -1.6, -1.0, -0.1], dtype=torch.float64))
    out = sampler.run(Prescribed(schedule, lambda lam: lam), x, times, rng=Rng(0))
    # all steps but the last are corrected, with two nodes: exact for degree 1; the last is a DDIM step
    corrected = exact_end(x, schedule, times[:-1], 1)
    wanted = DDIM().run(Prescribed(schedule, lambda lam: lam), corrected, times[-2:], rng=Rng(0))
    torch.testing.assert_close(out, wanted, rtol=1e-12, atol=1e-13)


def test_order_one_is_ddim_and_with_noise_ddpm() -> None:
    schedule, x = VPSchedule(), normal(4, 1, 1, 3)
    denoiser = MixtureDenoiser(schedule, torch.ones(2), normal(2, 1, 1, 3, key="m"), stds=torch.tensor([0.3, 0.6]).double())
    times = timesteps(schedule, 7)
    for ours, other in ((ExponentialMultistep(1), DDIM()), (ExponentialMultistep(1, "noise"), DDIM()), (ExponentialMultistep(1, noise=1.0), DDPM())):
        torch.testing.assert_close(ours.run(denoiser, x, times, rng=Rng(2)), other.run(denoiser, x, times, rng=Rng(2)), rtol=1e-10, atol=1e-12)


def test_the_third_order_step_is_the_divided_difference_form_with_its_factor_two() -> None:
    """x_s = ... - a p1 m0 + a p2 D1 - a p3 D2 with D2 = 2 (a - b)/(r0 + r1): the factor 2 that public code leaves out."""
    schedule, lam = VPSchedule(), torch.tensor([-1.0, -0.6, 0.1, 0.7], dtype=torch.float64)
    values = [normal(1, 1, 1, 2, key=k) for k in ("a", "b", "c")]  # outputs at lam 0, 1, 2
    by_time = {float(v): o for v, o in zip(lam, values, strict=False)}
    denoiser = Prescribed(schedule, None)
    denoiser.forward = lambda x, t, cond=None: by_time[min(by_time, key=lambda v: abs(v - float(schedule.lam(t))))]
    times = schedule.time_of(lam)
    x = normal(1, 1, 1, 2)
    before = ExponentialMultistep(3).run(denoiser, x, times[:3], rng=Rng(0))
    out = ExponentialMultistep(3).run(denoiser, x, times, rng=Rng(0))
    h, m2, m1, m0 = float(lam[3] - lam[2]), *values
    r0, r1 = float(lam[2] - lam[1]) / h, float(lam[1] - lam[0]) / h
    a, b = (m0 - m1) / r0, (m1 - m2) / r1
    d1, d2 = a + r0 * (a - b) / (r0 + r1), 2 * (a - b) / (r0 + r1)
    p1 = math.expm1(-h)
    p2 = p1 / h + 1
    p3 = p2 / h - 0.5
    (_, s_t), (a_s, s_s) = schedule(times[2]), schedule(times[3])
    torch.testing.assert_close(out, s_s / s_t * before - a_s * (p1 * m0 - p2 * d1 + p3 * d2), rtol=1e-10, atol=1e-12)


def test_lower_final_orders_and_the_variables_differ_only_where_they_should() -> None:
    schedule, x = RectifiedSchedule(), normal(2, 1, 1, 3)
    denoiser = MixtureDenoiser(schedule, torch.ones(2), normal(2, 1, 1, 3, key="m"), stds=torch.tensor([0.3, 0.6]).double())
    times = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1], dtype=torch.float64)
    plain, lowered = (ExponentialMultistep(3, lower_final=f).run(denoiser, x, times[:n], rng=Rng(0)) for f in (False, True) for n in (5,))
    assert not torch.equal(plain, lowered)
    outs = [ExponentialMultistep(1, "noise", variable=v).run(denoiser, x, times, rng=Rng(0)) for v in ("lam", "u", "t")]
    for other in outs[1:]:  # a constant has no variable
        torch.testing.assert_close(other, outs[0], rtol=1e-12, atol=1e-13)


def test_lagrange_is_the_interpolant() -> None:
    places, at = [0.0, -0.4, -1.1], torch.linspace(-1, 1, 7, dtype=torch.float64)
    values = torch.tensor([p**2 - 3 * p + 1 for p in places], dtype=torch.float64)
    torch.testing.assert_close(values @ lagrange(at, places), at**2 - 3 * at + 1, rtol=1e-12, atol=1e-13)


def test_refusals() -> None:
    for wrong in (
        lambda: ExponentialMultistep(0),
        lambda: ExponentialMultistep(2, "score"),
        lambda: ExponentialMultistep(2, variable="s"),
        lambda: ExponentialMultistep(2, noise=1.0, corrector=True),
        lambda: ExponentialMultistep(2, "noise", noise=0.5),
        lambda: ExponentialMultistep(2, noise=-1.0),
    ):
        with pytest.raises(InputError, match="expected"):
            wrong()
