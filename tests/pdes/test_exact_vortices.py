"""Exact vortices: they solve the law of vorticity; circulation, speed, steadiness."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.exact_vortices import kolmogorov_laminar, lamb_oseen
from physdiff.pdes.navier_stokes import DiagonalForcing, KolmogorovForcing, NavierStokes
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve
from tests.pdes.budget import residual_at_points

VORTEX = {"circulation": 1.5, "viscosity": 0.05, "centre": (0.2, -0.1), "mean_flow": (0.4, 0.3)}


def test_lamb_oseen_solves_the_law_at_points_with_its_stream_function():
    law = NavierStokes(0.05, mean_flow=(0.4, 0.3))
    residual, scale = residual_at_points(law, lambda x, y, t: lamb_oseen(x, y, t, **VORTEX), (-1, 1), (-1, 1), (0.2, 1.0))
    assert max(residual.values()) < 1e-12 * max(1.0, scale)
    wrong, _ = residual_at_points(NavierStokes(0.05), lambda x, y, t: lamb_oseen(x, y, t, **VORTEX), (-1, 1), (-1, 1), (0.2, 1.0))
    assert wrong["vorticity"] > 0.1


def test_lamb_oseen_turns_at_the_speed_it_should():
    x = torch.tensor([0.3, 1.0, 5.0, 30.0], dtype=torch.float64, requires_grad=True)
    flow = lamb_oseen(x, torch.zeros_like(x), 1.0, circulation=1.5, viscosity=0.05)
    (slope,) = torch.autograd.grad(flow["streamfunction"].sum(), x)
    r = x.detach()
    # the last one is 4500 in s: the quadrature's limit
    torch.testing.assert_close(-slope, 1.5 / (2 * math.pi * r) * -torch.expm1(-(r**2) / 0.2))


def test_solver_spreads_a_vortex_without_moving_it():
    # in a wide box the images at two to three lengths of it turn the vortex, and strain it a little
    grid = CartesianGrid((96, 128), extent=(9.0, 12.0), origin=(-4.5, -6.0))
    x, y = grid.coordinates()
    start, end = (lamb_oseen(x, y, t, circulation=1.0, viscosity=0.05)["vorticity"][None] for t in (1.0, 2.0))
    found = solve(ETDRK4(NavierStokes(0.05), Spectral(grid)), {"vorticity": start}, torch.tensor([1.0, 2.0]), substeps=20)["vorticity"][:, -1]
    # strain of the images, about circulation / box^2 = 0.01 per time
    assert float((found - end).abs().max()) < 0.01 * float(end.max())
    assert float((start - end).abs().max()) > 0.4 * float(start.max())


@pytest.mark.parametrize("drag", [0.0, 0.3])
def test_laminar_flow_is_steady(drag):
    grid = CartesianGrid((24, 40), extent=(1.5, 2.0))
    k = 2 * 2 * math.pi / 1.5
    law = NavierStokes(0.01, drag, KolmogorovForcing(2.0, k))
    flow = {n: v[None] for n, v in kolmogorov_laminar(*grid.coordinates(), amplitude=2.0, wave_number=k, viscosity=0.01, drag=drag).items()}
    assert float(law.rhs({"vorticity": flow["vorticity"]}, Spectral(grid), 0.0)["vorticity"].abs().max()) < 1e-11
    assert float(law.constraints(flow, Spectral(grid))["streamfunction"].abs().max()) < 1e-11
    # u = U sin(ky) along x with U = A / (k (nu k^2 + mu))
    u, v = law.velocity(flow, Spectral(grid))
    wanted = 2.0 / (k * (0.01 * k**2 + drag)) * torch.sin(k * grid.coordinates()[1])
    torch.testing.assert_close(u[0], wanted)
    assert float(v.abs().max()) < 1e-12


def test_laminar_flow_needs_something_that_holds_it():
    with pytest.raises(InputError, match="viscosity or drag"):
        kolmogorov_laminar(torch.zeros(1), torch.zeros(1), amplitude=1.0, wave_number=1.0, viscosity=0.0)


def test_diagonal_forcing_is_that_of_the_operator_data():
    x, y = (torch.rand(10, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    wanted = 0.1 * (torch.sin(2 * math.pi * (x + y)) + torch.cos(2 * math.pi * (x + y)))
    torch.testing.assert_close(DiagonalForcing()(x, y, 0.0), wanted)
    grid = CartesianGrid((16, 24), extent=(1.0, 2.0))
    law = NavierStokes(1e-3, forcing=DiagonalForcing(torch.tensor([0.1, 0.3])))
    got = law.rhs({"vorticity": torch.zeros(2, 16, 24, dtype=torch.float64)}, Spectral(grid), 0.0)["vorticity"]
    torch.testing.assert_close(got[1], 3 * got[0])
    with pytest.raises(InputError, match="wave_number"):
        DiagonalForcing(0.1, -1.0)
