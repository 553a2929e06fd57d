"""Mass action: text, what is kept, the exact decay of a uniform mixture, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.mass_action import MassAction
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve
from tests.pdes.budget import assert_batched, assert_budget

PLANE = CartesianGrid((24, 40), extent=(1.5, 2.0))
D = Spectral(PLANE)
X, Y = D.coordinates
U = {"a": (1 + 0.3 * torch.sin(math.pi * X + 4 * math.pi / 1.5 * Y))[None], "b": (0.8 + 0.4 * torch.cos(2 * math.pi * X))[None]}


def test_the_text_is_the_equation():
    got = MassAction((0.02, 0.03), 0.7, 3).rhs(U, D, 0.0)
    used = 0.7 * U["a"] * U["b"] ** 3
    torch.testing.assert_close(got["a"], 0.02 * D.lap(U["a"]) - used)
    torch.testing.assert_close(got["b"], 0.03 * D.lap(U["b"]) - 3 * used)


def test_budgets_and_batches():
    assert_budget(MassAction((0.02, 0.03), 0.7), U, D, PLANE)
    assert_batched(lambda k: MassAction((0.02, 0.03), k), [0.1, 0.7], U, D)


def test_the_excess_only_diffuses_where_both_diffuse_alike():
    law = MassAction((0.05, 0.05), 2.0)
    out = solve(ETDRK4(law, D), U, torch.tensor([0.0, 0.5], dtype=torch.float64), substeps=50)
    excess = 2 * U["a"] - U["b"]
    decays = (math.exp(-0.05 * k**2 * 0.5) for k in (math.hypot(math.pi, 4 * math.pi / 1.5), 2 * math.pi))
    parts = (0.6 * torch.sin(math.pi * X + 4 * math.pi / 1.5 * Y), -0.4 * torch.cos(2 * math.pi * X))
    wanted = 1.2 + sum(d * p for d, p in zip(decays, parts, strict=True))
    # the stiff part is exact and the reaction drops out: rounding
    assert float((2 * out["a"] - out["b"])[:, -1].sub(wanted).abs().max()) < 1e-12
    assert float((2 * out["a"] - out["b"])[:, -1].sub(excess).abs().max()) > 0.1


def test_a_uniform_mixture_in_proportion_decays_as_a_power():
    # b = m a: a' = -k m^m a^(m + 1)
    a = torch.full((1, 24, 40), 0.9, dtype=torch.float64)
    out = solve(ETDRK4(MassAction(rate=0.7), D), {"a": a, "b": 2 * a}, torch.tensor([0.0, 1.0], dtype=torch.float64), substeps=100)
    wanted = (0.9**-2 + 2**3 * 0.7) ** -0.5
    assert abs(float(out["a"][0, -1, 0, 0]) - wanted) < 1e-7  # fourth order: steps of 0.01 at rates up to 7


def test_what_is_no_reaction_is_refused():
    for bad, message in (({"parts": 0}, "whole number"), ({"rate": -1.0}, "rate"), ({"diffusivity": (0.1,)}, "tuple of two")):
        with pytest.raises(InputError, match=message):
            MassAction(**bad)
