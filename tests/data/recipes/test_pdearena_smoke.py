"""Smoke stays in the box and rises; the energy it gives is the work of its lift."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.pdearena_smoke import PDEArenaSmoke

SMALL = {"resolution": 16, "frames": 3, "dropped": 0, "interval": 1.0, "step": 0.2}


def test_smoke_stays_and_rises():
    ds = PDEArenaSmoke(**SMALL).generate(2, Rng(0), dtype=torch.float64)
    total = ds.smoke.sum(("y", "x"))
    np.testing.assert_allclose(total, total.isel(time=0).broadcast_like(total), rtol=2e-6)  # float32 inside
    height = (ds.smoke * ds.y).sum(("y", "x")) / total
    assert bool((height.diff("time") > 0).all())
    # potential energy becomes kinetic: a little is lost to viscosity and to limited slopes
    cell = 4.0
    kinetic = 0.5 * cell * (ds.velocity_x**2 + ds.velocity_y**2).sum(("y", "x"))
    given = 0.5 * cell * (height - height.isel(time=0)) * total
    gained, work = (kinetic - kinetic.isel(time=0))[:, 1:], given[:, 1:]
    assert bool((gained > 0.6 * work).all()) and bool((gained < 1.02 * work).all())
    assert float(ds.smoke.min()) >= 0 and ds.time.values.tolist() == [1.0, 2.0, 3.0]


def test_the_lift_of_each_sample():
    made = PDEArenaSmoke(**SMALL, lift_low=0.2)
    both, one = made.generate(3, Rng(1), batch_size=3), made.generate(3, Rng(1), batch_size=1)
    assert np.unique(both.lift).size == 3 and 0.2 <= float(both.lift.min()) and float(both.lift.max()) <= 0.5
    np.testing.assert_allclose(both.velocity_y, one.velocity_y, atol=2e-5)
    with pytest.raises(InputError, match="at least lift_low"):
        PDEArenaSmoke(lift_low=0.7)
