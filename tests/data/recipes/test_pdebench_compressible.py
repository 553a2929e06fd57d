"""What the random flows keep, and the exact solution of every tube."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.pdebench_compressible import PDEBenchCompressible
from physdiff.pdes.exact_riemann import GasState, gas_riemann


def test_random_flows_keep_mass_momentum_and_energy():
    made = PDEBenchCompressible(resolution=32, horizon=0.04, interval=0.02)
    ds = made.generate(2, Rng(0), dtype=torch.float64)
    rho, u, p = ds.density.values, ds.velocity_x.values, ds.pressure.values
    scale = (p / (2 / 3)).mean(-1)[:, :1]
    for kept in (rho, rho * u, p / (2 / 3) + rho * u**2 / 2):
        mean = kept.mean(-1)
        assert np.abs(mean - mean[:, :1]).max() < 1e-12 * scale.max()
    assert rho.min() > 0.05 and np.abs(u[:, 0]).max(-1) == pytest.approx(np.sqrt(5 / 3 * (p / rho).mean(-1)[:, 0]), rel=0.2)
    alone = made.batch(1, 1, rng=Rng(0), tick=lambda n: None)["density"][0]
    np.testing.assert_array_equal(alone, rho[1])


def test_tubes_are_riemann_problems():
    made = PDEBenchCompressible(kind="shock", viscosity=0.0, bulk_viscosity=0.0, resolution=128, horizon=0.04, interval=0.02, mach=0.5)
    ds, x = made.generate(2, Rng(0), dtype=torch.float64), made.grid.axes()[0]
    for i in range(2):
        position, (left, right) = made.tube(i, Rng(0))
        exact = gas_riemann(x, 0.04, (GasState(*left), GasState(*right)), heat_ratio=5 / 3, position=position)
        for name in made.names:
            want, first = exact[name].numpy(), ds[name].values[i, 0]
            moved = np.abs(want - first).mean()
            # waves are smeared over a few cells of the ten or so that they cross
            assert np.abs(ds[name].values[i, -1] - want).mean() < 0.35 * moved


def test_what_makes_no_sense():
    with pytest.raises(InputError, match="kind"):
        PDEBenchCompressible(kind="turbulent")
    with pytest.raises(InputError, match="viscosity"):
        PDEBenchCompressible(viscosity=-1.0)
