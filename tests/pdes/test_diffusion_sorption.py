"""Diffusion with sorption: text, what is kept, the edge at nothing dissolved, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.diffusion_sorption import DiffusionSorption
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve
from tests.pdes.budget import assert_batched, assert_budget

LINE = CartesianGrid(64, extent=2.0)
D = Spectral(LINE)
(X,) = D.coordinates
U = {"u": (0.6 + 0.3 * torch.sin(math.pi * X) + 0.1 * torch.cos(2 * math.pi * X))[None]}


def test_the_text_is_the_equation_with_the_published_constants():
    u, bend = U["u"], (-0.3 * math.pi**2 * torch.sin(math.pi * X) - 0.4 * math.pi**2 * torch.cos(2 * math.pi * X))[None]
    retardation = 1 + (1 - 0.29) / 0.29 * 2880 * 3.5e-4 * 0.874 * u ** (0.874 - 1)
    torch.testing.assert_close(DiffusionSorption().rhs(U, D, 0.0)["u"], 5e-4 * bend / retardation)


def test_what_is_dissolved_and_bound_is_kept():
    law = DiffusionSorption(0.1)
    assert_budget(law, U, D, LINE)
    assert_batched(lambda k: DiffusionSorption(k), [0.1, 0.3], U, D)
    out = solve(RungeKutta(law, D), U, torch.tensor([0.0, 1.0], dtype=torch.float64), substeps=200)
    kept = law.invariants(out, LINE)
    # the mean of R u_t vanishes but for the truncation of u^n and of steps of 0.005, not to rounding: the law is not in conservation form
    assert float((kept["total"][0, 1] - kept["total"][0, 0]).abs()) < 1e-9
    assert float((kept["dissolved"][0, 1] - kept["dissolved"][0, 0]).abs()) > 1e-3


def test_nothing_moves_where_nothing_is_dissolved_and_gradients_are_finite():
    u = torch.tensor([[0.0, 0.0, 0.5, 1.0, 0.5, 0.0, -0.1, 0.0]], dtype=torch.float64, requires_grad=True)
    grid = CartesianGrid(8, extent=1.0)
    rate = DiffusionSorption().rhs({"u": u}, FiniteDifference(grid), 0.0)["u"]
    assert bool((rate.detach()[u.detach() <= 0] == 0).all()) and float(rate.detach().abs().max()) > 0
    (slope,) = torch.autograd.grad(rate.square().sum(), u)
    assert bool(slope.isfinite().all())


def test_what_is_no_ground_is_refused():
    cases = ({"porosity": 1.2}, "at most 1"), ({"porosity": 0.0}, "porosity"), ({"exponent": 1.5}, "exponent"), ({"density": -1.0}, "density")
    for bad, message in cases:
        with pytest.raises(InputError, match=message):
            DiffusionSorption(**bad)
