"""The integrated residual: it vanishes for a shock at Rankine and Hugoniot's speed and only for that, where the pointwise one grows."""

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.boundary import Outflow
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.residual import window_residual
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.solve import solve
from physdiff.solvers.weak_residual import weak_residual


def shock(n, speed):
    """Cell means of a jump from 1 to 0 that starts at 0.3 and goes to 0.3 + 0.4 speed, at frames of a third of a cell."""
    grid = CartesianGrid(n, periodic=False)
    times = torch.linspace(0, 0.4, 6 * n // 10 + 1, dtype=torch.float64)
    lower = torch.arange(n, dtype=torch.float64) / n
    place = 0.3 + speed * times
    return grid, times, {"u": ((place[:, None] - lower) * n).clamp(0, 1)[None]}


def residuals(n, speed):
    grid, times, u = shock(n, speed)
    volumes = FiniteVolume(Burgers(0.0), grid, boundary=Outflow())
    weak = weak_residual(volumes, u, times, cells=n // 8)["u"].abs().mean()
    strong = window_residual(Burgers(0.0), u, FiniteDifference(grid, float(times[1])))["u"].abs().square().mean().sqrt()
    return float(weak), float(strong)


def test_it_falls_with_the_spacing_for_the_right_speed_and_the_pointwise_one_grows():
    found = [residuals(n, 0.5) for n in (40, 80, 160)]
    weak, strong = zip(*found, strict=True)
    assert weak[1] < 0.65 * weak[0] and weak[2] < 0.65 * weak[1]  # first order
    assert strong[2] > 1.3 * strong[1] > 1.6 * strong[0]  # a jump over a few cells: like one over the root of the spacing


def test_it_stays_for_a_wrong_speed():
    found = [residuals(n, 0.6)[0] for n in (40, 80, 160)]
    # the jump's surplus, 0.1 of length and height 1, crosses volumes that cover the box: its rate does not depend on the grid
    assert min(found) > 5 * residuals(160, 0.5)[0]
    assert found[2] == pytest.approx(found[1], rel=0.2)


def test_the_scheme_obeys_its_own_balance():
    """In a fine enough march the trapezoidal rule meets the stages' sum: one cell a volume, in two dimensions, with production."""
    grid = CartesianGrid((12, 16), extent=(1.5, 2.0))
    x, y = grid.coordinates()
    law = Burgers(0.01, forcing=lambda x, y, t: torch.sin(3.14159265 * x) * (1 + t))
    stepper = FiniteVolume(law, grid)
    start = {"u": (torch.sin(3.14159265 * x) + 0.3 * torch.cos(4.18879 * y))[None]}
    left = []
    for frames in (9, 17):
        times = torch.linspace(0, 0.05, frames, dtype=torch.float64)
        left.append(float(weak_residual(stepper, solve(stepper, start, times, substeps=1), times)["u"].abs().max()))
    assert left[1] < 0.3 * left[0]  # second order of the rule


def test_what_does_not_fit_is_refused():
    grid, times, u = shock(40, 0.5)
    stepper = FiniteVolume(Burgers(0.0), grid, boundary=Outflow())
    with pytest.raises(InputError, match="divisors"):
        weak_residual(stepper, u, times, cells=7)
    with pytest.raises(ShapeError, match="one time per frame"):
        weak_residual(stepper, u, times[:-1])
    with pytest.raises(InputError, match="missing u"):
        weak_residual(stepper, {"v": u["u"]}, times)
    with pytest.raises(InputError, match="increasing"):
        weak_residual(stepper, u, times.flip(0))
