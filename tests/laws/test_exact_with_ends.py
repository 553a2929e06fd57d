"""Exact solutions between ends: inlets, outlets and walls imposed by finite differences, measured orders."""

import math

import pytest
import torch

from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import VectorBurgers
from physdiff.pdes.exact_advection import boundary_layer, ogata_banks
from physdiff.pdes.exact_burgers import plane_front
from physdiff.pdes.mass_action import MassAction
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve


def orders(errors):
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


@pytest.mark.parametrize("conservative", [True, False])
def test_a_step_at_the_inlet_of_a_column(conservative):
    law, errors = AdvectionDiffusion(0.1, (0.8,), conservative=conservative), []
    for n in (40, 80):
        grid = CartesianGrid(n, extent=6.0, periodic=False)
        (x,) = grid.coordinates()
        D = FiniteDifference(grid, order=2, boundary={"x": (Dirichlet(1.0), Neumann(0.0))})
        start, end = (ogata_banks(x, t, velocity=0.8, diffusivity=0.1)[None] for t in (0.5, 1.5))
        found = solve(RungeKutta(law, D), {"c": start}, torch.tensor([0.5, 1.5], dtype=torch.float64), substeps=2 * n)["c"][:, -1]
        errors.append(float((found - end).square().mean().sqrt()))
    print("inlet", errors, orders(errors))
    assert abs(orders(errors)[0] - 2) < 0.25 and errors[-1] < 1e-3


def test_the_layer_at_an_outlet_is_steady():
    errors = []
    for n in (40, 80, 160):
        grid = CartesianGrid(n, extent=1.0, periodic=False)
        D = FiniteDifference(grid, order=4, boundary={"x": (Dirichlet(0.0), Dirichlet(1.0))})
        c = boundary_layer(grid.coordinates()[0], peclet=10.0)[None]
        errors.append(float(AdvectionDiffusion(0.1, (1.0,)).rhs({"c": c}, D, 0.0)["c"].square().mean().sqrt()))
    print("layer", errors, orders(errors))
    assert orders(errors)[-1] > 3.5 and errors[-1] < 1e-3


def test_an_inlet_that_feeds_brings_what_it_should():
    """Danckwerts: v c - K dc/dx = v c_in at the lower end, as `Robin(v, K, v * c_in)`; nothing has reached the other one yet."""
    v, k, fed = 0.8, 0.05, 1.5
    amounts = []
    for n in (30, 60):
        grid = CartesianGrid(n, extent=3.0, periodic=False)
        D = FiniteDifference(grid, order=2, boundary={"x": (Robin(v, k, v * fed), Outflow())})
        start = {"c": torch.zeros(1, n, dtype=torch.float64)}
        law = AdvectionDiffusion(k, (v,), conservative=True)
        out = solve(RungeKutta(law, D), start, torch.tensor([0.0, 1.0], dtype=torch.float64), substeps=4 * n)["c"][0, -1]
        amounts.append(abs(float(out.mean()) * 3.0 / (v * fed) - 1))
    print("fed", amounts)
    # second order, and what has reached the outlet (e^-10)
    assert amounts[1] < 2e-4 and amounts[1] < 0.35 * amounts[0]


def test_a_front_of_a_velocity_crosses_a_square():
    law, errors = VectorBurgers(0.05), []

    def at_wall(name):
        return Dirichlet(lambda x, y, t: plane_front(x, y, t, viscosity=0.05)[name])

    for n in (8, 16):
        grid = CartesianGrid((n, n + n // 2), extent=(1.0, 1.5), periodic=False)
        D = FiniteDifference(grid, order=2, boundary={name: {"x": at_wall(name), "y": at_wall(name)} for name in law.fields})
        start, end = ({k: v[None] for k, v in plane_front(*grid.coordinates(), t, viscosity=0.05).items()} for t in (0.0, 0.5))
        found = solve(RungeKutta(law, D), start, torch.tensor([0.0, 0.5], dtype=torch.float64), substeps=6 * n)
        errors.append(max(float((found[k][:, -1] - end[k]).square().mean().sqrt()) for k in law.fields))
    print("front", errors, orders(errors))
    assert abs(orders(errors)[-1] - 2) < 0.25 and errors[-1] < 1e-4


@pytest.mark.slow
def test_our_solver_follows_the_published_reactants(shared_data):
    xr = pytest.importorskip("xarray")
    with xr.open_dataset(shared_data / "pde" / "diffusion_reaction_CaCb.nc") as ds:
        wanted = {"a": torch.tensor(ds["Ca"].values), "b": torch.tensor(ds["Cb"].values)}
        t = torch.tensor(ds["t"].values)
    grid, frames = CartesianGrid(200, extent=1.0, periodic=False), [0, 40, 100]
    start = torch.exp(-20 * grid.coordinates()[0])[None]
    D = FiniteDifference(grid, order=2, boundary={"x": (Dirichlet(1.0), Dirichlet(0.0))})
    out = solve(RungeKutta(MassAction((2e-3, 2e-3), 0.1), D), {"a": start, "b": start.clone()}, t[frames], substeps=900)
    for name, values in wanted.items():
        # their points lie on the walls, ours in the middle of cells: the mean of two neighbours is at theirs, to second order
        found = (out[name][0, 1:, 1:] + out[name][0, 1:, :-1]) / 2
        error = float((found - values[frames[1:], 1:-1]).abs().max())
        print(f"reactants: largest difference in {name} {error:.1e}")
        assert error < 2e-3
