"""Growth without diffusion's help is logistic; a twin in numpy for both together."""

from __future__ import annotations

import numpy as np
import torch

from physdiff.base.rng import Rng
from physdiff.data.recipes.pdebench_reaction_diffusion import PDEBenchReactionDiffusion


def test_it_obeys_the_law():
    made = PDEBenchReactionDiffusion(nu=0.5, rho=5.0, resolution=64, horizon=0.02)
    u = made.generate(2, Rng(1), dtype=torch.float64).u.values
    assert u[:, 0].min() >= 0 and np.allclose(u[:, 0].max(1), 1)
    k = 2 * np.pi * np.fft.fftfreq(64, 1 / 64)
    for i in range(2):
        hat, dt = np.fft.fft(u[i, 0]), 2e-5
        decay = np.exp(-0.5 * k**2 * dt / 2)
        for _ in range(1000):  # Strang's splitting with the exact logistic step, second order
            v = np.fft.ifft(hat * decay).real
            v = v / (v + (1 - v) * np.exp(-5.0 * dt))
            hat = np.fft.fft(v) * decay
        np.testing.assert_allclose(u[i, 2], np.fft.ifft(hat).real, atol=1e-5)


def test_in_the_end_it_is_logistic():
    """Diffusion of 0.5 evens everything out by t = 0.8 (exp(-16) of the longest wave); the mean then grows by itself."""
    u = PDEBenchReactionDiffusion(rho=2.0, resolution=32, interval=0.1).generate(1, Rng(0), dtype=torch.float64).u[0].values
    assert np.ptp(u[8]) < 1e-6
    m = u.mean(1)
    np.testing.assert_allclose(m[10], m[8] / (m[8] + (1 - m[8]) * np.exp(-0.4)), rtol=1e-6)
