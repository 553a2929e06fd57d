"""Operators of cells: those of finite differences, but for the slope of a given function."""

import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.solvers.cell_operators import CellOperators

GRID = CartesianGrid((10, 14), extent=(1.5, 2.0), periodic=(False, True))


def test_derivatives_are_those_of_finite_differences():
    D, E = CellOperators(GRID, order=4), FiniteDifference(GRID, order=4)
    f = torch.randn(2, 10, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(D.grad(f), E.grad(f))
    torch.testing.assert_close(D.div((f, f)), E.div((f, f)))
    torch.testing.assert_close(D.lap(f), E.lap(f))
    torch.testing.assert_close(D.partial(f, 1, 3), E.partial(f, 1, 3))
    assert D.ndim == 2 and D.coordinates[0].shape == (10, 14)


def test_slope_of_a_function_is_its_difference_over_the_cell():
    D = CellOperators(GRID)
    like = torch.zeros(3, 10, 14, dtype=torch.float64)
    along_x, along_y = D.slopes(lambda x, y, t: t * x**2 + y**3, 2.0, like=like)
    x, y = GRID.coordinates()
    h = GRID.spacing[0]
    torch.testing.assert_close(along_x[1], 4 * x)
    # ((y + h/2)^3 - (y - h/2)^3) / h
    torch.testing.assert_close(along_y[2], 3 * y**2 + h**2 / 4)
