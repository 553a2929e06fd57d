"""Advection with adsorption: text, budgets, inventory kept by a solver to rounding, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.adsorption import AdvectionAdsorption
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve
from tests.pdes.budget import assert_batched, assert_budget

COLUMN = CartesianGrid(32, extent=2.0)
D = Spectral(COLUMN)
(X,) = D.coordinates
U = {"c": (1 + 0.4 * torch.sin(math.pi * X))[None], "q": (0.5 + 0.2 * torch.cos(2 * math.pi * X + 0.3))[None]}


def test_the_text_is_the_equation():
    law = AdvectionAdsorption((lambda x, t: 0.7 + 0.1 * torch.sin(math.pi * x) * t,), 1.5, 0.8, 0.6, 0.02, 2.0)
    c, q = U["c"], U["q"]
    bound = 1.5 * c * (1 - q / 2.0) - 0.8 * q
    carried = (0.7 + 0.2 * torch.sin(math.pi * X)) * c
    got = law.rhs(U, D, 2.0)
    torch.testing.assert_close(got["q"], bound)
    torch.testing.assert_close(got["c"], -D.grad(carried)[0] + 0.02 * D.lap(c) - 0.6 * bound)
    torch.testing.assert_close(law.speeds(U, D, 2.0)[0], (0.7 + 0.2 * torch.sin(math.pi * X))[None])


@pytest.mark.parametrize("capacity", [None, 2.0])
def test_budget_is_the_derivative_of_the_invariants(capacity):
    assert_budget(AdvectionAdsorption((0.7,), 1.5, 0.8, 0.6, 0.02, capacity), U, D, COLUMN)
    assert_batched(lambda k: AdvectionAdsorption((0.7,), k, 0.8, 0.6, 0.02, capacity), [0.5, 1.5], U, D)


@pytest.mark.parametrize("stepper", [ETDRK4, RungeKutta])
def test_a_solver_keeps_the_inventory_to_rounding(stepper):
    law = AdvectionAdsorption((0.7,), 1.5, 0.8, 0.6, 0.02, 2.0)
    out = solve(stepper(law, D), U, torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64), substeps=100)
    kept = law.invariants(out, COLUMN)
    assert float((kept["inventory"] - kept["inventory"][:, :1]).abs().max()) < 1e-13
    assert float((kept["mobile"][:, -1] - kept["mobile"][:, 0]).abs()) > 0.05


def test_what_makes_no_column_is_refused():
    with pytest.raises(InputError, match="adsorption"):
        AdvectionAdsorption((0.7,), -1.0, 0.8)
    with pytest.raises(InputError, match="capacity"):
        AdvectionAdsorption((0.7,), 1.0, 0.8, capacity=0.0)
    with pytest.raises(InputError, match="tuple"):
        AdvectionAdsorption(0.7, 1.0, 0.8)
    with pytest.raises(ShapeError, match="expected 1 components"):
        AdvectionAdsorption((0.7, 0.1), 1.0, 0.8).rhs(U, D, 0.0)
