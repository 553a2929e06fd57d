"""A twin of finite volumes in numpy, with the force typed anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.wdno_burgers import WDNOBurgers


def test_it_is_what_finite_volumes_between_walls_give():
    n, horizon = 160, 1.0
    made = WDNOBurgers(resolution=n, horizon=horizon, intervals=2, step=2e-3)
    ds = made.generate(1, Rng(1), dtype=torch.float64)
    x, h = ds.x.values, 1 / n
    bumps = made.force(0, 1, Rng(1)).bumps[0].numpy()

    def force(t):
        return sum(2 * a * np.exp(-((x - c) ** 2) / (2 * w**2) - (t / horizon - d) ** 2 / (2 * v**2)) for a, c, w, d, v in bumps)

    np.testing.assert_allclose(ds.force[0], [force(t) for t in (0.0, 0.5, 1.0)], atol=1e-12)

    def rate(u, t):
        wide = np.concatenate([-u[:1], u, -u[-1:]])  # zero at the walls, half a cell outside
        flux = (wide[1:] ** 2 / 2 + wide[:-1] ** 2 / 2) / 2 - 0.01 * np.diff(wide) / h
        return -np.diff(flux) / h + force(t)

    u, steps = ds.u[0, 0].values, 2500
    dt = horizon / steps
    for i in range(steps):
        t = i * dt
        a = rate(u, t)
        b = rate(u + dt / 2 * a, t + dt / 2)
        c = rate(u + dt / 2 * b, t + dt / 2)
        u = u + dt / 6 * (a + 2 * b + 2 * c + rate(u + dt * c, t + dt))
    # second order in h with slopes of u of width 0.02, three cells: a percent; a force or viscosity 10 % off gives more than 0.05
    assert np.sqrt(np.mean((ds.u[0, -1].values - u) ** 2)) < 1e-2 * np.abs(u).max()


@pytest.mark.slow
def test_errors_fall_with_the_spacing():
    settings = {"resolution": 40, "horizon": 0.5, "intervals": 1, "step": 2e-3}
    one, three, nine = (WDNOBurgers(**settings, refine=r).generate(1, Rng(0), dtype=torch.float64).u.values[0, -1] for r in (1, 3, 9))
    # the force does not vanish at the walls: at least first order there, and far better in between
    assert np.abs(nine - three).max() < np.abs(three - one).max() / 3
    assert np.abs(nine - three)[5:-5].max() < 1e-3


def test_forces_of_the_literature():
    force = WDNOBurgers().force(0, 400, Rng(0))
    height, width = force.bumps[..., 0], force.bumps[..., 2]
    there = (height != 0).double().mean(0)
    assert float(there[0]) == 1 and bool(((there[1:] - 0.5).abs() < 4 * 0.5 / 20).all())
    assert float(height.abs().max()) <= 1.5 and 0.1 <= float(width.min()) and float(width.max()) <= 0.4
    with pytest.raises(InputError, match="odd number"):
        WDNOBurgers(refine=4)
