"""Energy budget of the flow, amplitude and spectrum of its beginning, means over blocks."""

from __future__ import annotations

import math

import numpy as np
import torch

from physdiff.base.rng import Rng
from physdiff.data.recipes.sda_kolmogorov import SDAKolmogorov
from physdiff.grids.cartesian import CartesianGrid


def test_the_energy_budget_closes():
    """dE/dt = <u sin 4y> - 2 drag E - <|grad u|^2> / Re, the rate by a central difference of frames."""
    dt = 0.02
    made = SDAKolmogorov(reynolds=100.0, solved=48, resolution=48, frames=5, dropped=10, interval=dt, step=0.01)
    ds = made.generate(2, Rng(0), dtype=torch.float64)
    u, v = ds.velocity_x.values, ds.velocity_y.values
    y = ds.y.values[:, None]
    energy = 0.5 * (u**2 + v**2).mean((-2, -1))
    k = np.fft.fftfreq(48, 1 / 48)
    slopes = [np.fft.ifft2(1j * w * np.fft.fft2(f)).real for f in (u, v) for w in (k[None, :], k[:, None])]
    rate = (u * np.sin(4 * y)).mean((-2, -1)) - 0.2 * energy - sum((s**2).mean((-2, -1)) for s in slopes) / 100
    measured = (energy[:, 3] - energy[:, 1]) / (2 * dt)
    # float32 leaves 1e-7 / dt; the difference of frames dt^2; each of the three terms is above 0.05
    np.testing.assert_allclose(measured, rate[:, 2], atol=5e-3)
    assert np.abs(slopes[0] + slopes[3]).max() < 1e-3  # without divergence


def test_it_begins_as_filtered_noise_of_speed_three():
    made, grid = SDAKolmogorov(), CartesianGrid((64, 64), 2 * math.pi)
    omega = made.initial(grid, 4, Rng(0)).double().numpy()
    k = np.fft.fftfreq(64, 1 / 64)
    square = k[None, :] ** 2 + k[:, None] ** 2
    psi = np.fft.fft2(omega) / np.where(square > 0, square, np.inf)
    u, v = np.fft.ifft2(1j * k[:, None] * psi).real, np.fft.ifft2(-1j * k[None, :] * psi).real
    np.testing.assert_allclose(np.sqrt(u**2 + v**2).max((-2, -1)), 3, rtol=1e-4)
    density = (np.abs(np.fft.fft2(u)) ** 2 + np.abs(np.fft.fft2(v)) ** 2).mean(0)
    shells = [density[(np.sqrt(square) > m - 0.5) & (np.sqrt(square) <= m + 0.5)].sum() for m in range(1, 20)]
    assert 2 <= 1 + int(np.argmax(shells)) <= 5 and shells[15] < 1e-2 * max(shells)


def test_what_is_kept_are_means_over_blocks_at_their_middles():
    settings = {"reynolds": 100.0, "solved": 32, "frames": 2, "dropped": 0, "step": 0.02}
    fine = SDAKolmogorov(resolution=32, **settings).generate(1, Rng(0), dtype=torch.float64)
    made = SDAKolmogorov(resolution=8, **settings)
    few = made.generate(1, Rng(0), dtype=torch.float64)
    for name in made.names:
        np.testing.assert_allclose(few[name][0, 1], fine[name][0, 1].values.reshape(8, 4, 8, 4).mean((1, 3)), atol=1e-6)
    np.testing.assert_allclose(few.x, fine.x.values.reshape(8, 4).mean(1))
