"""Warm starts: the closed form of mean and variance by level, the Kalman filter at high levels, worded errors."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule, VPSchedule
from physdiff.inference.exact import GaussianTarget, plain_spec
from physdiff.inference.warm_start import WarmStart, times_from

ONE = torch.ones(1, dtype=torch.float64)
# the second step of T4's chain: AR(1) of correlation 0.9, from a filtered state of mean 0.8 and variance 0.2
FORECAST, SPREAD = 0.9 * 0.8, 0.81 * 0.2 + 0.19


def target(mean: float, variance: float, y: float = 0.1) -> GaussianTarget:
    return GaussianTarget(mean * ONE, variance * ONE[None], ONE[None], y * ONE, 0.5 * ONE, plain_spec((1, 1, 1)))


def moments(law: GaussianTarget, level: float, n: int = 4000) -> tuple[float, float]:
    """Mean and variance of draws that start from the forecast's mean; the noise is antithetic, so that the mean has no sampling error to speak of."""
    forecast = torch.full((1, 1, 1, 1), FORECAST, dtype=torch.float64)
    x = WarmStart(forecast, level, 40, sampler=Heun(), max_batch=n).sample(law.posterior(EDMSchedule()), n, rng=Rng(0)).members
    return float(x.mean()), float(x.var())


@pytest.mark.parametrize("level", [0.1, 0.5, 2.0, 30.0])
@pytest.mark.parametrize("climate", [False, True], ids=["law of the forecast", "climate"])
def test_mean_and_variance_by_level(climate, level) -> None:
    """Closed form of the module for both scores; 4 standard errors of 4000 draws and 1 % for Heun's 40 steps."""
    law = target(0.0, 1.0) if climate else target(FORECAST, SPREAD)
    m, p = float(law.posterior_mean), float(law.posterior_covariance)
    r = math.sqrt(p / (p + level**2))
    mean, variance = moments(law, level)
    std = r * level
    assert mean == pytest.approx(m + r * (FORECAST - m), abs=4 * std / math.sqrt(4000) + 0.005)
    assert variance == pytest.approx(std**2, rel=4 * math.sqrt(2 / 4000) + 0.01)


def test_the_kalman_filter_at_a_high_level_with_the_law_of_the_forecast() -> None:
    """Gain P/(P + R) by hand."""
    gain = SPREAD / (SPREAD + 0.25)
    mean, variance = moments(target(FORECAST, SPREAD), 60.0)
    assert mean == pytest.approx(FORECAST + gain * (0.1 - FORECAST), abs=4 * math.sqrt(0.15 / 4000) + 0.005)
    assert variance == pytest.approx((1 - gain) * SPREAD, rel=0.1)


def test_the_bias_of_the_climate_has_a_least_level() -> None:
    """Error of the mean against the Kalman analysis by level: the forecast's own at low ones, that of the climate's analysis at high ones, and a
    change of sign between.
    """
    kf, climate = target(FORECAST, SPREAD), target(0.0, 1.0)
    m, p, goal = float(climate.posterior_mean), float(climate.posterior_covariance), float(kf.posterior_mean)
    off = {u: m + math.sqrt(p / (p + u**2)) * (FORECAST - m) - goal for u in (0.01, 0.3, 1.0, 30.0)}
    assert off[0.01] == pytest.approx(FORECAST - goal, abs=1e-3) and off[30.0] == pytest.approx(m - goal, abs=0.02)
    assert off[0.01] > 0 > off[30.0]


def test_members_of_their_own_and_the_report() -> None:
    forecast = torch.tensor([0.0, 5.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    ensemble = WarmStart(forecast, 1e-2, 3).sample(target(FORECAST, SPREAD).posterior(EDMSchedule()), 2, rng=Rng(0))
    assert ensemble.members.flatten().tolist() == pytest.approx([0, 5], abs=0.1) and float(ensemble.info["level"]) == pytest.approx(1e-2)
    assert int(ensemble.info["nfe"]) == 3 and ensemble.info["misfit"].shape == (2,)
    assert {"ess", "nfe", "operator_calls", "seconds"} <= set(ensemble.info)
    # one for each level but the clean one, and one for the misfit of the members
    assert float(ensemble.info["ess"]) == 2 and int(ensemble.info["operator_calls"]) == 4


def test_times() -> None:
    schedule = VPSchedule()
    times = times_from(schedule, 0.5, 6)
    assert len(times) == 7 and float(times[-1]) == 0 and float(schedule.noise_ratio(times[0])) == pytest.approx(0.5)
    assert schedule.lam(times[:-1]).diff().numpy() == pytest.approx(float((schedule.lam(times[5]) - schedule.lam(times[0])) / 5))


def test_bad_input() -> None:
    posterior = target(0.0, 1.0).posterior(EDMSchedule())
    good = torch.zeros(1, 1, 1, 1)
    with pytest.raises(InputError, match="WarmStart level"):
        WarmStart(good, 0.0)
    with pytest.raises(InputError, match="one step or more"):
        times_from(EDMSchedule(), 1.0, 0)
    with pytest.raises(InputError, match="expected a noise-to-signal ratio from 0.002 to 80, got 500"):
        WarmStart(good, 500.0).sample(posterior, 1, rng=Rng(0))
    with pytest.raises(ShapeError, match=r"expected forecasts \(1 or 3, 1, 1, 1\), got \(2, 1, 1, 1\)"):
        WarmStart(torch.zeros(2, 1, 1, 1), 1.0).sample(posterior, 3, rng=Rng(0))
