"""Velocity form: exact flows, the vorticity form, budgets, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.incompressible import IncompressibleFlow, curl, velocity_names
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

TWO_PI = 2 * math.pi
PLANE = CartesianGrid((24, 32), extent=(TWO_PI, 2 * TWO_PI))
SPACE = CartesianGrid((12, 16, 20), extent=TWO_PI)


def random_flow(D, grid, seed=0, batch=2):
    """A flow without divergence, resolved after dealiasing."""
    g = torch.Generator().manual_seed(seed)
    white = [torch.randn(batch, *grid.shape, generator=g, dtype=torch.float64) for _ in range(grid.ndim)]
    smooth = [D.spectrum.inverse(D.to_spectrum(w) * torch.exp(0.15 * D.spectrum.laplacian(w))) for w in white]
    return dict(zip(velocity_names(grid.ndim), D.project(tuple(D.dealias(f) for f in smooth)), strict=True))


def test_taylor_green_decays_and_its_pressure_is_known():
    k, l, nu, t = 1.0, 1.5, 0.1, 0.7  # noqa: E741
    grid = CartesianGrid((24, 32), extent=(TWO_PI / 1.5, TWO_PI))
    x, y = grid.coordinates()

    def flow(t):
        decay = math.exp(-nu * (k * k + l * l) * t)
        return {
            "velocity_x": (-l * torch.cos(k * x) * torch.sin(l * y) * decay)[None],
            "velocity_y": (k * torch.sin(k * x) * torch.cos(l * y) * decay)[None],
        }

    law, D = IncompressibleFlow(nu, density=2.0), Spectral(grid)
    got = solve(ETDRK4(law, D), flow(0.0), torch.tensor([0.0, t], dtype=torch.float64), substeps=3)
    for name, wanted in flow(t).items():
        torch.testing.assert_close(got[name][:, -1], wanted, atol=1e-12, rtol=0)
    # (u . grad) u along x is -(k l^2 / 2) sin(2 k x), which -p_x / density balances
    wanted = -2.0 * (l * l * torch.cos(2 * k * x) + k * k * torch.cos(2 * l * y)) / 4
    torch.testing.assert_close(law.pressure(flow(0.0), D, 0.0)[0], wanted, atol=1e-12, rtol=0)


def test_beltrami_flow_decays_in_space():
    x, y, z = SPACE.coordinates()
    a, b, c, nu = 1.0, 0.7, 0.4, 0.05
    start = {
        "velocity_x": (a * torch.sin(z) + c * torch.cos(y))[None],
        "velocity_y": (b * torch.sin(x) + a * torch.cos(z))[None],
        "velocity_z": (c * torch.sin(y) + b * torch.cos(x))[None],
    }
    law, D = IncompressibleFlow(nu, ndim=3), Spectral(SPACE)
    got = solve(ETDRK4(law, D), start, torch.tensor([0.0, 0.5], dtype=torch.float64), substeps=2)
    for name, v in start.items():
        torch.testing.assert_close(got[name][:, -1], v * math.exp(-nu * 0.5), atol=1e-12, rtol=0)
    square = sum(v**2 for v in start.values())
    torch.testing.assert_close(law.pressure(start, D, 0.0), square.mean() / 2 - square / 2, atol=1e-12, rtol=0)
    # vorticity = velocity: helicity is twice the energy
    helicity = law.helicity(start, D, SPACE)
    torch.testing.assert_close(helicity, 2 * law.invariants(start, SPACE)["kinetic_energy"])


@pytest.mark.parametrize("method", [ETDRK4, pytest.param(RungeKutta, marks=pytest.mark.slow)])
def test_velocity_and_vorticity_are_one_flow(method):
    D = Spectral(PLANE)
    start = random_flow(D, PLANE)
    # no mean flow, which vorticity does not know
    start = {n: v - v.mean((-2, -1), keepdim=True) for n, v in start.items()}
    law = IncompressibleFlow(0.02, forcing=(lambda x, y, t: 0.5 * torch.sin(2 * y), 0.0))
    plane = NavierStokes(0.02, forcing=KolmogorovForcing(1.0, 2.0))
    times = torch.tensor([0.0, 0.3])
    velocity = solve(method(law, D), start, times, substeps=10)
    vorticity = solve(method(plane, D), {"vorticity": curl(tuple(start.values()), D)[0]}, times, substeps=10)["vorticity"]
    got = curl((velocity["velocity_x"], velocity["velocity_y"]), D)[0]
    # the same scheme on the same waves: equal to rounding
    torch.testing.assert_close(got, vorticity, atol=1e-10, rtol=0)
    assert float((vorticity[:, 1] - vorticity[:, 0]).abs().max()) > 0.1
    assert float(D.div((velocity["velocity_x"], velocity["velocity_y"])).abs().max()) < 1e-11


@pytest.mark.parametrize("grid", [PLANE, SPACE])
def test_budgets_close(grid):
    D, viscosity = Spectral(grid), torch.tensor([0.1, 0.03], dtype=torch.float64)
    u = random_flow(D, grid)
    force = (lambda x, y, *rest: torch.sin(y + 0.3), 0.2, lambda x, y, *rest: torch.cos(2 * x))[: grid.ndim]
    law = IncompressibleFlow(viscosity, forcing=force, ndim=grid.ndim)
    slope = law.rhs(u, D, 0.0)
    rates = law.expected_rates(u, D, 0.0, grid=grid)
    energy = sum((u[n] * slope[n]).flatten(1).mean(1) for n in u)
    torch.testing.assert_close(energy, rates["kinetic_energy"], atol=1e-12, rtol=0)
    for a in "xyz"[: grid.ndim]:
        torch.testing.assert_close(slope[f"velocity_{a}"].flatten(1).mean(1), rates[f"momentum_{a}"], atol=1e-13, rtol=0)


def test_helicity_stays_without_viscosity():
    D = Spectral(SPACE)
    u = random_flow(D, SPACE, seed=3)
    law = IncompressibleFlow(0.0, ndim=3)
    slope = law.rhs(u, D, 0.0)
    omega, turning = curl(tuple(u.values()), D), curl(tuple(slope.values()), D)
    rate = sum((u[n] * w + slope[n] * o).mean() for n, w, o in zip(u, turning, omega, strict=True))
    assert abs(float(rate)) < 1e-12 * float(law.helicity(u, D, SPACE).abs().max() + 1)


def manufactured(x, y, t):
    """A flow, its pressure and the force it needs, by differentiating psi."""
    nu = 0.05
    x, y = x.clone().requires_grad_(True), y.clone().requires_grad_(True)
    time = torch.as_tensor(t, dtype=torch.float64).expand(x.shape).clone().requires_grad_(True)
    psi = torch.sin(x + 2 * y - time) + 0.5 * torch.cos(1.5 * x - y + 2 * time)
    p = torch.sin(0.5 * x + y + time)

    def d(f, v):
        return torch.autograd.grad(f.sum(), v, create_graph=True)[0]

    u, v = d(psi, y), -d(psi, x)
    force = [d(c, time) + u * d(c, x) + v * d(c, y) - nu * (d(d(c, x), x) + d(d(c, y), y)) + d(p, s) for c, s in ((u, x), (v, y))]
    return (u.detach(), v.detach(), p.detach(), *(f.detach() for f in force))


@pytest.mark.slow
def test_fourth_order_in_time_with_a_force():
    D, (x, y) = Spectral(PLANE), PLANE.coordinates()
    law = IncompressibleFlow(0.05, forcing=(lambda x, y, t: manufactured(x, y, t)[3], lambda x, y, t: manufactured(x, y, t)[4]))
    start, end = manufactured(x, y, 0.0), manufactured(x, y, 0.8)
    first = {"velocity_x": start[0][None], "velocity_y": start[1][None]}
    errors = []
    for n in (8, 16):
        got = solve(ETDRK4(law, D), first, torch.tensor([0.0, 0.8], dtype=torch.float64), substeps=n)
        errors.append(float((got["velocity_x"][0, -1] - end[0]).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.25)
    torch.testing.assert_close(law.pressure(first, D, 0.0)[0], start[2], atol=1e-11, rtol=0)


def test_kovasznay_with_given_pressure_leaves_no_residual():
    re = 40.0
    lam = re / 2 - math.sqrt(re * re / 4 + 4 * math.pi**2)
    left = []
    for n in (24, 48, 96):
        grid = CartesianGrid((n, n + 8), extent=(1.0, 1.5), origin=(0.0, -0.5), periodic=(True, False))
        x, y = grid.coordinates()
        e = torch.exp(lam * x)
        u = {
            "velocity_x": 1 - e * torch.cos(TWO_PI * y),
            "velocity_y": lam / TWO_PI * e * torch.sin(TWO_PI * y),
            "pressure": (1 - e**2) / 2,
        }
        law, D = IncompressibleFlow(1 / re), FiniteDifference(grid, order=4)
        parts = law.rhs({n: v[None] for n, v in u.items()}, D, 0.0) | law.constraints(u, D)
        left.append(max(float(v.abs().max()) for v in parts.values()))
    assert math.log2(left[1] / left[2]) == pytest.approx(4, abs=0.3), left


def test_gradients_and_batched_viscosities():
    grid = CartesianGrid((4, 6), extent=(TWO_PI, 2 * TWO_PI))
    D = Spectral(grid, dealias=False)
    u = random_flow(D, grid)

    def advanced(viscosity, *v):
        stepper = ETDRK4(IncompressibleFlow(viscosity), D)
        return tuple(stepper.step(dict(zip(u, v, strict=True)), 0.0, 0.1).values())

    viscosity = torch.tensor([0.1, 0.4], dtype=torch.float64, requires_grad=True)
    given = tuple(v.detach().requires_grad_(True) for v in u.values())
    assert torch.autograd.gradcheck(advanced, (viscosity, *given), fast_mode=True)
    single = ETDRK4(IncompressibleFlow(0.4), D).step({n: v[1:] for n, v in u.items()}, 0.0, 0.1)
    torch.testing.assert_close(advanced(viscosity, *given)[0][1:], single["velocity_x"])


def test_refusals():
    with pytest.raises(InputError, match="viscosity"):
        IncompressibleFlow(-0.1)
    with pytest.raises(InputError, match="expected 2 or 3"):
        IncompressibleFlow(0.1, ndim=1)
    with pytest.raises(InputError, match="tuple of 3 parts"):
        IncompressibleFlow(0.1, forcing=(0.0, 1.0), ndim=3)
    u = {n: torch.zeros(1, *PLANE.shape) for n in velocity_names(3)}
    with pytest.raises(InputError, match="give the law ndim=2"):
        IncompressibleFlow(0.1, ndim=3).rhs(u, Spectral(PLANE), 0.0)
    with pytest.raises(UnsupportedOperator, match="`project`"):
        IncompressibleFlow(0.1).rhs(u, FiniteDifference(PLANE), 0.0)
    with pytest.raises(InputError, match="helicity is zero"):
        IncompressibleFlow(0.1).helicity(u, Spectral(PLANE), PLANE)
