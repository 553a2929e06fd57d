"""Fisher-KPP: text, budgets, bounds, growth without diffusion, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.exact_waves import logistic
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve
from tests.pdes.budget import assert_batched, assert_budget

PLANE = CartesianGrid((24, 40), extent=(1.5, 2.0))
D = Spectral(PLANE)
X, Y = D.coordinates
WAVE = torch.sin(math.pi * X + 4 * math.pi / 1.5 * Y)
U = {"u": (0.5 + 0.3 * WAVE)[None]}


def test_the_text_is_the_equation():
    lap = -0.3 * (math.pi**2 + (4 * math.pi / 1.5) ** 2) * WAVE
    torch.testing.assert_close(FisherKPP(0.02, 1.3).rhs(U, D, 0.0)["u"], (0.02 * lap)[None] + 1.3 * U["u"] * (1 - U["u"]))


def test_budgets_and_batches():
    assert_budget(FisherKPP(0.02, 1.3), U, D, PLANE)
    assert_batched(lambda r: FisherKPP(0.02, r), [0.5, 2.0], U, D)


def test_uniform_growth_is_logistic_for_each_rate():
    rate, t = torch.tensor([0.5, 2.0], dtype=torch.float64), torch.tensor([0.0, 1.5], dtype=torch.float64)
    start = torch.full((2, 24, 40), 0.1, dtype=torch.float64)
    out = solve(ETDRK4(FisherKPP(0.02, rate), D), {"u": start}, t, substeps=50)["u"][:, -1]
    wanted = logistic(start, 1.5, rate=rate[:, None, None])
    # fourth order: 0.03^4 over 100
    assert float((out - wanted).abs().max()) < 1e-7
    odds = 0.1 / 0.9 * math.exp(2.0 * 1.5)
    assert abs(float(wanted[1, 0, 0]) - odds / (1 + odds)) < 1e-15
    assert float(logistic(start[0, 0, 0], 1e4, rate=1.0)) == 1.0


def test_values_stay_within_nothing_and_all_and_the_energy_falls():
    out = solve(ETDRK4(FisherKPP(0.02, 3.0), D), U, torch.linspace(0, 2, 9, dtype=torch.float64), substeps=20)
    assert float(out["u"].min()) > 0 and float(out["u"].max()) < 1
    assert bool((FisherKPP(0.02, 3.0).invariants(out, PLANE)["energy"].diff(dim=1) < 0).all())


def test_it_is_saved_and_refuses():
    assert build(describe(FisherKPP(0.02, 1.3))).rate == 1.3
    for bad in ((-0.1, 1.0), (0.1, -1.0), (0.1, float("nan"))):
        with pytest.raises(InputError, match="not negative"):
            FisherKPP(*bad)
