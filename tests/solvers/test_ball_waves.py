"""Random fields on the sphere: their covariance, and their smoothness across the poles."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.grids.latlon import LatLonGrid
from physdiff.solvers.ball_waves import ball_waves
from physdiff.solvers.initial import RandomField

RADIUS = 6.4e6
GRID = LatLonGrid(torch.linspace(90, -90, 13), torch.arange(16) * 22.5, RADIUS)
WIDE = torch.empty((), dtype=torch.float64)


def test_covariance_is_that_of_the_chord():
    length = 0.6 * RADIUS
    u = ball_waves(GRID, length, range(1500), rng=Rng(0), like=WIDE)
    longitude, latitude = GRID.coordinates()
    places = torch.stack([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()], -1).flatten(0, 1)
    square = torch.cdist(places, places) ** 2
    found = (u.flatten(1).T @ u.flatten(1)) / len(u)
    # 4 standard errors of a covariance of 1500 normal pairs are at most 4 sqrt(2 / 1500) = 0.15; the largest of 208^2 correlated ones
    assert float((found - torch.exp(-square / (2 * 0.6**2))).abs().max()) < 0.17
    assert float((found - torch.exp(-square / (2 * 0.6**2))).square().mean().sqrt()) < 2 / math.sqrt(1500)


def test_a_pole_has_one_value_and_a_sample_depends_on_its_index():
    u = ball_waves(GRID, RADIUS, range(3), rng=Rng(1), like=WIDE)
    assert float((u[:, 0] - u[:, 0, :1]).abs().max()) < 1e-12
    assert torch.equal(ball_waves(GRID, RADIUS, range(1, 3), rng=Rng(1), like=WIDE), u[1:])
    assert ball_waves(GRID, RADIUS, range(2), rng=Rng(1)).dtype == torch.float32


def test_a_random_field_on_the_sphere_has_its_mean_over_the_area():
    u = RandomField(RADIUS / 2, mean=8000.0, std=100.0).sample(GRID, 3, Rng(0), like=WIDE)
    assert float(((u * GRID.weights()).sum((1, 2)) - 8000).abs().max()) < 1e-9 and 20 < float(u.std()) < 200
    with pytest.raises(InputError, match="leave it out"):
        RandomField(RADIUS / 2, slope=3.0).sample(GRID, 1, Rng(0))
