"""Fokker-Planck, one text for all uses, and Chang and Cooper's method against exact solutions, equilibria and eigenvalues."""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.exact_diffusion import OrnsteinUhlenbeck, double_well, double_well_drift, gibbs_density, kramers_rate
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.residual import window_residual
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve

LINE = OrnsteinUhlenbeck(((1.3,),), (0.4,), (0.9,), ((0.09,),), centre=(0.2,))
# rotates: the steady state has a current, and exchanging x and y changes everything
PLANE = OrnsteinUhlenbeck(((1.0, -1.5), (0.6, 0.8)), (0.3, 0.15), (0.8, -0.4), ((0.1, 0.03), (0.03, 0.08)))
K, SPEED = 2 * math.pi / 2.0, 0.7


def bump(x, t):
    """An equilibrium of a potential and a diffusivity that travel together; what is lost is put back."""
    phase = K * (x - SPEED * t)
    return torch.exp(0.5 * torch.cos(phase)) / (0.2 + 0.05 * torch.sin(phase))


def travelling_spread(x, t):
    return 0.2 + 0.05 * torch.sin(K * (x - SPEED * t))


def travelling_drift(x, t):
    return SPEED - travelling_spread(x, t) * 0.5 * K * torch.sin(K * (x - SPEED * t))


def travelling_source(x, t):
    return (0.3 + 0.1 * torch.cos(K * x)) * bump(x, t)


