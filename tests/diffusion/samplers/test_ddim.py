"""The first-order kernel against its textbook forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM, first_order_kernel
from physdiff.diffusion.schedule import EDMSchedule, RectifiedSchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)


def normal(*shape: int, key: str) -> Tensor:
    return Rng(6).child(key).normal(shape, like=LIKE)


X, D = normal(3, 2, 1, 4, key="x"), normal(3, 2, 1, 4, key="d")


@pytest.mark.parametrize("schedule", [VPSchedule(), EDMSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_equals_song_meng_ermon(schedule, eta: float) -> None:
    t, s = 0.7, 0.45
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    ratio = (s_s / a_s) / (s_t / a_t)
    q = eta * s_s * torch.sqrt(1 - ratio**2)
    eps = (X - a_t * D) / s_t
    out = DDIM(eta).kernel(schedule, X, D, t, s)
    assert torch.allclose(out.mean, a_s * D + torch.sqrt(s_s**2 - q**2) * eps, rtol=1e-11, atol=1e-12)
    assert float(out.std) == pytest.approx(float(q), rel=1e-12)


def test_ddpm_is_the_bayes_reverse_of_the_forward_step() -> None:
    schedule, t, s = VPSchedule(), 0.6, 0.5
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    # q(x_t | x_s) = N(a x_s, s_t^2 - a^2 s_s^2), prior x_s ~ N(a_s x_0, s_s^2): precisions add
    a = a_t / a_s
    forward = s_t**2 - a**2 * s_s**2
    precision = 1 / s_s**2 + a**2 / forward
    mean = (a_s * D / s_s**2 + a * X / forward) / precision
    out = DDPM().kernel(schedule, X, D, t, s)
    assert torch.allclose(out.mean, mean, rtol=1e-11, atol=1e-12)
    assert float(out.std) == pytest.approx(float(precision**-0.5), rel=1e-11)


def test_log_density_of_the_transition() -> None:
    out = DDPM().kernel(VPSchedule(), X, D, 0.6, 0.5)
    drawn = out.mean + out.std
    # one standard deviation off in each of the 8 entries
    expected = -8 * (0.5 + float(torch.log(out.std)) + 0.5 * math.log(2 * math.pi))
    assert torch.allclose(out.log_prob(drawn), torch.full((3,), expected, dtype=torch.float64), rtol=1e-10)


@pytest.mark.parametrize("sampler", [DDIM(), DDIM(0.4), DDPM()], ids=["ddim", "half", "ddpm"])
def test_a_time_for_each_sample(sampler) -> None:
    schedule = VPSchedule()
    t, s = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.7, 0.2], [0.9, 0.1, 0.0]))
    together = sampler.kernel(schedule, X, D, t, s)
    for i in range(3):
        alone = sampler.kernel(schedule, X[i : i + 1], D[i : i + 1], t[i], s[i])
        assert torch.equal(together.mean[i : i + 1], alone.mean)
        assert torch.equal(together.std[i : i + 1], alone.std)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_starts_at_infinite_noise_and_ends_at_none(eta: float) -> None:
    schedule = RectifiedSchedule()
    first = first_order_kernel(schedule, X, D, t=1.0, s=0.8, eta=eta)
    rho = math.sqrt(1 - eta**2)
    assert torch.allclose(first.mean, 0.8 * rho * X + 0.2 * D, rtol=1e-13, atol=1e-15)
    assert float(first.std) == pytest.approx(0.8 * eta, rel=1e-14)
    last = first_order_kernel(schedule, X, D, t=0.2, s=0.0, eta=eta)
    assert torch.equal(last.mean, D) and float(last.std) == 0


def test_steps_of_any_size_keep_their_digits() -> None:
    schedule = VPSchedule()
    for h in (1e-9, 1e-6):
        s = schedule.time_of(1.0 + h)
        gained = DDPM().kernel(schedule, torch.zeros_like(X), torch.ones_like(X), schedule.time_of(1.0), s).mean
        # alpha (1 - e^{-2h}); time_of returns h to 1e-16/h
        assert float(gained.max()) == pytest.approx(float(schedule.alpha(s)) * -math.expm1(-2 * h), rel=1e-5)


def test_ddim_run_backwards_finds_its_start_to_first_order() -> None:
    schedule = VPSchedule()
    denoiser = MixtureDenoiser(schedule, torch.ones(2), normal(2, 2, 1, 4, key="m"), stds=torch.tensor([0.4, 0.7]))
    errors = []
    for steps in (40, 80, 160):
        times = schedule.time_of(torch.linspace(-3, 2, steps + 1, dtype=torch.float64))
        x = DDIM().run(denoiser, X, times, rng=Rng(0))
        for s, t in zip(times.flip(0)[:-1], times.flip(0)[1:], strict=True):
            x = first_order_kernel(schedule, x, denoiser(x, s), t=s, s=t, eta=0.0).mean
        errors.append(float((x - X).norm()))
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(abs(slope - 1) < 0.25 for slope in slopes), slopes
