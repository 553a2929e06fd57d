"""Gains applied to data: exact through a wavelet chain on a periodic axis, and interpolated to what they are."""

from __future__ import annotations

import torch

from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.evaluation.numerical_spread import apply_gains, gain_curve, largest_variance
from physdiff.evaluation.sampler_gain import sampler_gain

LIKE = torch.zeros((), dtype=torch.float64)


def test_the_curve_is_the_gain() -> None:
    schedule, times = EDMSchedule(), timesteps(EDMSchedule(), 10)
    variances = torch.tensor([3.0, 0.4, 1e-3], dtype=torch.float64)
    curve = gain_curve(DDIM(), schedule, times, largest=4.0, start="noise")
    # linear between points a fifth of a unit of log S apart, on a curve that bends by a fraction of one per unit
    assert torch.allclose(curve(variances), sampler_gain(DDIM(), schedule, times, variances=variances), atol=2e-3)


def test_gains_meet_the_modes_of_correlated_channels() -> None:
    """Two channels of rank one at every wavenumber: one mode of variance |a|^2 S, the other empty."""
    one = Rng(0).normal((400, 1, 1, 16), like=LIKE)
    mixing = torch.tensor([0.6, 0.8], dtype=torch.float64).reshape(1, 2, 1, 1)
    z = one * mixing * 2.0
    seen: list[torch.Tensor] = []

    def gain(variance: torch.Tensor) -> torch.Tensor:
        seen.append(variance)
        return torch.where(variance > 1.0, 0.5, 7.0)

    half, same = apply_gains(z, [gain, torch.ones_like])
    # the empty mode's gain of 7 multiplies nothing
    assert torch.allclose(half, 0.5 * z, atol=1e-9) and torch.allclose(same, z, atol=1e-12)
    assert abs(float(seen[0].max(1).values.mean()) - 4.0) < 0.3
    assert largest_variance(z) == float(seen[0].max())
