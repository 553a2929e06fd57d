"""Cole and Hopf's exact solution at the published viscosities, nu over pi."""

from __future__ import annotations

import math

import numpy as np
import torch

from physdiff.base.rng import Rng
from physdiff.data.recipes.pdebench_burgers import PDEBenchBurgers
from tests.data.recipes.cole_hopf import cole_hopf


def test_frames_are_exact():
    made = PDEBenchBurgers(nu=0.2, resolution=256, horizon=0.4, interval=0.1)
    u = made.generate(2, Rng(1), dtype=torch.float64).u.values
    for i in range(2):
        want = [cole_hopf(u[i, 0], 0.2 / math.pi, t) for t in (0.1, 0.4)]
        # shocks of thickness 4 nu / (pi jump), about 0.1, on 256 points: resolved to rounding; the steps leave 1e-8
        np.testing.assert_allclose(u[i, [1, 4]], want, atol=1e-6)


def test_thin_shocks_get_finer_grids():
    assert [PDEBenchBurgers(nu=nu).factor for nu in (0.001, 0.002, 0.01, 1.0)] == [8, 4, 1, 1]
    assert PDEBenchBurgers(nu=1.0, refine=2).factor == 2
