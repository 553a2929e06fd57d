"""Both problems against Cole and Hopf's exact solution."""

from __future__ import annotations

import math

import numpy as np
import torch

from physdiff.base.rng import Rng
from physdiff.data.recipes.table import recipe
from tests.data.recipes.cole_hopf import cole_hopf


def test_the_paper_s_map_is_exact():
    made = recipe("fno_burgers", solved=512, resolution=512)
    u = made.generate(2, Rng(0), dtype=torch.float64).u.values
    for i in range(2):
        # smooth at nu = 0.1: the error of ETDRK4 with steps of 1/400; a viscosity 1 % off would be seen in the second digit
        np.testing.assert_allclose(u[i, -1], cole_hopf(u[i, 0], 0.1, 1.0), atol=1e-8)
    few = recipe("fno_burgers", solved=512, resolution=64).generate(1, Rng(0), dtype=torch.float64).u.values
    np.testing.assert_array_equal(few[0], u[0, :, ::8])


def test_the_script_s_fields_steepen_as_they_should():
    made = recipe("fno_burgers_script", viscosity=0.01, intervals=2)
    u = made.generate(1, Rng(3), dtype=torch.float64).u.values
    np.testing.assert_allclose(u[0, 1:], [cole_hopf(u[0, 0], 0.01, t) for t in (0.5, 1.0)], atol=1e-7)
    # at the published viscosity Cole and Hopf's exponential spans too many decades for float64: half the step must change nothing
    long, short = (recipe("fno_burgers_script", intervals=2, step=step).generate(1, Rng(3), dtype=torch.float64).u.values for step in (2e-3, 1e-3))
    np.testing.assert_allclose(long, short, atol=1e-4)


def test_root_mean_square_of_the_initial_fields():
    """Sums over the waves: 625 (4 pi^2 k^2 + 25)^-2 and 49^2 (4 pi^2 k^2 + 49)^-2.5."""
    k = 2 * math.pi * np.arange(1, 513)
    for name, want in (
        ("fno_burgers", math.sqrt(2 * np.sum(625 * (k**2 + 25) ** -2.0))),
        ("fno_burgers_script", math.sqrt(2 * np.sum(49.0**2 * (k**2 + 49) ** -2.5))),
    ):
        n = 500
        made = recipe(name, solved=1024, resolution=1024, intervals=1, step=1.0, viscosity=10.0)
        square = (made.generate(n, Rng(0), batch_size=n, dtype=torch.float64).u.values[:, 0] ** 2).mean(1)
        assert abs(square.mean() - want**2) < 4 * square.std() / math.sqrt(n)
