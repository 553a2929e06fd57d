"""Time grids: ends, spacing, Karras' formula."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, VESchedule, VPSchedule

SCHEDULES = [VPSchedule(), CosineSchedule(), VESchedule(), EDMSchedule(), RectifiedSchedule()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", ["uniform_lam", "edm"])
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_from_one_to_zero_strictly_decreasing(schedule, kind: str, steps: int) -> None:
    times = timesteps(schedule, steps, kind)
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


def test_senseless_grids() -> None:
    with pytest.raises(InputError, match="one step"):
        timesteps(VPSchedule(), 0)
    with pytest.raises(InputError, match="edm"):
        timesteps(VPSchedule(), 5, "emd")
    with pytest.raises(InputError, match="smallest < largest"):
        timesteps(VPSchedule(), 5, smallest=2.0, largest=1.0)
