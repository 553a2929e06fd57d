"""Burgers' equation against Cole-Hopf: the steepening sine, and a stored solution by others."""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import cole_hopf_sine
from physdiff.pdes.exact_burgers import bessel_sine, viscous_shock
from physdiff.pdes.residual import residual_scale, window_residual
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve


@pytest.mark.parametrize("stepper", [ETDRK4, RungeKutta])
def test_sine_at_moderate_viscosity(stepper):
    grid = CartesianGrid(128, extent=2.0, origin=-1.0)
    (x,) = grid.coordinates()
    times = torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=torch.float64)
    out = solve(stepper(Burgers(0.05), Spectral(grid)), {"u": -torch.sin(math.pi * x)[None]}, times, cfl=0.25)["u"][0]
    wanted = cole_hopf_sine(x.expand(3, -1), times[1:, None], viscosity=0.05)
    # the front is 4 nu = 0.2 wide, 13 points: truncation at the dealiased wave 42 is 1e-9, the time step's error some 1e-6
    assert float((out[1:] - wanted).abs().max()) < 1e-5


@pytest.mark.slow
def test_golden_values_of_the_sine_near_its_shock():
    grid = CartesianGrid(2000, extent=2.0, origin=-1.0)
    (x,) = grid.coordinates()
    times = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    out = solve(ETDRK4(Burgers(0.01 / math.pi), Spectral(grid)), {"u": -torch.sin(math.pi * x)[None]}, times, substeps=1500)["u"][0]
    for place, values in ((0.02, (-0.24612563, -0.97990587, -0.85235890, -0.70608168)), (0.5, (-0.80319842, -0.59276953, -0.46141330, -0.37618140))):
        point = int((x - place).abs().argmin())
        assert abs(float(x[point]) - place) < 1e-12
        assert float((out[1:, point] - torch.tensor(values, dtype=torch.float64)).abs().max()) < 2e-8


# largest slope of the sine problem at nu = 0.01 / pi, at the time 1.6037 / pi (Basdevant et al., 1986; methods card, section 5)
STEEPEST, MOMENT = 152.00516, 1.6037 / math.pi


def test_golden_slope_of_the_exact_solution():
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.99, 1.0, 1.01], dtype=torch.float64) * MOMENT
    (slope,) = torch.autograd.grad(cole_hopf_sine(x, t, viscosity=0.01 / math.pi).sum(), x)
    assert abs(float(slope[1]) + STEEPEST) < 5e-6
    assert float(slope[0]) > float(slope[1]) and float(slope[2]) > float(slope[1])


@pytest.mark.slow
def test_golden_slope_of_the_solver():
    grid = CartesianGrid(2048, extent=2.0, origin=-1.0)
    D = Spectral(grid)
    (x,) = grid.coordinates()
    times = torch.tensor([0.0, MOMENT], dtype=torch.float64)
    u = solve(ETDRK4(Burgers(0.01 / math.pi), D), {"u": -torch.sin(math.pi * x)[None]}, times, substeps=1000)["u"][0, -1]
    slope = float(D.grad(u)[0][1024])
    print(f"largest slope {-slope:.5f}")
    # the dealiased grid resolves the front (1/152 wide) to 1e-6 of its slope
    assert abs(float(x[1024])) < 1e-15 and abs(slope + STEEPEST) < 5e-4


def test_the_series_of_bessel_functions_is_what_the_solver_gives():
    # walls at 0 and 1 that hold u at zero: the odd continuation of period 2 does it
    grid = CartesianGrid(64, extent=2.0)
    (x,) = grid.coordinates()
    times = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    out = solve(ETDRK4(Burgers(0.1), Spectral(grid)), {"u": torch.sin(math.pi * x)[None]}, times, substeps=80)["u"][0]
    wanted = bessel_sine(x.expand(2, -1), times[1:, None], viscosity=0.1)
    # fourth order in steps of 0.006
    assert float((out[1:] - wanted).abs().max()) < 1e-8
    assert abs(float(out[2, 16]) - 0.29191596) < 1e-8


def test_a_viscous_shock_takes_the_energy_it_should():
    """Jump cubed over twelve, whatever the viscosity; the ramp between two shocks of a sawtooth adds nothing in the limit."""
    x = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    for viscosity in (0.02, 0.01):
        u = viscous_shock(x.requires_grad_(), 0.0, viscosity=viscosity, left=1.5, right=-0.5)
        (slope,) = torch.autograd.grad(u.sum(), x)
        loss = viscosity * float(torch.trapezoid(slope**2, x.detach()))
        # the tails beyond the ends: e^(-1/nu)
        assert abs(loss - 2.0**3 / 12) < 1e-8


def test_mass_is_kept_to_rounding():
    grid = CartesianGrid(96, extent=2.0)
    (x,) = grid.coordinates()
    u0 = (0.3 + torch.sin(math.pi * x + 0.2) + 0.5 * torch.cos(3 * math.pi * x))[None]
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    for stepper in (ETDRK4, RungeKutta):
        out = solve(stepper(Burgers(0.05), Spectral(grid)), {"u": u0}, times)["u"]
        assert float((out.mean(-1) - 0.3).abs().max()) < 1e-13  # rounding of some 1e3 sums of order one


def stored(shared_data):
    """The solution of DeepHPMs: u_t + u u_x = 0.1 u_xx from exp(-(x+2)^2) on [-8, 8], frames 0.1 apart."""
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(shared_data / "pde" / "burgers_gauss_nu0p1.nc") as data:
        return torch.tensor(data["u"].values), torch.tensor(data["t"].values)


def test_stored_solution_is_reproduced(shared_data):
    u, times = stored(shared_data)
    grid = CartesianGrid(256, extent=16.0, origin=-8.0)
    out = solve(ETDRK4(Burgers(0.1), Spectral(grid)), {"u": u[:1].clone()}, times, substeps=2)["u"][0]
    # the stored one was made by another code at lower accuracy: its own residual is 1e-4
    assert float((out - u).abs().max()) < 1e-4


def test_residual_of_the_stored_solution_names_the_viscosity(shared_data):
    u, times = stored(shared_data)
    grid = CartesianGrid(256, extent=16.0, origin=-8.0)
    ops = Spectral(grid, dt=0.1)
    window = {"u": u[None]}
    right, wrong = (window_residual(Burgers(nu), window, ops, times=times)["u"][:, 5:-5].square().mean().sqrt() for nu in (0.1, 0.12))
    scale = residual_scale(Burgers(0.1), window, ops, times=times)["u"]
    assert float(right / scale) < 2e-3
    assert float(wrong / right) > 20
    # least squares for the viscosity: u_t + u u_x = nu u_xx
    rest = window_residual(Burgers(0.0), window, ops, times=times)["u"][:, 5:-5]
    curvature = ops.lap(window["u"])[:, 5:-5]
    assert abs(float((rest * curvature).sum() / curvature.square().sum()) - 0.1) < 1e-4
