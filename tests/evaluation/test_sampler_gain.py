"""The gain of a mode: golden numbers of the card's red spectrum, closed forms, Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import EDMSchedule, VPSchedule
from physdiff.evaluation.sampler_gain import sampler_gain

RED = torch.arange(1, 65, dtype=torch.float64) ** -3
RED = RED / RED.mean()
SCHEDULE = EDMSchedule()


def noisy_grid(steps: int) -> torch.Tensor:
    """u from 80 to 0.002, uniform in lam, without a last denoising: the grid of the card's table."""
    return SCHEDULE.time_of(torch.linspace(-math.log(80), -math.log(0.00200001), steps + 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("sampler", "steps", "card"),
    [(DDIM(), 8, 0.28), (DDIM(), 16, 0.15), (DDIM(), 32, 0.079)],
)
def test_red_spectrum_of_the_card(sampler, steps: int, card: float) -> None:
    lost = (sampler_gain(sampler, SCHEDULE, noisy_grid(steps), variances=RED, start="exact") - 1).abs()
    assert float(lost.mean()) == pytest.approx(card, rel=0.05)  # the card gives two digits


def test_ddim_multiplies_cosines() -> None:
    times, variance = timesteps(SCHEDULE, 12), torch.tensor([0.3, 2.0], dtype=torch.float64)
    angle = torch.atan(SCHEDULE.noise_ratio(times[:-1])[None] / variance.sqrt()[:, None])
    # the last step takes the mean at the last noisy level, that is cos of its whole angle
    expected = torch.cos(angle.diff(dim=1)).prod(1) * torch.cos(angle[:, -1])
    assert torch.allclose(sampler_gain(DDIM(), SCHEDULE, times, variances=variance, start="exact"), expected, rtol=1e-12)


@pytest.mark.parametrize("sampler", [DDPM(), DDIM(0.5), Heun(8.0)], ids=["ddpm", "half", "churn"])
def test_noise_counts_as_in_many_draws(sampler) -> None:
    schedule, variance = VPSchedule(), torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    times = timesteps(schedule, 6)
    shape, n = (1, 1, 3), 40_000
    denoiser = GaussianDenoiser(schedule, torch.zeros(shape, dtype=torch.float64), DiagonalCovariance(variance.reshape(shape)))
    generator = torch.Generator().manual_seed(0)

    class Draws:
        def child(self, *keys) -> Draws:
            return self

        def normal_each(self, indices, shape, *, like):
            return torch.randn(len(indices), *shape, dtype=like.dtype, generator=generator)

    start = torch.randn(n, *shape, dtype=torch.float64, generator=generator) * schedule(times[0])[1]
    out = sampler.run(denoiser, start, times, rng=Draws())
    drawn = out.std(0).flatten() / variance.sqrt()
    # relative error of a standard deviation of n draws: 1/sqrt(2n)
    assert torch.allclose(sampler_gain(sampler, schedule, times, variances=variance), drawn, rtol=4 / math.sqrt(2 * n))


def test_a_start_of_pure_noise_lacks_what_is_left_of_the_data() -> None:
    schedule, times, large = VPSchedule(), timesteps(VPSchedule(), 60), torch.tensor([400.0], dtype=torch.float64)
    exact, noise = (float(sampler_gain(DPMSolver2M(), schedule, times, variances=large, start=s)) for s in ("exact", "noise"))
    alpha, sigma = schedule(1.0)
    assert noise / exact == pytest.approx(float(sigma / torch.sqrt(sigma**2 + alpha**2 * 400)), rel=1e-10)
    assert abs(exact - 1) < 1e-2


def test_variances_must_be_positive() -> None:
    with pytest.raises(InputError, match="positive variances"):
        sampler_gain(DDIM(), SCHEDULE, timesteps(SCHEDULE, 4), variances=torch.zeros(3))
