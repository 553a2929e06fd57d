from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.wall_poisson import WallPoisson

CASES = [
    ((5, 8), (False, True), None),
    ((6, 7), (True, True), None),
    ((6, 7), (False, False), {"x": "sine"}),
    ((4, 5, 6), (True, False, True), {"y": "sine"}),
    ((4, 5, 6), (True, True, False), None),
    ((7,), (False,), {"x": "sine"}),
]


def laplacian(f, grid, kinds):
    """By neighbours, with mirrored or turned ghosts."""
    total = torch.zeros_like(f)
    for a, (name, closed, h) in enumerate(zip(grid.dims, grid.periodic, grid.spacing, strict=True)):
        axis = f.ndim - grid.ndim + a
        n, sign = f.shape[axis], -1.0 if (kinds or {}).get(name) == "sine" else 1.0
        low, high = (f.narrow(axis, n - 1, 1), f.narrow(axis, 0, 1)) if closed else (sign * f.narrow(axis, 0, 1), sign * f.narrow(axis, n - 1, 1))
        wide = torch.cat([low, f, high], axis)
        total = total + (wide.narrow(axis, 2, n) - 2 * f + wide.narrow(axis, 0, n)) / h**2
    return total


@pytest.mark.parametrize(("shape", "periodic", "kinds"), CASES)
def test_solutions_put_back_give_the_right_hand_side(shape, periodic, kinds):
    grid = CartesianGrid(shape, extent=(1.0, 2.3, 0.7)[: len(shape)], periodic=periodic)
    f = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    space = tuple(range(1, f.ndim))
    singular = not kinds
    solver = WallPoisson(grid, kinds)
    g = solver.solve(f)
    wanted = f - f.mean(space, keepdim=True) if singular else f
    torch.testing.assert_close(laplacian(g, grid, kinds), wanted, atol=1e-10, rtol=0)
    if singular:
        assert float(g.mean(space).abs().max()) < 1e-13
    g = solver.solve_helmholtz(f, 0.03)
    torch.testing.assert_close(g - 0.03 * laplacian(g, grid, kinds), f, atol=1e-10, rtol=0)


def test_gradients_and_refusals():
    grid = CartesianGrid((3, 4), periodic=(False, True))
    f = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(WallPoisson(grid).solve, (f,))
    with pytest.raises(InputError, match="cosine or sine for open axes"):
        WallPoisson(grid, {"x": "sine"})
    with pytest.raises(InputError, match="of at least zero"):
        WallPoisson(grid).solve_helmholtz(f, -1.0)
    with pytest.raises(UnsupportedOperator, match="uniform"):
        WallPoisson(LatLonGrid(torch.linspace(-60, 60, 5), torch.arange(0, 360, 60.0)))
