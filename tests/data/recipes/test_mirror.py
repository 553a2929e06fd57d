"""Cosines and sines between walls are waves of the doubled box."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import GridMismatch
from physdiff.data.recipes.mirror import doubled_grid, first_half, mirrored
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral

GRID = CartesianGrid((6, 10), (1.5, 2.0), (0.5, -1.0), periodic=False)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_laplacian_of_a_mode_between_walls(sign):
    x, y = GRID.coordinates()
    wave = torch.cos if sign > 0 else torch.sin
    u = wave(3 * math.pi * (x + 1) / 2) * wave(2 * math.pi * (y - 0.5) / 1.5)
    double = doubled_grid(GRID)
    torch.testing.assert_close(first_half(double.coordinates()[0], 2), x)
    torch.testing.assert_close(first_half(double.coordinates()[1], 2), y)
    lap = first_half(Spectral(double).lap(mirrored(u[None], 2, sign=sign)), 2)[0]
    torch.testing.assert_close(lap, -((3 * math.pi / 2) ** 2 + (2 * math.pi / 1.5) ** 2) * u, atol=1e-10, rtol=0)


def test_periodic_boxes_have_no_walls():
    with pytest.raises(GridMismatch, match="between walls"):
        doubled_grid(CartesianGrid(8))
