"""Noise laws and the loss: distributions, keys, the minimiser, missing data."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.objective import LogNormalNoise, ModeNoise, TimeNoise, UniformNoise, denoising_loss, level_weight
from physdiff.diffusion.parametrize import target_coefficients
from physdiff.diffusion.schedule import EDMSchedule, RectifiedSchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)


class Fixed(Denoiser):
    """Gives one tensor back; weight 1 + 1/u^2."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.schedule, self.value = RectifiedSchedule(), value

    def forward(self, x_t, t, cond=None):
        return self.value.expand_as(x_t)


@pytest.mark.parametrize("schedule", [VPSchedule(), EDMSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_levels_have_the_law_on_every_schedule(schedule) -> None:
    n = 2000
    lam = schedule.lam(LogNormalNoise(-0.5, 1.2).times(schedule, range(n), Rng(0)))
    # 4 standard errors: 4 * 1.2/sqrt(n) = 0.107 of the mean, 4 * 1.2/sqrt(2n) = 0.076 of the std
    assert float(lam.mean()) == pytest.approx(0.5, abs=0.107)
    assert float(lam.std()) == pytest.approx(1.2, abs=0.076)
    ranks = (schedule.lam(UniformNoise(-2, 4).times(schedule, range(n), Rng(0))).sort()[0] + 2) / 6
    # Kolmogorov-Smirnov: P(D > 1.95/sqrt(n)) = 0.001
    assert float((ranks - (torch.arange(n) + 0.5) / n).abs().max()) < 1.95 / n**0.5


def test_logit_normal_times_of_the_linear_path_are_log_normal_levels() -> None:
    n, schedule = 2000, RectifiedSchedule()
    t = LogNormalNoise(0.3, 0.8).times(schedule, range(n), Rng(0))
    logit = torch.log(t / (1 - t))
    assert float(logit.mean()) == pytest.approx(0.3, abs=4 * 0.8 / n**0.5)
    assert float(logit.std()) == pytest.approx(0.8, abs=4 * 0.8 / (2 * n) ** 0.5)


def test_time_and_mode_laws() -> None:
    n = 2000
    for law, schedule in ((TimeNoise(), VPSchedule()), (ModeNoise(0.0), RectifiedSchedule())):
        ranks = law.times(schedule, range(n), Rng(0)).sort()[0]
        assert float((ranks - (torch.arange(n) + 0.5) / n).abs().max()) < 1.95 / n**0.5
    # by hand: r = 1/4 has z = Phi^-1(1/4) = -0.67449; t = 3/4 - 1.29 (cos^2(pi/8) - 3/4)
    lam = ModeNoise(1.29).lam_of(torch.tensor([-0.6744897501960817], dtype=torch.float64))
    t = 0.75 - 1.29 * (math.cos(math.pi / 8) ** 2 - 0.75)
    assert float(lam) == pytest.approx(math.log((1 - t) / t), rel=1e-9)
    with pytest.raises(InputError, match="monotone"):
        ModeNoise(3.0)
    with pytest.raises(InputError, match="lam_of"):
        TimeNoise().lam_of(torch.zeros(2))


def test_level_weights_are_those_of_the_errors_they_stand_for() -> None:
    """By |dx_0|^2 = u^2 |deps|^2 and its kind: each scheme is the plain squared error of another target."""
    lam = torch.linspace(-4, 5, 10, dtype=torch.float64)
    for schedule, scheme, target in (
        (VPSchedule(), "noise", "noise"),
        (VPSchedule(), "v", "v"),
        (RectifiedSchedule(), "velocity", "velocity"),
    ):
        t = schedule.time_of(lam)
        (alpha, sigma), (p, q) = schedule(t), target_coefficients(target, schedule, t)
        # T = p D + q (x - alpha D)/sigma changes by (p - q alpha/sigma) dD
        torch.testing.assert_close(level_weight(scheme, schedule.lam(t)), (p - q * alpha / sigma) ** 2, rtol=1e-9, atol=0)
    snr = torch.exp(2 * lam)
    assert torch.equal(level_weight("min_snr", lam, 5.0), torch.minimum(snr, torch.tensor(5.0)))
    torch.testing.assert_close(level_weight("p2", lam, 1.0), snr / (1 + snr))
    torch.testing.assert_close(level_weight("edm", lam), 1 / (torch.exp(-2 * lam) / (1 + torch.exp(-2 * lam))), rtol=1e-12, atol=0)
    with pytest.raises(InputError, match="scheme"):
        level_weight("snr2", lam)


def test_a_given_level_weight_replaces_the_denoisers() -> None:
    x, noise, t = torch.zeros(2, 1, 1, 3), torch.zeros(2, 1, 1, 3), torch.tensor([0.2, 0.8])
    denoiser = Fixed(torch.full((1, 1, 1, 3), 2.0))
    assert torch.equal(denoising_loss(denoiser, x, t, noise=noise, level=torch.tensor([1.0, 3.0])), torch.tensor([4.0, 12.0]))


def test_levels_are_keyed_by_the_sample() -> None:
    law, schedule = LogNormalNoise(), VPSchedule()
    whole = law.times(schedule, range(8), Rng(0).child(3))
    assert torch.equal(law.times(schedule, [5, 2], Rng(0).child(3)), whole[[5, 2]])
    assert not torch.equal(law.times(schedule, range(8), Rng(0).child(4)), whole)
    assert (whole > 0).all() and (whole <= 1).all()
    extreme = LogNormalNoise(-60.0, 1.0).times(schedule, range(3), Rng(0))
    assert (extreme > 0).all(), "weights are infinite at t = 0"


def test_loss_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64).reshape(2, 1, 1, 2)
    denoiser = Fixed(torch.zeros(1, dtype=torch.float64))
    t = torch.tensor([0.5, 0.25], dtype=torch.float64)  # weights 2 and 10
    loss = denoising_loss(denoiser, x, t, noise=torch.zeros_like(x))
    assert torch.allclose(loss, torch.tensor([2 * 2.5, 10 * 12.5], dtype=torch.float64))
    known = torch.tensor([[1.0, 0.0], [0.25, 0.75]]).reshape(2, 1, 1, 2)
    loss = denoising_loss(denoiser, x, t, noise=torch.zeros_like(x), weights=known)
    assert torch.allclose(loss, torch.tensor([2 * 1.0, 10 * (0.25 * 9 + 0.75 * 16)], dtype=torch.float64))


def test_missing_entries_do_not_count_whatever_they_hold() -> None:
    x = torch.ones(2, 1, 1, 4)
    x[0, ..., 0] = torch.inf
    weights = torch.ones_like(x)
    weights[0, ..., 0] = 0
    loss = denoising_loss(Fixed(torch.zeros(1)), x, torch.tensor(0.5), noise=torch.zeros_like(x), weights=weights)
    assert torch.equal(loss, torch.tensor([2.0, 2.0]))
    none = denoising_loss(Fixed(torch.zeros(1)), x, torch.tensor(0.5), noise=torch.zeros_like(x), weights=torch.zeros(1))
    assert torch.equal(none, torch.zeros(2))


def test_the_posterior_mean_has_the_least_loss_and_it_is_the_posterior_variance() -> None:
    schedule, n = VPSchedule(), 20_000
    shape = (1, 1, 3)
    variances = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64).reshape(shape)
    noise, white = (Rng(1).child(k).normal((n, *shape), like=LIKE) for k in ("noise", "x"))
    x, t = white * variances.sqrt(), schedule.time_of(0.3)
    exact = GaussianDenoiser(schedule, torch.zeros(shape).double(), DiagonalCovariance(variances))
    loss = denoising_loss(exact, x, t, noise=noise) / exact.weight(t)
    standard_error = float(loss.std()) / n**0.5
    assert float(loss.mean()) == pytest.approx(float(exact.posterior_variance(t)), abs=4 * standard_error)
    for factor in (0.8, 1.2):
        off = GaussianDenoiser(schedule, torch.zeros(shape).double(), DiagonalCovariance(factor * variances))
        worse = denoising_loss(off, x, t, noise=noise) / off.weight(t)
        assert float((worse - loss).mean()) > 0


def test_saved_and_senseless() -> None:
    for law in (LogNormalNoise(-1.0, 0.5), UniformNoise(-1, 2)):
        assert torch.equal(build(describe(law)).lam_of(LIKE), law.lam_of(LIKE))
    with pytest.raises(InputError, match="low < high"):
        UniformNoise(1.0, 1.0)
    with pytest.raises(ShapeError, match="noise"):
        denoising_loss(Fixed(torch.zeros(1)), torch.ones(2, 1, 1, 4), torch.tensor(0.5), noise=torch.ones(1, 1, 1, 4))
