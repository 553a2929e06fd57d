"""What flows in the plane keep, how they begin, and how slow turbulence decays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.pdebench_compressible_plane import PDEBenchCompressiblePlane
from physdiff.operators.spectral import Spectral


@pytest.mark.parametrize("kind", ["random", "turbulence"])
def test_mass_momentum_and_energy_are_kept(kind):
    made = PDEBenchCompressiblePlane(kind, resolution=12, horizon=0.02, interval=0.01, mach=0.5)
    ds = made.generate(2, Rng(0), dtype=torch.float64)
    rho, u, v, p = (ds[name].values for name in made.names)
    scale = (p / (2 / 3)).mean((-1, -2))[:, :1]
    for kept in (rho, rho * u, rho * v, p / (2 / 3) + rho * (u**2 + v**2) / 2):
        mean = kept.mean((-1, -2))
        # rounding of sums over cells and steps
        assert np.abs(mean - mean[:, :1]).max() < 1e-12 * max(scale.max(), 1)
    assert rho.min() > 0.05 and p.min() > 0
    np.testing.assert_array_equal(made.batch(1, 1, rng=Rng(0), tick=lambda n: None)["density"][0], rho[1])


def test_first_states():
    flow = PDEBenchCompressiblePlane(resolution=32, mach=1.0)
    for i in range(3):
        rho, (u, v), p = flow.initial(i, Rng(1))
        assert 0.1 * 0.8 < float(rho.min()) and float(rho.max()) < 10 * 1.2
        undisturbed = float(rho.mean() * (p / rho).mean())
        assert float(u.abs().max()) == pytest.approx(math.sqrt(5 / 3 * undisturbed / float(rho.mean())), rel=0.05)
        # waves of at most four per box
        assert float(torch.fft.fft2(v)[0, 5:28].abs().max()) < 1e-9 * float(torch.fft.fft2(v).abs().max())
    still = PDEBenchCompressiblePlane("turbulence", resolution=32, mach=0.1)
    rho, (u, v), p = still.initial(0, Rng(1))
    assert float(Spectral(still.grid).div((u, v)).abs().max()) < 1e-10 and float(torch.hypot(u, v).mean()) == pytest.approx(1.0)
    assert float((5 / 3 * p / rho).sqrt().mean()) == pytest.approx(10.0)


def test_turbulence_loses_its_motion_to_heat():
    made = PDEBenchCompressiblePlane("turbulence", resolution=12, horizon=0.1, interval=0.05, mach=0.5)
    ds = made.generate(1, Rng(2), dtype=torch.float64)
    motion = (ds.density * (ds.velocity_x**2 + ds.velocity_y**2) / 2).mean(("x", "y")).values[0]
    heat = (ds.pressure / (2 / 3)).mean(("x", "y")).values[0]
    # viscosity, and what MUSCL adds on such cells
    assert motion[0] > motion[1] > motion[2] > 0.1 * motion[0] and heat[2] > heat[0]


def test_what_makes_no_sense():
    for wrong in ({"kind": "shock"}, {"viscosity": -1.0}, {"mach": 0.0}, {"resolution": 4}, {"horizon": 0.01}):
        with pytest.raises(InputError, match="PDEBenchCompressiblePlane"):
            PDEBenchCompressiblePlane(**wrong)
