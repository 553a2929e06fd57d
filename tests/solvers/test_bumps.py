"""Bumps stand where, and are as high and wide as, their ranges say."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.bumps import Bump, GaussianBumps


def test_one_bump_has_the_moments_of_a_gaussian():
    grid = CartesianGrid((60, 80), (3.0, 4.0), periodic=False)
    field = GaussianBumps((Bump((1.2, 1.8), (2.0, 3.0), (0.1, 0.15)),))
    u = field.sample(grid, 4, Rng(0), like=torch.empty((), dtype=torch.float64))
    x, y = grid.coordinates()
    mass = u.sum((1, 2))
    mean = (u * x).sum((1, 2)) / mass
    spread = ((u * x**2).sum((1, 2)) / mass - mean**2).sqrt()
    height = mass * math.prod(grid.spacing) / (2 * math.pi * spread**2)
    # Gaussians two cells wide and eight widths from the walls: sums are integrals to rounding
    for values, low, high in ((mean, 1.2, 1.8), (spread, 0.1, 0.15), (height, 2.0, 3.0)):
        assert bool((values >= low - 1e-3).all() and (values <= high + 1e-3).all()) and float(values.std()) > 0
    torch.testing.assert_close(field.sample(grid, 1, Rng(0), start=2), field.sample(grid, 3, Rng(0))[2:], rtol=0, atol=0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="Bump height: expected a finite range"):
        Bump((0, 1), (2, 1), (0.1, 0.1))
    with pytest.raises(InputError, match="widths above zero"):
        Bump((0, 1), (1, 1), (0.0, 0.1))
    with pytest.raises(InputError, match="at least one bump"):
        GaussianBumps(())
