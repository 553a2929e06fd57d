"""Spectra and covariances against closed form; golden amplitudes of the Fourier neural operator's fields."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.whittle import WhittleField

LIKE = torch.empty((), dtype=torch.float64)


def test_golden_amplitude_of_the_navier_stokes_fields():
    """sigma = 7^1.5, tau = 7, alpha = 2.5 on the unit square: 0.185 (and 0.262 with sigma larger by sqrt 2)."""
    grid = CartesianGrid((256, 256), 1.0)
    assert math.sqrt(WhittleField(7**1.5, 7.0, 2.5).variance(grid)) == pytest.approx(0.185, abs=5e-4)
    assert math.sqrt(WhittleField(math.sqrt(2) * 7**1.5, 7.0, 2.5).variance(grid)) == pytest.approx(0.262, abs=5e-4)


@pytest.mark.parametrize("periodic", [True, False])
def test_the_variance_of_every_mode_is_that_of_the_operator(periodic):
    """Project samples on orthonormal modes: variances sigma^2 (k^2 + tau^2)^-alpha, on a box of unequal sides."""
    grid, field, n = CartesianGrid((8, 12), (1.0, 2.0), periodic=periodic), WhittleField(3.0, 2.0, 1.5), 4000
    u = field.sample(grid, n, Rng(0), like=LIKE)
    x, y = grid.coordinates()
    cell = math.prod(grid.spacing)
    for ny, nx in ((0, 1), (1, 0), (2, 3), (3, 1)):
        if periodic:
            kx, ky = 2 * math.pi * nx / 2.0, 2 * math.pi * ny
            mode = math.sqrt(2 / 2.0) * torch.cos(kx * x + ky * y)
        else:
            kx, ky = math.pi * nx / 2.0, math.pi * ny
            mode = math.sqrt((1 + (nx > 0)) * (1 + (ny > 0)) / 2.0) * torch.cos(kx * x) * torch.cos(ky * y)
        coefficient = (u * mode).sum((-1, -2)) * cell
        want = 9.0 * (kx**2 + ky**2 + 4.0) ** -1.5
        # the variance of n normal numbers has a relative standard error sqrt(2 / n)
        assert float(coefficient.var()) == pytest.approx(want, rel=4 * math.sqrt(2 / n))
    np.testing.assert_allclose(u.mean((-1, -2)), 0, atol=1e-12)
    assert float((u**2).mean()) == pytest.approx(field.variance(grid), rel=0.05)  # few modes dominate: effective number above 4 n


def test_the_covariance_is_that_of_the_closed_form():
    """On a line, alpha = 1: the periodic Green's function cosh(tau (L/2 - r)) / (2 tau sinh(tau L / 2)) less its mean."""
    tau, n = 5.0, 8000
    grid = CartesianGrid(256, 1.0)
    u = WhittleField(1.0, tau, 1.0).sample(grid, n, Rng(1), like=LIKE)
    for lag in (16, 64, 128):
        r = lag / 256
        want = math.cosh(tau * (0.5 - r)) / (2 * tau * math.sinh(tau / 2)) - 1 / tau**2
        got = (u * u.roll(lag, -1)).mean(-1)
        # Monte Carlo, 4 standard errors; modes beyond the grid add 1e-4 of the variance at these lags
        assert float(got.mean()) == pytest.approx(want, abs=4 * float(got.std()) / math.sqrt(n) + 2e-4)


def test_a_sample_depends_on_its_index_alone():
    grid, field = CartesianGrid((6, 8), periodic=False), WhittleField(1.0, 1.0, 2.0)
    torch.testing.assert_close(field.sample(grid, 2, Rng(0), start=3), field.sample(grid, 5, Rng(0))[3:], rtol=0, atol=0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="WhittleField tau"):
        WhittleField(1.0, 0.0, 1.0)
    with pytest.raises(GridMismatch, match="every axis or along none"):
        WhittleField(1.0, 1.0, 1.0).sample(CartesianGrid((4, 4), periodic=(True, False)), 1, Rng(0))
