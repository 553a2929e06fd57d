"""Darcy's pressure: a manufactured solution in a smooth medium under all kinds of wall, and published pressures of a binary one."""

import math

import pytest
import torch
from netCDF4 import Dataset

from physdiff.grids.boundary import Dirichlet, Neumann, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.pdes.darcy import Darcy
from physdiff.solvers.darcy import solve_darcy


def medium(x, y):
    return torch.exp(0.8 * torch.sin(2 * x + 1) + 0.5 * x * y)


def pressure(x, y):
    return torch.sin(3 * x + y) + x * y**2 + 0.4


def slope_y(x, y):
    return torch.cos(3 * x + y) + 2 * x * y


def source(x, y):
    """What the law, as text at points, leaves of the manufactured pressure: its source."""
    x, y = (c.detach().clone().requires_grad_() for c in (x, y))
    u = {"permeability": medium(x, y), "pressure": pressure(x, y)}
    return Darcy(source=0.0).constraints(u, Autograd((x, y)))["pressure"].detach()


@pytest.mark.parametrize("mean", ["harmonic", "arithmetic"])
def test_second_order_on_a_manufactured_pressure(mean):
    walls = {
        "x": (Dirichlet(lambda x, y, t: pressure(x, y)), Dirichlet(lambda x, y, t: pressure(x, y))),
        # the outward normal is -y below and y above
        "y": (Robin(1.0, 0.5, lambda x, y, t: pressure(x, y) - 0.5 * slope_y(x, y)), Neumann(lambda x, y, t: slope_y(x, y))),
    }
    errors = []
    for n in (1, 2, 4):
        grid = CartesianGrid((9 * n, 14 * n), extent=(0.7, 1.3), origin=(0.2, -0.4), periodic=False)
        p = solve_darcy(medium(*grid.coordinates())[None], source, grid, boundary=walls, mean=mean)
        errors.append(float((p - pressure(*grid.coordinates())).abs().max()))
    rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    print(mean, *(f"{e:.2e}" for e in errors), "orders", *(f"{r:.2f}" for r in rates))
    assert all(abs(rate - 2) < 0.25 for rate in rates), (errors, rates)


def published(path, samples):
    with Dataset(path / "pde" / "darcy_16.h5") as file:
        return [torch.from_numpy(file[name][:samples].astype("float64")) for name in ("train_a", "train_u")]


def solved(classes, contrast, *, finer):
    """Pressures at the nodes (i, j)/16 of the unit square, zero at its walls, of a = 1 or `contrast`; the nearest node's class everywhere.

    Cells of 1/(16 finer), so that the nodes are corners of four of them; their mean is taken. At the walls x = 0 and y = 0 it is zero.
    """
    n = 16 * finer
    nearest = ((torch.arange(n, dtype=torch.float64) + 0.5) / finer).round().long().clamp(max=15)
    a = 1 + (contrast - 1) * classes[:, nearest][:, :, nearest]
    p = solve_darcy(a, 1.0, CartesianGrid((n, n), periodic=False))
    corners = torch.nn.functional.avg_pool2d(p, 2, stride=1)[:, finer - 1 :: finer, finer - 1 :: finer]
    return torch.nn.functional.pad(corners, (1, 0, 1, 0))


def misfit(p, u):
    """Root mean square over that of u, after the one factor for all samples that fits best; and the factor."""
    factor = (p * u).sum() / p.square().sum()
    return float((factor * p - u).norm() / u.norm()), float(factor)


def test_published_pressures_tell_their_grid_and_their_contrast(shared_data):
    classes, u = published(shared_data, 40)
    found = {contrast: misfit(solved(classes, contrast, finer=2), u) for contrast in (4.0, 12.0, 18.0, 25.0)}
    print("published", {k: f"misfit {e:.4f} factor {s:.2f}" for k, (e, s) in found.items()})
    # the file names neither: the contrast that fits is near 18, not the 3 or 4 of the recipes in print, with a = 1/50 and 18/50 for f = 1
    assert min(found, key=lambda k: found[k][0]) == 18.0 and abs(found[18.0][1] - 50) < 1
    # what is left is the medium between the nodes, which the file does not have: eight percent, four times less than of a wrong medium
    assert found[18.0][0] < 0.085 and found[4.0][0] > 0.25
    turned, _ = misfit(solved(classes.mT.contiguous(), 18.0, finer=2), u)
    assert turned > 4 * found[18.0][0]
    # half of all pressures are met within four percent of the typical one
    off = (found[18.0][1] * solved(classes, 18.0, finer=2) - u)[:, 1:, 1:].abs().median()
    assert float(off / u[:, 1:, 1:].abs().median()) < 0.04
