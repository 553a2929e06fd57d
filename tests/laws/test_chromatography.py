"""A step of a mixture through a packed column: the solver against the published answer."""

import math

import numpy as np
import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.adsorption import AdvectionAdsorption
from physdiff.pdes.exact_adsorption import step_response
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

# c at X = 10 and tau = 5, 10, 15, 20 after a step at the inlet (methods card, section 5)
GOLDEN = {5.0: 0.11979, 10.0: 0.54489, 15.0: 0.86578, 20.0: 0.97421}


def smooth_step(x, width):
    return 0.5 * torch.special.erfc(x / (math.sqrt(2) * width))


@pytest.mark.slow
def test_the_solver_meets_the_golden_values():
    """A reservoir in equilibrium, c = q = 1 where x < 0, feeds the column with c = 1 for as long as it lasts: the step at x = 0.

    The step is smoothed over a width w, which adds the mean of the exact answers over the places of the step (a Gaussian of that width).
    """
    width, law = 0.3, AdvectionAdsorption((1.0,), 1.0, 1.0)
    grid = CartesianGrid(720, extent=72.0, origin=-24.0)
    (x,) = grid.coordinates()
    filled = (smooth_step(x, width) - smooth_step(x + 22.0, width))[None]
    places, weights = (torch.tensor(v, dtype=torch.float64) for v in np.polynomial.hermite_e.hermegauss(40))
    weights = weights / weights.sum()
    times = torch.tensor([0.0, *(tau + 10.0 for tau in GOLDEN)], dtype=torch.float64)
    out = solve(RungeKutta(law, Spectral(grid)), {"c": filled, "q": filled.clone()}, times, substeps=300)["c"][0, 1:]
    point = int((x - 10.0).abs().argmin())
    outlet = float(x[point])
    assert outlet == 10.0
    for (tau, golden), found in zip(GOLDEN.items(), out[:, point], strict=True):
        exact = step_response(outlet - width * places, tau + 10.0, velocity=1.0, adsorption=1.0, desorption=1.0)["c"]
        wanted = float((weights * exact).sum())
        print(f"tau = {tau:g}: solver {float(found):.5f}, smoothed {wanted:.5f}, golden {golden:.5f}")
        # the smoothed step is resolved to 2e-9, and steps are 0.05 at first: fourth order
        assert abs(float(found) - wanted) < 2e-6
        # smoothing changes the answer by half the width squared (0.045) times its curvature, at most 0.06 where it begins to rise
        assert abs(float(found) - golden) < 4e-3
