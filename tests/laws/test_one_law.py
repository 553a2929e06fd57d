"""One text of a law, every use: the solver's right-hand side, the residual of gridded data and the residual by autograd.

On an exact solution the three must say the same: the solver's right-hand side is the solution's time derivative, and both residuals vanish.
"""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import ManufacturedFlow, cole_hopf_waves, gaussian_puff
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.pdes.residual import window_residual
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5
FLOW = ManufacturedFlow(0.01, 0.1, waves=((0.05, KX, 2 * KY, 1.3, 0.2), (0.08, 2 * KX, -KY, -0.7, 1.0), (0.1, 3 * KX, 0.0, 0.5, 0.4)))


def puff(x, y, t):
    kind = {"diffusivity": 0.02, "velocity": (0.7, -0.4), "centre": (0.8, 0.9), "width": 0.15, "extent": (2.0, 1.5)}
    return {"c": gaussian_puff((x, y), t, **kind)}


def waves(x, t):
    return {"u": cole_hopf_waves(x, t, viscosity=0.05, extent=2.0)}


CASES = {
    "AdvectionDiffusion": (AdvectionDiffusion(0.02, (0.7, -0.4)), CartesianGrid((48, 80), extent=(1.5, 2.0)), puff),
    "Burgers": (Burgers(0.05), CartesianGrid(96, extent=2.0), waves),
    "NavierStokes": (NavierStokes(0.01, 0.1, forcing=FLOW), CartesianGrid((24, 40), extent=(1.5, 2.0)), FLOW.fields),
}


@pytest.fixture(params=CASES)
def case(request):
    """A law, a grid and an exact solution of the coordinates and the time."""
    return CASES[request.param]


def derivative_in_time(exact, grid, t):
    """The exact solution and its time derivative on the grid, by autograd in t alone."""
    coordinates = grid.coordinates()
    time = torch.full(grid.shape, t, dtype=torch.float64, requires_grad=True)
    u = exact(*coordinates, time)
    return {k: v.detach()[None] for k, v in u.items()}, {k: torch.autograd.grad(v.sum(), time, retain_graph=True)[0][None] for k, v in u.items()}


def test_right_hand_side_on_the_grid_is_the_time_derivative(case):
    law, grid, exact = case
    u, rate = derivative_in_time(exact, grid, 0.3)
    got = law.rhs({k: u[k] for k in law.fields}, Spectral(grid), 0.3)
    for name in law.fields:
        # rounding times the square of the largest wave number (2e4)
        assert float((got[name] - rate[name]).abs().max()) < 1e-10 * float(rate[name].abs().max())


def test_residual_by_autograd_vanishes_at_scattered_points(case):
    law, grid, exact = case
    generator = torch.Generator().manual_seed(0)
    points = [torch.rand(50, dtype=torch.float64, generator=generator).mul(2).requires_grad_() for _ in range(grid.ndim + 1)]
    *x, t = points
    u = exact(*x, t)
    residual = law.residual(u, Autograd(tuple(x), t), t)
    assert set(residual) == {*law.fields, *law.diagnostics}
    for name, value in residual.items():
        # rounding of second derivatives of order 1e2
        assert float(value.detach().abs().max()) < 1e-11 * max(1.0, float(u[name].detach().abs().max())), name


def test_autograd_and_grid_give_the_same_right_hand_side_off_the_solution(case):
    law, grid, exact = case
    coordinates = tuple(x.reshape(-1).requires_grad_() for x in grid.coordinates())
    u = {k: 1.3 * v for k, v in exact(*coordinates, 0.2).items()}
    points = law.rhs(u, Autograd(coordinates), 0.2)
    on_grid = law.rhs({k: v.detach().reshape(1, *grid.shape) for k, v in u.items()}, Spectral(grid), 0.2)
    for name in law.fields:
        a, b = points[name].detach().reshape(1, *grid.shape), on_grid[name]
        assert float((a - b).abs().max()) < 1e-9 * float(b.abs().max()), name


def test_grid_residual_falls_with_the_frame_interval(case):
    law, grid, exact = case
    sizes = []
    for dt in (0.02, 0.01, 0.005):
        times = 0.1 + dt * torch.arange(7, dtype=torch.float64)
        u = {k: v[None] for k, v in exact(*grid.coordinates(), times.reshape(-1, *[1] * grid.ndim)).items()}
        ops = Spectral(grid, dt=dt)
        residual = window_residual(law, {k: u[k] for k in law.fields}, ops, times=times)
        sizes.append(max(float(v.square().mean().sqrt()) for v in residual.values()))
    orders = [math.log2(a / b) for a, b in zip(sizes, sizes[1:], strict=False)]
    # the time derivative is of fourth order
    assert all(abs(order - 4) < 0.4 for order in orders), (sizes, orders)


def test_finite_differences_see_the_same_law_to_their_order(case):
    law, _, exact = case
    sizes = []
    for n in (1, 2):
        grid = {"c": CartesianGrid((48 * n, 64 * n), extent=(1.5, 2.0)), "u": CartesianGrid(96 * n, extent=2.0)}.get(
            law.fields[0], CartesianGrid((48 * n, 80 * n), extent=(1.5, 2.0))
        )
        u, rate = derivative_in_time(exact, grid, 0.3)
        got = law.rhs(u, FiniteDifference(grid, order=4), 0.3)
        sizes.append(max(float((got[k] - rate[k]).square().mean().sqrt()) for k in law.fields))
    assert abs(math.log2(sizes[0] / sizes[1]) - 4) < 0.5, sizes


@pytest.mark.parametrize("stepper", [ETDRK4, RungeKutta])
def test_the_solver_moves_along_the_same_right_hand_side(case, stepper):
    """The step of a solver, divided by its length, tends to the law's right-hand side; and it arrives at the exact solution."""
    law, grid, exact = case
    ops = Spectral(grid)
    start = {k: exact(*grid.coordinates(), 0.3)[k][None] for k in law.fields}
    dt = 1e-5
    moved = stepper(law, ops).step(start, 0.3, dt)
    for name, rate in law.rhs(start, ops, 0.3 + dt / 2).items():
        # the midpoint of the step: dt/2 times the second time derivative (of relative size 1e2) remains
        assert float(((moved[name] - start[name]) / dt - rate).abs().max()) < 2e-3 * float(rate.abs().max())
    times = torch.tensor([0.3, 0.5], dtype=torch.float64)
    end = solve(stepper(law, ops), start, times, substeps=200)
    for name in law.fields:
        wanted = exact(*grid.coordinates(), 0.5)[name]
        # steps of 1e-3: the error of fourth order is below 1e-8
        assert float((end[name][0, -1] - wanted).abs().max()) < 1e-8 * float(wanted.abs().max())
