"""Flow between walls: start-up of channel flows, a manufactured flow in a box, the lid-driven cavity."""

from __future__ import annotations

import csv
import math

import pytest
import torch

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.boundary import Dirichlet
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.operators.wall_operators import WallOperators
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.solvers.projection import ProjectedRungeKutta
from physdiff.solvers.solve import solve

DOUBLE = torch.float64


def observed(errors):
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


def poiseuille(y, t, nu, force):
    """From rest between walls at 0 and 1."""
    u = force / (2 * nu) * y * (1 - y)
    for n in range(1, 60, 2):
        u = u - 4 * force / (nu * (n * math.pi) ** 3) * torch.sin(n * math.pi * y) * math.exp(-nu * (n * math.pi) ** 2 * t)
    return u


def couette(y, t, nu):
    """The upper wall moves with speed one from t = 0 on."""
    u = y.clone()
    for n in range(1, 60):
        u = u + 2 / (n * math.pi) * (-1) ** n * torch.sin(n * math.pi * y) * math.exp(-nu * (n * math.pi) ** 2 * t)
    return u


@pytest.mark.parametrize("case", ["poiseuille", pytest.param("couette", marks=pytest.mark.slow)])
def test_start_up_between_walls_is_of_second_order(case):
    nu, start, end, errors = 0.1, 0.3, 1.0, []
    for n in (8, 16, 32):
        grid = CartesianGrid((n, 4), extent=(1.0, 0.5), periodic=(False, True))
        y = grid.coordinates()[1]
        exact = (lambda t, y=y: poiseuille(y, t, nu, 1.0)) if case == "poiseuille" else (lambda t, y=y: couette(y, t, nu))
        lid = 0.0 if case == "poiseuille" else 1.0
        D = WallOperators(grid, boundary={"velocity_x": {"y": (Dirichlet(), Dirichlet(lid))}, "velocity_y": {"y": Dirichlet()}})
        law = IncompressibleFlow(nu, forcing=(1.0 - lid, 0.0))
        u = {"velocity_x": exact(start)[None], "velocity_y": torch.zeros(1, n, 4, dtype=DOUBLE)}
        got = solve(ProjectedRungeKutta(law, D), u, torch.tensor([start, end], dtype=DOUBLE), substeps=4 * (n // 4) ** 2)
        errors.append(float((got["velocity_x"][0, -1] - exact(end)).abs().max()))
        assert float(got["velocity_y"].abs().max()) < 1e-12
    assert observed(errors)[-1] == pytest.approx(2, abs=0.25), errors


NU = 0.05


def manufactured(x, y, t):
    """A flow at rest on the walls of [0, 1.5] x [0, 1], its pressure, and the force it needs."""
    x, y = x.detach().clone().requires_grad_(True), y.detach().clone().requires_grad_(True)
    time = torch.full_like(x, float(t)).requires_grad_(True)
    psi = (1 + 0.5 * torch.sin(3 * time)) * 0.3 * torch.sin(math.pi * x / 1.5) ** 2 * torch.sin(math.pi * y) ** 2 * torch.exp(x - 0.5 * y)
    p = torch.cos(2 * x + y + time)

    def d(f, v):
        return torch.autograd.grad(f.sum(), v, create_graph=True)[0]

    u, v = d(psi, y), -d(psi, x)
    force = [d(c, time) + u * d(c, x) + v * d(c, y) - NU * (d(d(c, x), x) + d(d(c, y), y)) + d(p, s) for c, s in ((u, x), (v, y))]
    return tuple(f.detach() for f in (u, v, *force))


@pytest.mark.slow
def test_a_flow_in_a_box_is_of_second_order():
    errors = []
    law = IncompressibleFlow(NU, forcing=(lambda x, y, t: manufactured(x, y, t)[2], lambda x, y, t: manufactured(x, y, t)[3]))
    for n in (8, 16, 32):
        grid = CartesianGrid((n, n + n // 4), extent=(1.0, 1.5), periodic=False)
        x, y = grid.coordinates()
        D = WallOperators(grid, boundary={"velocity_x": Dirichlet(), "velocity_y": Dirichlet()})
        start, end = manufactured(x, y, 0.0), manufactured(x, y, 0.4)
        u = {"velocity_x": start[0][None], "velocity_y": start[1][None]}
        got = solve(ProjectedRungeKutta(law, D), u, torch.tensor([0.0, 0.4], dtype=DOUBLE), substeps=16 * (n // 8) ** 2)
        errors.append(max(float((got[k][0, -1] - w).square().mean().sqrt()) for k, w in zip(u, end, strict=False)))
    assert observed(errors)[-1] == pytest.approx(2, abs=0.3), errors


@pytest.mark.slow
def test_lid_driven_cavity_meets_ghia(shared_data):
    n = 32
    grid = CartesianGrid((n, n), periodic=False)
    boundary = {"velocity_x": {"x": Dirichlet(), "y": (Dirichlet(), Dirichlet(1.0))}, "velocity_y": Dirichlet()}
    stepper = ProjectedRungeKutta(IncompressibleFlow(0.01), WallOperators(grid, boundary=boundary))
    u = {name: torch.zeros(1, n, n, dtype=DOUBLE) for name in ("velocity_x", "velocity_y")}
    with torch.no_grad():
        got = solve(stepper, u, torch.tensor([0.0, 16.0], dtype=DOUBLE), substeps=950)
    line = torch.cat([torch.tensor([0.0], dtype=DOUBLE), grid.axes()[0], torch.tensor([1.0], dtype=DOUBLE)])
    middle = slice(n // 2 - 1, n // 2 + 1)
    u_line = torch.nn.functional.pad(got["velocity_x"][0, -1, :, middle].mean(1), (1, 1))
    u_line[-1] = 1.0
    v_line = torch.nn.functional.pad(got["velocity_y"][0, -1, middle].mean(0), (1, 1))
    with (shared_data / "cfd" / "ghia1982_lid_driven_cavity_Re100_1000.csv").open() as file:
        rows = list(csv.DictReader(file))

    def at(values, place):
        i = min(max(int(torch.searchsorted(line, torch.tensor(place, dtype=DOUBLE))), 1), n + 1)
        share = (place - float(line[i - 1])) / float(line[i] - line[i - 1])
        return float((1 - share) * values[i - 1] + share * values[i])

    off_u = [abs(at(u_line, float(r["y"])) - float(r["u_Re100"])) for r in rows]
    off_v = [abs(at(v_line, float(r["x"])) - float(r["v_Re100"])) for r in rows]
    # second order at 32 points a side: a per cent of the lid's speed
    assert max(off_u) < 0.012 and max(off_v) < 0.012
    assert at(u_line, 0.4531) == pytest.approx(-0.21090, abs=0.008)
    assert at(v_line, 0.8047) == pytest.approx(-0.24533, abs=0.008)


@pytest.mark.slow
def test_heated_from_below_between_rigid_walls():
    # rigid plates: onset at Ra = 1707.762, k = 3.117 (Chandrasekhar, 1961); at 16 cells the discrete one is within 10 %
    rates = []
    for rayleigh in (1500.0, 1900.0):
        grid = CartesianGrid((16, 12), extent=(1.0, 2 * math.pi / 3.117), periodic=(False, True))
        x, z = grid.coordinates()
        still = {"y": Dirichlet()}
        D = WallOperators(grid, boundary={"velocity_x": still, "velocity_y": still, "buoyancy": still})
        law = BuoyantFlow(1.0, 1.0, lift=rayleigh, stratification=-1.0)
        u = {n: torch.zeros(1, *grid.shape, dtype=DOUBLE) for n in ("velocity_x", "velocity_y")}
        u["buoyancy"] = (1e-6 * torch.cos(3.117 * x) * torch.sin(math.pi * z))[None]
        with torch.no_grad():
            got = solve(ProjectedRungeKutta(law, D), u, torch.tensor([0.0, 0.15, 0.3], dtype=DOUBLE), substeps=180)["buoyancy"]
        rates.append(math.log(float(got[0, 2].norm() / got[0, 1].norm())))
    assert rates[0] < 0 < rates[1], rates


def test_periodic_boxes_and_refusals():
    grid = CartesianGrid((8, 12), extent=(2 * math.pi, 4 * math.pi))
    x, y = grid.coordinates()
    u = {"velocity_x": torch.sin(y)[None] + 0.3, "velocity_y": torch.cos(0.5 * x)[None]}
    fine = ProjectedRungeKutta(IncompressibleFlow(0.1), Spectral(grid)).step(u, 0.0, 0.01)
    coarse = ProjectedRungeKutta(IncompressibleFlow(0.1), WallOperators(grid)).step(u, 0.0, 0.01)
    assert float((fine["velocity_x"] - coarse["velocity_x"]).abs().max()) < 3e-3
    with pytest.raises(UnsupportedOperator, match="use WallOperators between walls"):
        ProjectedRungeKutta(IncompressibleFlow(0.1), FiniteDifference(grid))
    with pytest.raises(InputError, match="expected a law with velocity_x, velocity_y"):
        ProjectedRungeKutta(Burgers(0.1), Spectral(grid))


def test_gradients_between_walls_and_a_viscosity_for_each_sample():
    grid = CartesianGrid((5, 6), extent=(1.0, 1.5), periodic=(False, True))
    D = WallOperators(grid, boundary={name: {"y": Dirichlet()} for name in ("velocity_x", "velocity_y", "buoyancy")})
    g = torch.Generator().manual_seed(0)
    start = [0.3 * torch.randn(2, *grid.shape, generator=g, dtype=DOUBLE) for _ in range(3)]

    def advanced(viscosity, *fields):
        law = BuoyantFlow(viscosity, 0.05, lift=2.0, stratification=-1.0)
        return tuple(ProjectedRungeKutta(law, D).step(dict(zip(law.fields, fields, strict=True)), 0.0, 0.02).values())

    viscosity = torch.tensor([0.1, 0.4], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(advanced, (viscosity, *(f.requires_grad_() for f in start)), fast_mode=True)
    single = advanced(0.4, *(f[1:].detach() for f in start))
    for together, alone in zip(advanced(viscosity, *start), single, strict=True):
        torch.testing.assert_close(together[1:], alone, atol=1e-12, rtol=0)
