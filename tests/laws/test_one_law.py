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
from physdiff.pdes.adsorption import AdvectionAdsorption
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers, VectorBurgers
from physdiff.pdes.diffusion_sorption import DiffusionSorption
from physdiff.pdes.exact import ManufacturedFlow, cole_hopf_waves, gaussian_puff, plane_wave
from physdiff.pdes.exact_adsorption import adsorption_wave
from physdiff.pdes.exact_advection import rotating_gaussian
from physdiff.pdes.exact_burgers import oblique_waves
from physdiff.pdes.exact_waves import fisher_front, schroedinger_soliton
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.pdes.residual import window_residual
from physdiff.pdes.schroedinger import NonlinearSchroedinger
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

KX, KY, KZ = 2 * math.pi / 2.0, 2 * math.pi / 1.5, 2 * math.pi
TENSOR = ((0.02, 0.005, 0.0), (0.005, 0.01, -0.003), (0.0, -0.003, 0.004))
FLOW = ManufacturedFlow(0.01, 0.1, waves=((0.05, KX, 2 * KY, 1.3, 0.2), (0.08, 2 * KX, -KY, -0.7, 1.0), (0.1, 3 * KX, 0.0, 0.5, 0.4)))


def puff(x, y, t):
    kind = {"diffusivity": 0.02, "velocity": (0.7, -0.4), "centre": (0.8, 0.9), "width": 0.15, "extent": (2.0, 1.5)}
    return {"c": gaussian_puff((x, y), t, **kind)}


def waves(x, t):
    return {"u": cole_hopf_waves(x, t, viscosity=0.05, extent=2.0)}


def sheet(x, y, z, t):
    """Two waves in a box: each decays at the rate k . K k of the tensor."""
    total = 0.0
    for a, k in ((1.0, (KX, -KY, 2 * KZ)), (0.6, (0.0, KY, KZ))):
        rate = -sum(p * TENSOR[i][j] * q for i, p in enumerate(k) for j, q in enumerate(k))
        total = total + a * plane_wave((x, y, z), t, wave_vector=k, diffusivity=0.0, velocity=(0.7, -0.4, 0.2), reaction=rate - 0.3, phase=0.4)
    return {"c": total}


def turning(x, y, t):
    # eight standard deviations from the seam, where the wind jumps
    return {"c": rotating_gaussian(x, y, t, diffusivity=5e-4, rotation=1.5, start=(1.1, 0.85), width=0.06, centre=(1.0, 0.75))}


TURN = (lambda x, y, t: -1.5 * (y - 0.75), lambda x, y, t: 1.5 * (x - 1.0))


def oblique(x, y, t):
    return oblique_waves(x, y, t, viscosity=0.02, wave_vector=(0.5, 1 / 1.5), extent=1.0, modes=((1, 0.4, 0.3), (2, 0.1, 1.1)))


def column(x, t):
    return adsorption_wave(x, t, wave_number=2 * KX, velocity=0.7, adsorption=1.5, desorption=0.8, ratio=0.6, diffusivity=0.01)


def colony(x, t):
    """Two fronts that run apart; where one is not yet in its state behind, the other is to rounding."""
    return {"u": sum(fisher_front(side * x, t, diffusivity=0.01, rate=4.0, position=2.5) for side in (1, -1)) - 1}


def packet(x, t):
    return schroedinger_soliton(x, t, steepness=1.3, speed=0.8, dispersion=0.4, nonlinearity=1.5)


def seepage(x, t):
    return {"u": plane_wave((x,), t, wave_vector=(KX,), diffusivity=0.1 / 3.0, velocity=(0.0,), phase=0.3) + 2}


PLANE = CartesianGrid((24, 40), extent=(1.5, 2.0))
CASES = {
    "AdvectionDiffusion": (AdvectionDiffusion(0.02, (0.7, -0.4)), CartesianGrid((48, 80), extent=(1.5, 2.0)), puff),
    "AdvectionDiffusion, tensor": (AdvectionDiffusion(TENSOR, (0.7, -0.4, 0.2), -0.3), CartesianGrid((10, 12, 16), extent=(1.0, 1.5, 2.0)), sheet),
    "AdvectionDiffusion, rotation": (AdvectionDiffusion(5e-4, TURN), CartesianGrid((72, 96), extent=(1.5, 2.0)), turning),
    "AdvectionDiffusion, flux": (AdvectionDiffusion(5e-4, TURN, conservative=True), CartesianGrid((72, 96), extent=(1.5, 2.0)), turning),
    "AdvectionAdsorption": (AdvectionAdsorption((0.7,), 1.5, 0.8, 0.6, 0.01), CartesianGrid(24, extent=2.0), column),
    "Burgers": (Burgers(0.05), CartesianGrid(96, extent=2.0), waves),
    "Burgers, plane": (Burgers(0.02), CartesianGrid((48, 56), extent=(1.5, 2.0)), lambda x, y, t: {"u": oblique(x, y, t)}),
    "VectorBurgers": (
        VectorBurgers(0.02),
        CartesianGrid((48, 56), extent=(1.5, 2.0)),
        lambda x, y, t: {"velocity_x": oblique(x, y, t), "velocity_y": oblique(x, y, t)},
    ),
    "DiffusionSorption": (DiffusionSorption(0.1, 0.5, 2.0, 1.0, 1.0), CartesianGrid(24, extent=2.0), seepage),
    "FisherKPP": (FisherKPP(0.01, 4.0), CartesianGrid(480, extent=10.0, origin=-5.0), colony),
    "NavierStokes": (NavierStokes(0.01, 0.1, forcing=FLOW), PLANE, FLOW.fields),
    "NonlinearSchroedinger": (NonlinearSchroedinger(0.4, 1.5), CartesianGrid(480, extent=52.0, origin=-26.0), packet),
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
    law, coarse, exact = case
    sizes = []
    for n in (2, 4):
        grid = CartesianGrid(tuple(n * size for size in coarse.shape), extent=coarse.extent, origin=coarse.origin)
        u, rate = derivative_in_time(exact, grid, 0.3)
        got = law.rhs(u, FiniteDifference(grid, order=4), 0.3)
        sizes.append(max(float((got[k] - rate[k]).square().mean().sqrt()) for k in law.fields))
    assert abs(math.log2(sizes[0] / sizes[1]) - 4) < 0.5, sizes


LONG = ("AdvectionDiffusion, tensor", "AdvectionDiffusion, rotation", "AdvectionDiffusion, flux", "VectorBurgers")


@pytest.mark.parametrize("case", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in CASES], indirect=True)
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
    times = torch.tensor([0.3, 0.4], dtype=torch.float64)
    end = solve(stepper(law, ops), start, times, substeps=100)
    for name in law.fields:
        wanted = exact(*grid.coordinates(), 0.4)[name]
        # steps of 1e-3: the error of fourth order is below 1e-8
        assert float((end[name][0, -1] - wanted).abs().max()) < 1e-8 * float(wanted.abs().max())
