"""Distances against the angle formula, known places, periodic axes, and their digits at small separations."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.distance import cell_places, separation, unit_vectors
from physdiff.grids.latlon import LatLonGrid

GLOBE = LatLonGrid(torch.linspace(87.5, -87.5, 36), torch.arange(0, 360, 5.0))


def test_great_circles() -> None:
    places = torch.tensor([[0.0, 0.0], [180.0, 0.0], [0.0, 90.0], [123.0, 90.0], [-90.0, 0.0]])
    d = separation(GLOBE, places, places) / GLOBE.radius
    quarter = math.pi / 2
    # half a turn is where the arc sine of the chord is steepest: rounding of 1e-16 under a root
    expected = torch.tensor([[0, 2, 1, 1, 1], [2, 0, 1, 1, 1], [1, 1, 0, 0, 1], [1, 1, 0, 0, 1], [1, 1, 1, 1, 0]]) * quarter
    torch.testing.assert_close(d, expected.double(), rtol=0, atol=1e-7)
    near = torch.tensor([[10.0, 50.0], [10.0, 50.0 + 1e-7]], dtype=torch.float64)
    assert float(separation(GLOBE, near, near)[0, 1]) == pytest.approx(math.radians(1e-7) * GLOBE.radius, rel=1e-6)
    assert torch.allclose(unit_vectors(places).norm(dim=1), torch.ones(5).double())


def test_boxes_close_where_they_are_periodic() -> None:
    grid = CartesianGrid((4, 5), extent=(2.0, 10.0), periodic=(False, True))
    d = separation(grid, torch.tensor([[0.5, 0.25]]), torch.tensor([[9.5, 1.75], [5.5, 0.25]]))
    torch.testing.assert_close(d, torch.tensor([[math.hypot(1.0, 1.5), 5.0]]).double())
    assert torch.equal(cell_places(grid)[:2], torch.tensor([[0.0, 0.25], [2.0, 0.25]]).double())
    assert torch.equal(cell_places(GLOBE)[1], torch.tensor([5.0, 87.5]).double())
    with pytest.raises(ShapeError, match=r"expected points \(n, 2\)"):
        separation(grid, torch.zeros(3), torch.zeros(1, 2))
