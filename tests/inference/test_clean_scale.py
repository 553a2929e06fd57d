"""States on the scale of clean ones: every schedule asks the denoiser the same question; the flow against its closed form on a Gaussian."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, VPSchedule
from physdiff.inference.clean_scale import CleanScale
from physdiff.inference.coupling import Coupling
from physdiff.inference.exact import GaussianTarget


def scale_of(schedule) -> CleanScale:
    one = torch.ones(1, dtype=torch.float64)
    return CleanScale(Coupling(GaussianTarget(0 * one, 0.5 * one[:, None], one[:, None], one, one).posterior(schedule)), 20)


@pytest.mark.parametrize("schedule", [EDMSchedule(), VPSchedule(), CosineSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_every_schedule_denoises_alike(schedule) -> None:
    scale, x = scale_of(schedule), Rng(0).normal((4, 1, 1, 1), like=torch.zeros(()).double())
    for u in (10.0, 0.7, 0.02):
        # x = z + u noise, z ~ N(0, 0.5); times come back from logarithms to some 1e-9
        torch.testing.assert_close(scale.mean(x, u), 0.5 / (0.5 + u**2) * x, rtol=0, atol=1e-7)
    assert scale.evaluations == 3
    assert len(scale.ratios) == 21 and scale.ratios[-1] == 0 and 0 < scale.ratios[0] <= 200
    assert all(a > b for a, b in zip(scale.ratios, scale.ratios[1:], strict=False))


def test_the_flow_is_of_first_order() -> None:
    """On a Gaussian it takes x at ratio u to sqrt(0.5/(0.5 + u^2)) x; Euler's error halves with the steps."""
    scale = scale_of(None)
    x, u = torch.ones(1, 1, 1, 1).double(), 1.5
    exact = (0.5 / (0.5 + u**2)) ** 0.5
    errors = [abs(float(scale.flow(x, u, steps)) - exact) for steps in (20, 40, 80)]
    assert errors[2] < 0.02 and all(1.6 < a / b < 2.5 for a, b in zip(errors, errors[1:], strict=False)), errors
