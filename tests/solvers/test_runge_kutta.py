"""Tableaux: order conditions, stability, refusals; the limit against the known one."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.solvers.runge_kutta import (
    BOGACKI_SHAMPINE,
    DORMAND_PRINCE,
    EULER,
    HEUN2,
    KUTTA3,
    MIDPOINT,
    RK4,
    SSPRK3,
    TSITOURAS,
    EmbeddedPair,
    EmbeddedRungeKutta,
    RungeKutta,
    Tableau,
)
from physdiff.solvers.solve import solve
from tests.solvers.trees import order_defects

PAIRS = (BOGACKI_SHAMPINE, DORMAND_PRINCE, TSITOURAS)
ALL = (EULER, MIDPOINT, HEUN2, KUTTA3, SSPRK3, RK4, *(pair.tableau for pair in PAIRS))


@pytest.mark.parametrize("tableau", ALL, ids=lambda t: t.name)
def test_order_conditions(tableau):
    """One equation per rooted tree (Butcher) up to the order, and not all of the next one."""
    defects = order_defects(tableau.a, tableau.b, tableau.order + 1)
    assert all(d < 2e-14 for order in range(1, tableau.order + 1) for d in defects[order])  # rounding, of the coefficients too
    assert max(defects[tableau.order + 1]) > 1e-4


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.tableau.name)
def test_second_weights_are_of_the_lower_order_and_no_better(pair):
    defects = order_defects(pair.tableau.a, pair.lower, pair.lower_order + 1)
    assert all(d < 2e-14 for order in range(1, pair.lower_order + 1) for d in defects[order])  # rounding, of the coefficients too
    assert max(defects[pair.lower_order + 1]) > 1e-4


@pytest.mark.parametrize("tableau", ALL, ids=lambda t: t.name)
def test_stability_function_is_the_step_of_the_linear_equation(tableau):
    z = torch.tensor([-0.7 + 0.4j], dtype=torch.complex128)
    exact = torch.exp(z)
    error = float((tableau.stability(z) - exact).abs())
    # the first missing term of the series bounds the error within a factor of two
    assert error < 2 * abs(complex(z)) ** (tableau.order + 1) / math.factorial(tableau.order + 1)
    assert error > 1e-6


def test_reach_of_known_methods():
    # Euler 2; RK4 2.7853 and 2 sqrt 2; SSPRK3 2.5127 and sqrt 3; the line is read in steps of 0.001
    for tableau, wanted in ((EULER, (2.0, 0.0)), (RK4, (2.7853, 2 * math.sqrt(2))), (SSPRK3, (2.5127, math.sqrt(3)))):
        assert all(abs(a - b) < 2e-3 for a, b in zip(tableau.reach(), wanted, strict=True)), tableau.name


@pytest.mark.parametrize(("a", "b"), [(((), (0.5, 0.1)), (0.5, 0.5)), (((),), (0.5, 0.5)), (((), (1.0,)), (0.5, 0.6))])
def test_bad_tableaux_are_refused(a, b):
    with pytest.raises(InputError, match="Tableau odd: expected"):
        Tableau("odd", 1, a, b)


def test_limit_of_diffusion_by_finite_differences_is_the_textbook_one():
    grid = CartesianGrid((24, 40), extent=(1.5, 2.0))
    stepper = RungeKutta(AdvectionDiffusion(0.1, (0.0, 0.0)), FiniteDifference(grid), EULER)
    c = {"c": torch.ones(1, 24, 40, dtype=torch.float64)}
    # half the real interval of 2 over the largest eigenvalue 4 kappa (1/hx^2 + 1/hy^2); the estimate of that comes from below
    exact = 1.0 / (4 * 0.1 * sum(1 / h**2 for h in grid.spacing))
    assert exact < stepper.limit(c) < 1.25 * exact


def test_steps_within_the_limit_stay_and_far_beyond_it_do_not():
    grid = CartesianGrid((24, 40), extent=(1.5, 2.0))
    stepper = RungeKutta(AdvectionDiffusion(0.1, (0.0, 0.0)), FiniteDifference(grid), RK4)
    u = {"c": torch.randn(1, 24, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))}
    limit = stepper.limit(u)
    for share, stays in ((0.8, True), (1.6, False)):
        v = u
        for _ in range(60):
            v = stepper.step(v, 0.0, share * limit)
        assert (float(v["c"].square().mean()) < float(u["c"].square().mean())) == stays


def test_products_are_dealiased():
    """The tendency holds no wave above two thirds, and its energy is kept to rounding although the field is rough."""
    grid = CartesianGrid(30, extent=2.0)
    ops = Spectral(grid)
    u = torch.randn(1, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rate = RungeKutta(Burgers(0.0), ops).rhs({"u": u}, 0.0)["u"]
    assert float(torch.fft.rfft(rate)[:, 10:].abs().max()) < 1e-12 * float(rate.abs().max()) * 30
    cut = ops.dealias(u)
    assert abs(float((cut * rate).mean())) < 1e-14 * float(rate.abs().max())
    raw = Burgers(0.0).rhs({"u": u}, ops, 0.0)["u"]
    assert abs(float((u * raw).mean())) > 1e-3 * float(raw.abs().max())


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.tableau.name)
def test_the_error_estimate_of_a_step_falls_as_it_should_and_covers_the_error(pair):
    grid = CartesianGrid(32, extent=2.0)
    (x,) = grid.coordinates()
    start = {"u": (0.4 + torch.sin(math.pi * x) + 0.5 * torch.cos(2 * math.pi * x))[None]}
    stepper, sizes = EmbeddedRungeKutta(Burgers(0.1), Spectral(grid), pair), []
    assert (stepper.order, stepper.error_order) == (pair.lower_order + 1, pair.lower_order)
    for dt in (4e-3, 2e-3) if pair.tableau.order > 3 else (1e-3, 5e-4):
        end, error = stepper.step_with_error(start, 0.0, dt)
        assert torch.equal(end["u"], stepper.step(start, 0.0, dt)["u"])
        fine = start
        for i in range(32):
            fine = stepper.step(fine, i * dt / 32, dt / 32)
        made = float((end["u"] - fine["u"]).abs().max())
        sizes.append((float(error["u"].abs().max()), made))
    # local errors: the estimate is of order p + 1, what goes on is one better and so smaller than the estimate
    assert abs(math.log2(sizes[0][0] / sizes[1][0]) - (pair.lower_order + 1)) < 0.25, sizes
    assert math.log2(sizes[0][1] / sizes[1][1]) > pair.lower_order + 2 - 0.25, sizes  # Tsitouras' leading term is small beside the next
    assert all(made < estimate for estimate, made in sizes)


@pytest.mark.parametrize(("lower", "order"), [((0.5, 0.5), 1), ((0.5, 0.4, 0.0, 0.0), 1), ((1.0, 0.0, 0.0, 0.0), 4), ((1.0, 0.0, 0.0, 0.0), 0)])
def test_bad_pairs_are_refused(lower, order):
    with pytest.raises(InputError, match="EmbeddedPair RK4: expected"):
        EmbeddedPair(RK4, lower, order)


@pytest.mark.parametrize("pair", [BOGACKI_SHAMPINE, TSITOURAS], ids=lambda p: p.tableau.name)
def test_a_tolerance_is_kept(pair):
    grid, times = CartesianGrid(24, extent=2.0), torch.tensor([0.0, 0.1], dtype=torch.float64)
    (x,) = grid.coordinates()
    start, law, ops = {"u": (0.4 + torch.sin(math.pi * x))[None]}, Burgers(0.1), Spectral(grid)
    fine = solve(RungeKutta(law, ops), start, times, substeps=400)["u"][:, -1]
    for tol in (1e-4, 1e-7):
        out = solve(EmbeddedRungeKutta(law, ops, pair), start, times, tol=tol)["u"][:, -1]
        assert float((out - fine).square().mean().sqrt() / fine.square().mean().sqrt()) < tol
