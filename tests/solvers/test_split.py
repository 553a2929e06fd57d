"""A law in two parts: both forms say the same, and add up to the right-hand side."""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.reaction_diffusion import FitzHughNagumo
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.split import split_law

GRID = CartesianGrid((12, 20), extent=(1.5, 2.0))
X, Y = GRID.coordinates()
LAW = FitzHughNagumo((torch.tensor([0.03, 0.2], dtype=torch.float64), 0.05), rate=0.7, decay=1.3)
U = {
    "u": torch.stack([torch.cos(math.pi * X) + 0.2, torch.sin(2 * math.pi * (X + Y / 1.5))]),
    "v": torch.stack([torch.sin(2 * math.pi * Y / 1.5), torch.cos(math.pi * X) - 0.5]),
}


@pytest.mark.parametrize("operators", [Spectral, FiniteDifference])
def test_the_parts_add_up_and_the_solve_inverts(operators):
    split = split_law(LAW, operators(GRID))
    state = split.enter(U)
    back = split.leave(state)
    rates = [split.leave(part) for part in (split.explicit(state, 0.0), split.stiff(state, 0.0))]
    whole = RungeKutta(LAW, operators(GRID)).rhs(U, 0.0)
    solved = split.solve(state, 0.3, 0.0)
    again = split.stiff(solved, 0.0)
    for n in U:
        torch.testing.assert_close(back[n], U[n])
        torch.testing.assert_close(rates[0][n] + rates[1][n], whole[n])
        torch.testing.assert_close(solved[n] - 0.3 * again[n], state[n], rtol=0, atol=1e-10 * float(state[n].abs().max()))


def test_the_limit_sees_the_explicit_part_alone():
    law = FitzHughNagumo((100.0, 100.0), rate=0.0)
    flat = {n: torch.full_like(v, 0.5) for n, v in U.items()}
    # d/du (u - u^3) = 1/4 at u = 1/2, and v adds -1: the matrix ((1/4, -1), (0, 0)) moves no unit field by more than 1.04; power
    # iterations come to 1/4 from below, to 2e-8 here
    assert 0.25 * (1 - 1e-6) <= 1 / split_law(law, Spectral(GRID)).limit(flat, 0.0, 1.0) < 1.04
