"""Coefficients that say they do not change in time."""

import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.steady import Steady
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve


def test_a_steady_force_is_the_same_function_that_ignores_the_time():
    grid = CartesianGrid((6, 9), extent=(1.0, 2.0))
    u = {"u": torch.randn(2, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))}

    def force(x, y):
        return torch.sin(3 * x) * y

    for D in (Spectral(grid), FiniteDifference(grid)):
        one = Burgers(0.1, forcing=Steady(force)).rhs(u, D, 0.5)["u"]
        torch.testing.assert_close(one, Burgers(0.1, forcing=lambda x, y, t: force(x, y)).rhs(u, D, 0.5)["u"])
    times = torch.tensor([0.0, 0.1], dtype=torch.float64)
    one, other = (
        solve(ETDRK4(Burgers(0.1, forcing=f), Spectral(grid)), u, times, substeps=8)["u"] for f in (Steady(force), lambda x, y, t: force(x, y))
    )
    torch.testing.assert_close(one, other)
