"""Squared slopes on periodic boxes, and none elsewhere."""

import math

import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.squared_slope import squared_slope


def test_it_is_the_square_of_the_gradient():
    grid = CartesianGrid((12, 20), extent=(1.5, 2.0))
    x, y = grid.coordinates()
    k, m = math.pi, 4 * math.pi / 1.5
    f = torch.stack([torch.sin(k * x + m * y), torch.cos(2 * k * x)])
    wanted = torch.stack([(k * k + m * m) * torch.cos(k * x + m * y) ** 2, (2 * k * torch.sin(2 * k * x)) ** 2])
    torch.testing.assert_close(squared_slope(f, grid), wanted)


def test_where_the_ends_decide_there_is_none():
    assert squared_slope(torch.zeros(8, dtype=torch.float64), CartesianGrid(8, periodic=False)) is None