CASES = {
    "line": (FokkerPlanck(LINE.drift, LINE.diffusion), CartesianGrid(128, extent=14.0, origin=-6.8), LINE.density),
    "plane": (FokkerPlanck(PLANE.drift, PLANE.diffusion), CartesianGrid((80, 120), extent=(9.0, 12.0), origin=(-4.6, -6.1)), PLANE.density),
    "travelling": (
        FokkerPlanck((travelling_drift,), travelling_spread, loss=lambda x, t: 0.3 + 0.1 * torch.cos(K * x), source=travelling_source),
        CartesianGrid(64, extent=2.0),
        bump,
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    """A law, a periodic grid and an exact solution; the boxes of Gaussians are wide enough for 1e-13 at the seam."""
    return CASES[request.param]


def test_right_hand_side_is_the_time_derivative(case):
    law, grid, exact = case
    time = torch.full(grid.shape, 0.3, dtype=torch.float64, requires_grad=True)
    p = exact(*grid.coordinates(), time)
    (rate,) = torch.autograd.grad(p.sum(), time)
    u = {"density": p.detach()[None]}
    got = law.rhs(u, Spectral(grid), 0.3)["density"]
    # rounding and the seam, times the square of the largest wave number (2e3)
    assert float((got - rate).abs().max()) < 1e-9 * float(rate.abs().max())
    eighth, second = (float((law.rhs(u, FiniteDifference(grid, order=n), 0.3)["density"] - rate).abs().max()) for n in (8, 2))
    # the resolution these grids leave to differences; a wrong term would spoil both alike
    assert eighth < 5e-4 * float(rate.abs().max()) and eighth < 0.02 * second


def test_residual_by_autograd_vanishes_and_agrees_with_the_grid_off_the_solution(case):
    law, grid, exact = case
    generator = torch.Generator().manual_seed(0)
    *x, t = (torch.rand(50, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(grid.ndim + 1))
    residual = law.residual({"density": exact(*x, t)}, Autograd(tuple(x), t), t)["density"]
    assert float(residual.detach().abs().max()) < 1e-11  # rounding of second derivatives of order 1e2
    coordinates = tuple(c.reshape(-1).requires_grad_() for c in grid.coordinates())
    off = exact(*coordinates, 0.6) ** 2
    points = law.rhs({"density": off}, Autograd(coordinates), 0.6)["density"].detach().reshape(grid.shape)
    on_grid = law.rhs({"density": off.detach().reshape(1, *grid.shape)}, Spectral(grid), 0.6)["density"][0]
    assert float((points - on_grid).abs().max()) < 1e-8 * float(on_grid.abs().max())  # squares are narrower: less resolved


def test_residual_of_frames_is_small_and_sees_a_wrong_coefficient(case):
    law, grid, exact = case
    times = torch.linspace(0.2, 0.24, 5, dtype=torch.float64)
    frames = torch.stack([exact(*grid.coordinates(), float(t)) for t in times])[None]
    D = Spectral(grid, dt=0.01)
    good = window_residual(law, {"density": frames}, D, times=times)["density"]
    bad = window_residual(FokkerPlanck(law.drift, 0.1), {"density": frames}, D, times=times)["density"]
    assert float(good.square().mean()) < 1e-6 * float(bad.square().mean())


def test_exponential_integrator_and_chang_cooper_meet():
    law, grid, exact = CASES["travelling"]
    times = torch.tensor([0.0, 0.5], dtype=torch.float64)
    start, end = (exact(*grid.coordinates(), t)[None] for t in (0.0, 0.5))
    # the diffusivity varies, so nothing is stiff here and the explicit part sets the step
    spectral = solve(ETDRK4(law, Spectral(grid)), {"density": start}, times, cfl=0.5)["density"][:, -1]
    assert float((spectral - end).abs().max()) < 1e-7 * float(end.max())
    cells = solve(ChangCooper(law, grid, order=2), {"density": start}, times, substeps=50)["density"][:, -1]
    assert float((cells - end).abs().max()) < 2e-3 * float(end.max())


def error(process, grid, *, steps, order, end=0.5):
    law = FokkerPlanck(process.drift, process.diffusion)
    start, exact = (process.density(*grid.coordinates(), t)[None] for t in (0.0, end))
    times = torch.tensor([0.0, end], dtype=torch.float64)
    got = solve(ChangCooper(law, grid, order=order), {"density": start}, times, substeps=steps)["density"][:, -1]
    return float((got - exact).abs().max() / exact.max())


def line(n):
    return CartesianGrid(n, extent=8.0, origin=-3.7, periodic=False)


def plane(n):
    return CartesianGrid((3 * n, 5 * n), extent=(4.8, 7.0), origin=(-2.5, -3.4), periodic=False)


def check(name, wanted, errors):
    rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    print(name, *(f"{e:.2e}" for e in errors), "orders", *(f"{r:.2f}" for r in rates))
    assert all(abs(rate - wanted) < 0.25 for rate in rates), (errors, rates)


def test_second_order_in_space():
    check("line, space and time", 2, [error(LINE, line(n), steps=n, order=2) for n in (40, 80, 160)])
    check("plane, space and time", 2, [error(PLANE, plane(n), steps=n, order=2) for n in (8, 16, 32)])


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("process", "grid"), [(LINE, line(60)), (PLANE, plane(8))], ids=["line", "plane"])
def test_order_in_time(process, grid, order):
    law = FokkerPlanck(process.drift, process.diffusion)
    start = {"density": process.density(*grid.coordinates(), 0.0)[None]}

    def run(steps, order):
        return solve(ChangCooper(law, grid, order=order), start, torch.tensor([0.0, 0.5], dtype=torch.float64), substeps=steps)["density"]

    exact = run(320, 2)  # the same cells: differences are those of time alone
    check(f"order {order}", order, [float((run(n, order) - exact).abs().max()) for n in (10, 20, 40)])


@pytest.mark.parametrize(("diffusion", "golden"), [(0.05, 2.7758e-3), (0.1, 3.3543e-2), (0.2, 0.13477)])
def test_slowest_decay_in_the_double_well(diffusion, golden):
    grid = CartesianGrid(400, extent=5.0, origin=-2.5, periodic=False)
    (x,) = grid.coordinates()
    stepper = ChangCooper(FokkerPlanck((double_well_drift,), diffusion), grid)
    u = {"density": (gibbs_density(double_well, grid, diffusion=diffusion) * (1 + 0.5 * torch.tanh(x)))[None]}
    dt, imbalance = 20.0, []
    for _ in range(10):
        u = stepper.step(u, 0.0, dt)
        imbalance.append(float((u["density"] * x.sign()).sum()))
    # backward Euler multiplies a mode by 1 / (1 + lambda dt); the next odd mode (lambda above 2.5) shrinks by 1/50 and more a step
    rate = (imbalance[-2] / imbalance[-1] - 1) / dt
    print(f"D = {diffusion}: slowest decay {rate:.6e}, golden {golden:.4e}, Kramers {2 * kramers_rate(diffusion):.4e}")
    # the golden numbers come from 400 nodes with another quadrature of the drift, themselves 1.2e-4 from the limit
    assert abs(rate / golden - 1) < 4e-4
    # the limit of fine grids, by a spectral method for the symmetrised operator; the error of 400 cells is h^2-small
    assert abs(rate / symmetrised_gap(diffusion) - 1) < 3e-4


def symmetrised_gap(diffusion):
    """Smallest eigenvalue above zero of -D d2/dx2 + V'^2/(4 D) - V''/2, by Fourier collocation on [-3, 3]."""
    n, length = 160, 6.0
    x = (torch.arange(n, dtype=torch.float64) + 0.5) * length / n - length / 2
    waves = torch.fft.fftfreq(n, length / n, dtype=torch.float64)[:, None] * 2 * math.pi
    minus_second = torch.fft.ifft(waves**2 * torch.fft.fft(torch.eye(n, dtype=torch.float64), dim=0), dim=0).real
    well = (x**3 - x) ** 2 / (4 * diffusion) - (3 * x**2 - 1) / 2
    return float(torch.linalg.eigvalsh(diffusion * minus_second + torch.diag(well))[1])
