"""The law typed anew, by another method; amplitudes of both versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.fno_navier_stokes import DiagonalForcing, FNONavierStokes
from physdiff.data.recipes.table import recipe
from physdiff.grids.cartesian import CartesianGrid

SMALL = {"solved": 32, "resolution": 32, "horizon": 1.0, "step": 0.01, "viscosity": 5e-3}


def test_golden_amplitudes():
    grid = CartesianGrid((256, 256), 1.0)
    for version, want in (("new", 0.185), ("old", 0.262)):
        made = recipe("fno_navier_stokes", version=version)
        assert isinstance(made, FNONavierStokes) and math.sqrt(made.initial.variance(grid)) == pytest.approx(want, abs=5e-4)
    old, new = (recipe("fno_navier_stokes", **SMALL, version=v).generate(1, Rng(0)).vorticity[0, 0].values for v in ("old", "new"))
    np.testing.assert_allclose(old, math.sqrt(2) * new, rtol=1e-5)


def test_it_obeys_the_law():
    """numpy, Runge-Kutta of order 4, u = (psi_y, -psi_x), the same two-thirds rule."""
    made = recipe("fno_navier_stokes", **SMALL).generate(1, Rng(0), dtype=torch.float64).vorticity[0].values
    n = 32
    k = 2 * np.pi * np.fft.fftfreq(n, 1 / n)
    kx, ky = k[None, :], k[:, None]
    square = kx**2 + ky**2
    inverse = np.divide(1, square, where=square > 0, out=np.zeros_like(square))
    keep = (np.abs(kx) < 2 * np.pi * n / 3) & (np.abs(ky) < 2 * np.pi * n / 3)
    x = np.arange(n) / n
    force = np.fft.fft2(0.1 * (np.sin(2 * np.pi * (x[None] + x[:, None])) + np.cos(2 * np.pi * (x[None] + x[:, None]))))

    def rate(w):
        cut = w * keep
        u, v, wx, wy = (np.fft.ifft2(f).real for f in (1j * ky * cut * inverse, -1j * kx * cut * inverse, 1j * kx * cut, 1j * ky * cut))
        return -np.fft.fft2(u * wx + v * wy) * keep + force - 5e-3 * square * w

    w, dt = np.fft.fft2(made[0]), 1 / 400
    for _ in range(400):
        a = rate(w)
        b = rate(w + dt / 2 * a)
        c = rate(w + dt / 2 * b)
        w = w + dt / 6 * (a + 2 * b + 2 * c + rate(w + dt * c))
    # both of order 4 with small steps; the force alone moves the field by 0.1
    np.testing.assert_allclose(made[1], np.fft.ifft2(w).real, atol=1e-7)


def test_the_force_varies_along_the_diagonal():
    one, two = (torch.tensor([[v]], dtype=torch.float64) for v in (0.3, 0.1))
    assert float(DiagonalForcing()(one, two, 0.0)) == pytest.approx(0.1 * (math.sin(0.8 * math.pi) + math.cos(0.8 * math.pi)))
    with pytest.raises(InputError, match="version"):
        recipe("fno_navier_stokes", version="paper")
