"""Time grids: ends, spacing, Karras' formula."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.samplers.timesteps import angle_scales, mean_angle, timesteps
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, VESchedule, VPSchedule

SCHEDULES = [VPSchedule(), CosineSchedule(), VESchedule(), EDMSchedule(), RectifiedSchedule()]
RED = DiagonalCovariance((torch.arange(1, 65, dtype=torch.float64) ** -3).reshape(1, 1, 64))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", ["uniform_lam", "edm", "arctan", "angle", "spectral", "uniform_t", "quadratic_t", "trailing"])
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_from_one_to_zero_strictly_decreasing(schedule, kind: str, steps: int) -> None:
    times = timesteps(schedule, steps, kind, covariance=RED)
    assert times.shape == (steps + 1,) and times.dtype == torch.float64
    assert times[0] == 1 and times[-1] == 0
    assert (times.diff() < 0).all()


def test_edm_is_the_published_grid() -> None:
    i = torch.arange(18, dtype=torch.float64)
    published = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    schedule = EDMSchedule()
    times = timesteps(schedule, 18, "edm")
    # the last noisy time is kept away from 0 by 1e-5, which is 1e-4 of sigma
    assert torch.allclose(schedule.sigma(times[:-1]), published, rtol=2e-4)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_uniform_lam_is_geometric_between_the_ratios_asked_for(schedule) -> None:
    times = timesteps(schedule, 11, smallest=0.05, largest=20.0)
    ratio = schedule.noise_ratio(times[1:-1])
    expected = 20.0 * (0.05 / 20.0) ** (torch.arange(1, 11, dtype=torch.float64) / 10)
    assert torch.allclose(ratio, expected, rtol=1e-9)


def test_the_formulas_of_the_other_grids() -> None:
    schedule = EDMSchedule(0.002, 80.0)
    u = schedule.noise_ratio(timesteps(schedule, 9, "arctan", scale=0.5)[1:-1])
    assert torch.allclose(torch.atan(u / 0.5).diff().diff(), torch.zeros(6, dtype=torch.float64), atol=1e-9)
    for kind, root in (("uniform_t", 1.0), ("quadratic_t", 0.5)):
        times = timesteps(VPSchedule(), 9, kind)[:-1]
        assert torch.allclose((times**root).diff().diff(), torch.zeros(7, dtype=torch.float64), atol=1e-12)
        # the last noisy level is the one asked for
        assert float(VPSchedule().noise_ratio(times[-1])) == pytest.approx(0.002, rel=1e-6)
    assert torch.allclose(timesteps(VPSchedule(), 4, "trailing"), torch.tensor([1, 0.75, 0.5, 0.25, 0]).double())


def test_angle_goes_from_the_start_to_no_noise_in_equal_steps() -> None:
    scales = 0.5 * angle_scales(RED)
    # half of the summed standard deviations of k^-1.5 is in the first two modes, whose own are 1 and 0.35
    assert float(scales[0]) == 0.5 and (scales.diff() <= 0).all() and float(scales[-1]) < 0.02
    for schedule in (EDMSchedule(1e-5, 80.0), RectifiedSchedule()):
        times = timesteps(schedule, 10, "angle", covariance=RED, scale=0.5, largest=80.0)
        angles = torch.cat([mean_angle(schedule.noise_ratio(times[1:-1]), scales), torch.zeros(1, dtype=torch.float64)])
        assert torch.allclose(angles.diff(), angles[0].expand(9) / -9, rtol=1e-6)
    # one scale: the arctan grid; a schedule that ends above no noise lifts the last levels to what it has
    one = DiagonalCovariance(torch.full((1, 1, 3), 4.0))
    times = timesteps(EDMSchedule(0.3, 80.0), 40, "angle", covariance=one)
    assert float(mean_angle(torch.tensor(2.0), angle_scales(one))) == pytest.approx(math.pi / 4, rel=1e-14)
    assert float(EDMSchedule(0.3, 80.0).sigma(times[-2])) == pytest.approx(0.3, rel=1e-3)


def test_spectral_is_the_grid_of_the_card() -> None:
    """DDIM on 64 modes k^-3: the mean and the largest error of the std, card 2.4, to the digits given there."""
    spectrum = torch.arange(1, 65, dtype=torch.float64) ** -3
    spectrum = spectrum / spectrum.mean()
    for steps, mean, most in ((8, 0.21, 0.68), (16, 0.11, 0.38), (32, 0.056, 0.20)):
        times = timesteps(EDMSchedule(), steps + 1, "spectral", covariance=DiagonalCovariance(spectrum.reshape(1, 1, 64)))[:-1]
        u = EDMSchedule().noise_ratio(times)
        stretch = torch.ones_like(spectrum)
        for a, b in zip(u[:-1], u[1:], strict=True):
            stretch = stretch * (spectrum + a * b) / (spectrum + a**2)
        error = (stretch * torch.sqrt((spectrum + u[0] ** 2) / (spectrum + u[-1] ** 2)) - 1).abs()
        assert (float(error.mean()), float(error.max())) == pytest.approx((mean, most), rel=0.05)


def test_senseless_grids() -> None:
    for kind in ("angle", "spectral"):
        with pytest.raises(InputError, match="covariance="):
            timesteps(VPSchedule(), 5, kind)
    with pytest.raises(InputError, match="some variance"):
        timesteps(VPSchedule(), 5, "angle", covariance=DiagonalCovariance(torch.zeros(1, 1, 3)))
    with pytest.raises(InputError, match="one step"):
        timesteps(VPSchedule(), 0)
    with pytest.raises(InputError, match="edm"):
        timesteps(VPSchedule(), 5, "emd")
    with pytest.raises(InputError, match="smallest < largest"):
        timesteps(VPSchedule(), 5, smallest=2.0, largest=1.0)
