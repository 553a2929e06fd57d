"""ExactLinear: one step on any Gaussian, clean prediction as its limit, modes of every covariance, infinite noise to none, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import Covariance, DiagonalCovariance, FourierCovariance, LowRankCovariance, dense_covariance
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, Schedule, VESchedule, VPSchedule

LIKE = torch.zeros((), dtype=torch.float64)
SCHEDULES = [VPSchedule(), CosineSchedule(), VESchedule(), EDMSchedule(), RectifiedSchedule()]
SHAPE = (2, 1, 4, 6)


def normal(*shape: int, key: str = "x") -> Tensor:
    return Rng(9).child(key).normal(shape, like=LIKE)


def covariances() -> dict[str, Covariance]:
    root = normal(48, 48, key="root") / 7
    power = normal(*SHAPE, key="s").square() + 1e-4
    mirrored = 0.5 * (power + torch.roll(torch.flip(power, (-1, -2)), (1, 1), (-1, -2)))
    rows = torch.linalg.qr(normal(48, 5, key="rows")).Q.T.contiguous()
    return {
        "diagonal": DiagonalCovariance(normal(*SHAPE, key="d").square()),
        "dense": dense_covariance(root @ root.T),
        "low_rank": LowRankCovariance(rows, torch.tensor([9.0, 4.0, 1.0, 0.2, 0.1]).double(), 0.03),
        "fourier": FourierCovariance(mirrored, 2),
    }


@pytest.mark.parametrize("name", ["diagonal", "dense", "low_rank", "fourier"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_one_step_carries_every_gaussian_from_noise_to_clean(schedule: Schedule, name: str) -> None:
    """x_0 = m + C^1/2 (alpha^2 C + sigma^2)^-1/2 (x_1 - alpha m), with one evaluation, also from infinite noise."""
    covariance, mean = covariances()[name], normal(*SHAPE, key="mean")
    denoiser, x = GaussianDenoiser(schedule, mean, covariance), 3 * normal(3, *SHAPE)
    alpha, sigma = schedule(1.0)
    wanted = mean + covariance.apply_function(lambda c: torch.sqrt(c / (alpha**2 * c + sigma**2)), x - alpha * mean)
    for steps in (1, 4):
        out = ExactLinear(2).run(denoiser, x, ExactLinear().grid(denoiser, steps), rng=Rng(0))
        # the eigenvectors of float64, and G = 0 from a cancellation of size c/u^2
        torch.testing.assert_close(out, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["diagonal", "dense", "low_rank", "fourier"])
def test_modes_are_coordinates_in_which_the_covariance_is_diagonal(name: str) -> None:
    covariance, x = covariances()[name], normal(3, *SHAPE)
    modes, variances = covariance.modes(x), covariance.mode_variances()
    torch.testing.assert_close(covariance.from_modes(modes, SHAPE), x, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(covariance.from_modes(variances * modes, SHAPE), covariance(x), rtol=1e-9, atol=1e-10)


def test_no_variance_is_clean_prediction() -> None:
    """With c = 0 the step is DDIM's in order one."""
    schedule, x = VPSchedule(), normal(2, 1, 1, 3)
    tiny = GaussianDenoiser(schedule, torch.zeros(1, 1, 3).double(), DiagonalCovariance(torch.tensor([1e-14, 0, 0]).double().reshape(1, 1, 3)))
    denoiser = MixtureDenoiser(schedule, torch.ones(2), normal(2, 1, 1, 3, key="m"), stds=torch.tensor([0.3, 0.6]).double())
    times = timesteps(schedule, 6)[:-1]
    ours = ExactLinear(1, base=tiny, corrector=False).run(denoiser, x, times, rng=Rng(0))
    torch.testing.assert_close(ours, DDIM().run(denoiser, x, times, rng=Rng(0)), rtol=1e-8, atol=1e-9)


