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
from physdiff.solvers.runge_kutta import EULER, HEUN2, KUTTA3, MIDPOINT, RK4, SSPRK3, RungeKutta, Tableau

ALL = (EULER, MIDPOINT, HEUN2, KUTTA3, SSPRK3, RK4)


@pytest.mark.parametrize("tableau", ALL, ids=lambda t: t.name)
def test_order_conditions(tableau):
    """Trees with up to four leaves (Butcher): each sum must be 1 over the density of its tree, as far as the order goes."""
    n = len(tableau.b)
    a = torch.zeros(n, n, dtype=torch.float64)
    for i, row in enumerate(tableau.a):
        a[i, :i] = torch.tensor(row, dtype=torch.float64)
    b, c = torch.tensor(tableau.b, dtype=torch.float64), a.sum(1)
    one = torch.ones_like(c)
    trees = {
        1: [(b @ one, 1)],
        2: [(b @ c, 2)],
        3: [(b @ c**2, 3), (b @ a @ c, 6)],
        4: [(b @ c**3, 4), (b @ (c * (a @ c)), 8), (b @ a @ c**2, 12), (b @ a @ a @ c, 24)],
    }
    for order in range(1, tableau.order + 1):
        for value, density in trees[order]:
            assert abs(float(value) - 1 / density) < 1e-14  # rounding
    if tableau.order < 4:
        assert any(abs(float(v) - 1 / d) > 1e-3 for v, d in trees[tableau.order + 1])


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
