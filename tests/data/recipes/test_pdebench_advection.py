"""Everything is carried at one speed, exactly."""

from __future__ import annotations

import numpy as np
import torch

from physdiff.base.rng import Rng
from physdiff.data.recipes.table import recipe


def test_frames_are_shifts_of_the_first():
    """A shift by whole points is a roll; one by any distance is a phase of each wave, for samples without kinks."""
    u = recipe("pdebench_advection", velocity=0.4, resolution=256, horizon=2.0).generate(8, Rng(0), dtype=torch.float64).u.values
    np.testing.assert_allclose(u[:, 125], np.roll(u[:, 0], 128, axis=-1), atol=1e-10)  # 0.4 * 1.25 is half the box
    hat = np.fft.rfft(u, axis=-1)
    smooth = [i for i in range(8) if np.abs(hat[i, 0, 9:]).max() < 1e-9]
    assert len(smooth) >= 3
    for i in smooth:
        moved = np.fft.irfft(hat[i, 0] * np.exp(-2j * np.pi * np.arange(129) * 0.4 * 0.07), 256)
        np.testing.assert_allclose(u[i, 7], moved, atol=1e-12)


def test_the_original_waves_jump_where_the_axis_closes():
    closing = []
    for periodic in (True, False):
        made = recipe("pdebench_advection", resolution=64, horizon=0.01, periodic_waves=periodic)
        u = made.generate(20, Rng(0), dtype=torch.float64).u.values[:, 0]
        beyond = 3 * u[:, -1] - 3 * u[:, -2] + u[:, -3]  # what a smooth field would have at the first point
        closing.append(np.abs(beyond - u[:, 0]).mean())
    assert closing[1] > 3 * closing[0]
