"""Where it ends, what came in, and both ends of the line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.pdebench_diffusion_sorption import PDEBenchDiffusionSorption


def test_a_straight_line_between_the_ends_stays():
    """u'' = 0 between u(0) = 1 and u + D u' = 0 at 1: u = 1 - x / (1 + D), which differences of order 2 hold to rounding."""
    made = PDEBenchDiffusionSorption(diffusivity=0.5, resolution=12)
    x = (torch.arange(12, dtype=torch.float64) + 0.5) / 12
    rate = made.stepper.rhs({"u": (1 - x / 1.5)[None]}, 0.0)["u"]
    # h^-2 = 144 times rounding; with the wall one cell from the last point, or with 1 / D in place of D, the last rate would be of the order of 1
    torch.testing.assert_close(rate, torch.zeros_like(rate), atol=1e-12, rtol=0)


def test_values_stay_between_the_first_ones_and_the_left_end():
    """The step is short enough: no oscillation next to the jump at the left end."""
    u = PDEBenchDiffusionSorption(diffusivity=0.02, resolution=24, horizon=4.0, interval=2.0).generate(2, Rng(0), dtype=torch.float64).u.values
    assert u.max() < 1 and (np.diff(u, axis=-1) < 1e-9).all()


def test_what_is_there_is_what_came_in_less_what_left():
    """Dissolved and bound, by the integral over time of the fluxes through both ends."""
    n, d = 32, 0.02
    made = PDEBenchDiffusionSorption(diffusivity=d, resolution=n, horizon=4.0, interval=0.05)
    ds = made.generate(2, Rng(1), dtype=torch.float64)
    u, t, h = ds.u.values, ds.time.values.astype(float), 1 / n
    total = (u + (1 - 0.29) / 0.29 * 2880 * 3.5e-4 * u**0.874).mean(-1)
    enters = -d * (-8 + 9 * u[..., 0] - u[..., 1]) / (3 * h)
    edge = (9 * u[..., -1] - u[..., -2]) / 8  # of the parabola with slope -u/d at the wall, solved for the wall's value
    leaves = edge / (1 + 3 * h / (8 * d))
    first = 40  # after the jump at the left end has spread over a few cells
    for i in range(2):
        net = np.trapezoid((enters - leaves)[i, first:], t[first:])
        # the law is not written in conservation form, and the front is a few cells wide: errors of h^2 over its width squared
        assert total[i, -1] - total[i, first] == pytest.approx(net, rel=1e-2)
    assert np.ptp(u[:, 0], axis=-1).max() == 0 and u[0, 0, 0] != u[1, 0, 0] and u[:, 0].max() <= 0.2


def test_the_published_step_and_what_makes_no_sense():
    assert PDEBenchDiffusionSorption().longest_step == pytest.approx(1.8e-3, rel=0.02)
    with pytest.raises(InputError, match="at most 1"):
        PDEBenchDiffusionSorption(largest=2.0)