def test_it_moves_and_scales_with_the_data() -> None:
    scale, shift = 2.5, -1.3
    one, two, means = VESchedule(0.01, 40.0), VESchedule(0.01 * scale, 40.0 * scale), normal(2, 2, 1, 3, key="m")
    stds, mean, variance = torch.tensor([0.3, 0.6]).double(), normal(2, 1, 3, key="b"), normal(2, 1, 3, key="v").square()
    x = 40 * normal(3, 2, 1, 3)
    outs = []
    for schedule, a, b in ((one, 1.0, 0.0), (two, scale, shift)):
        base = GaussianDenoiser(schedule, a * mean + b, DiagonalCovariance(a**2 * variance))
        sampler = ExactLinear(base=base)
        denoiser = MixtureDenoiser(schedule, torch.ones(2), a * means + b, stds=a * stds)
        outs.append(sampler.run(denoiser, a * x + b, sampler.grid(denoiser, 8), rng=Rng(0)))
    torch.testing.assert_close(outs[1], scale * outs[0] + shift, rtol=0, atol=1e-9)


def test_a_wrong_covariance_costs_accuracy_and_not_the_limit() -> None:
    """Half the variance in the base, twice it, and a missing mode: the flow of the true Gaussian is still the limit."""
    schedule = EDMSchedule(1e-4, 80.0)
    true = torch.tensor([4.0, 1.0, 0.1, 0.01]).double().reshape(1, 1, 4)
    denoiser, zero = GaussianDenoiser(schedule, torch.zeros_like(true), DiagonalCovariance(true)), torch.zeros_like(true)
    x = torch.sqrt(true + 80.0**2)[None]
    for factor in (0.5, 2.0, torch.tensor([1.0, 1.0, 1.0, 0.0]).double()):
        sampler = ExactLinear(2, base=GaussianDenoiser(schedule, zero, DiagonalCovariance(true * factor)))
        errors = [float((sampler.run(denoiser, x, sampler.grid(denoiser, n), rng=Rng(0)) / true.sqrt() - 1).abs().max()) for n in (8, 16, 32)]
        # the missing mode, of std 0.01, is the worst: no level is laid for it
        assert errors[0] < 0.7 and errors[2] < 0.2 and errors[2] < errors[1] < errors[0]


def test_a_last_step_without_the_mean_keeps_the_spread() -> None:
    """From u = 0.3, where the posterior mean of a mode of std 0.15 has lost 90 % of its spread."""
    schedule, variance = EDMSchedule(1e-4, 80.0), torch.full((1, 1, 1), 0.0225, dtype=torch.float64)
    denoiser = GaussianDenoiser(schedule, torch.zeros_like(variance), DiagonalCovariance(variance))
    times = torch.stack([schedule.time_of(-math.log(0.3)), torch.zeros((), dtype=torch.float64)])
    x = torch.full((1, 1, 1, 1), math.hypot(0.15, 0.3), dtype=torch.float64)
    assert float(ExactLinear().run(denoiser, x, times, rng=Rng(0))) == pytest.approx(0.15, rel=1e-12)
    assert float(DDIM().run(denoiser, x, times, rng=Rng(0))) < 0.07


def test_kept_weights_are_those_of_the_covariance_and_the_steps_at_hand() -> None:
    schedule, x, sampler = VPSchedule(), normal(2, 1, 1, 3), ExactLinear()
    for variance in (0.5, 2.0):
        for steps in (4, 7):
            denoiser = GaussianDenoiser(schedule, torch.zeros(1, 1, 3).double(), DiagonalCovariance(torch.full((1, 1, 3), variance).double()))
            times = timesteps(schedule, steps)
            for _ in range(2):
                assert torch.equal(sampler.run(denoiser, x, times, rng=Rng(0)), ExactLinear().run(denoiser, x, times, rng=Rng(0)))


def test_refusals() -> None:
    schedule = VPSchedule()
    mixture = MixtureDenoiser(schedule, torch.ones(1), torch.zeros(1, 1, 1, 3), stds=torch.ones(1))
    with pytest.raises(InputError, match="mean and covariance"):
        ExactLinear().run(mixture, normal(2, 1, 1, 3), timesteps(schedule, 3), rng=Rng(0))
    with pytest.raises(InputError, match="mean and covariance"):
        ExactLinear().grid(mixture, 4)
    for wrong in (lambda: ExactLinear(0), lambda: ExactLinear(kappa=0.0)):
        with pytest.raises(InputError, match="expected"):
            wrong()
