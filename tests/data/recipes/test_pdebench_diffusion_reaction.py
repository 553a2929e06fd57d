"""A twin in numpy: cosines as a matrix, Runge-Kutta in time."""

from __future__ import annotations

import numpy as np
import torch

from physdiff.base.rng import Rng
from physdiff.data.recipes.pdebench_diffusion_reaction import PDEBenchDiffusionReaction


def test_it_is_what_cosines_between_walls_give():
    n = 12
    ds = PDEBenchDiffusionReaction(resolution=n, horizon=0.2).generate(1, Rng(0), dtype=torch.float64)
    k = np.arange(n)
    cosines = np.cos(np.pi * k[None] * (k[:, None] + 0.5) / n)
    second = cosines @ np.diag(-((np.pi * k / 2) ** 2)) @ np.linalg.inv(cosines)

    def rate(w):
        u, v = w
        lap_u, lap_v = (second @ f + f @ second.T for f in w)
        return np.stack([1e-3 * lap_u + u - u**3 - 5e-3 - v, 5e-3 * lap_v + u - v])

    w, dt = np.stack([ds.u[0, 0].values, ds.v[0, 0].values]), 1e-3
    for _ in range(200):
        a = rate(w)
        b = rate(w + dt / 2 * a)
        c = rate(w + dt / 2 * b)
        w = w + dt / 6 * (a + 2 * b + 2 * c + rate(w + dt * c))
    # the same points and modes; both steps are of order 4 and far below the times of the law
    np.testing.assert_allclose(np.stack([ds.u[0, -1], ds.v[0, -1]]), w, atol=1e-6)
    assert ds.u.x.values[0] == -1 + 1 / n


def test_the_noise_is_white_and_normal():
    ds = PDEBenchDiffusionReaction(resolution=32, horizon=0.05).generate(4, Rng(0), dtype=torch.float64)
    for field in (ds.u, ds.v):
        values = field[:, 0].values
        assert abs(values.mean()) < 4 / 64 and abs(values.var() - 1) < 4 * 2**0.5 / 64  # 4096 numbers
        assert abs((values[..., 1:] * values[..., :-1]).mean()) < 4 / 63
