from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.operators.stencils import Stencil, TimeDifference, check_field, lagrange_weights, wrap
from tests.operators.fields import GRIDS, relative


@pytest.mark.parametrize(
    ("points", "derivative", "weights"),
    [
        # tables of Fornberg (1988)
        ((-1, 0, 1), 1, (-1 / 2, 0, 1 / 2)),
        ((-1, 0, 1), 2, (1, -2, 1)),
        ((-2, -1, 0, 1, 2), 1, (1 / 12, -2 / 3, 0, 2 / 3, -1 / 12)),
        ((-2, -1, 0, 1, 2), 2, (-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12)),
        ((0, 1, 2), 1, (-3 / 2, 2, -1 / 2)),
        ((0, 1, 2, 3), 2, (2, -5, 4, -1)),
        ((-2, -1, 0, 1, 2), 3, (-1 / 2, 1, 0, -1, 1 / 2)),
    ],
)
def test_weights_equal_the_tables(points, derivative, weights):
    assert lagrange_weights(points, derivative) == pytest.approx(weights, abs=1e-15)


@pytest.mark.parametrize("derivative", [1, 2, 3, 4])
@pytest.mark.parametrize("accuracy", [2, 4, 6, 8])
def test_polynomials_up_to_the_accuracy_are_exact_at_every_point(derivative, accuracy):
    stencil = Stencil(derivative, accuracy)
    n = stencil.smallest + 3
    x = torch.arange(n, dtype=torch.float64) - n / 2
    degree = derivative + accuracy - 1
    f = torch.stack([torch.ones_like(x), (x / n) ** degree])
    scale = 1.0
    for k in range(derivative):
        scale *= (degree - k) / n
    # 1e-8: one-sided weights reach 1e4 and the derivative is far smaller than the values
    assert relative(stencil.open(f, 1)[1], scale * (x / n) ** (degree - derivative)) < 1e-8
    assert stencil.open(f, 1)[0].abs().max() < 1e-9


def test_along_any_axis_and_around_the_seam():
    stencil = Stencil(1, 4)
    f = torch.randn(9, 2, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for along in (stencil.open, stencil.periodic):
        assert relative(along(f, 0), along(f.movedim(0, -1), 2).movedim(-1, 0)) < 1e-13
    rolled = stencil.periodic(f.roll(3, 2), 2)
    assert relative(rolled, stencil.periodic(f, 2).roll(3, 2)) < 1e-13
    inside = slice(stencil.reach, -stencil.reach)
    assert relative(stencil.open(f, 2)[..., inside], stencil.periodic(f, 2)[..., inside]) < 1e-13
    assert torch.equal(wrap(torch.arange(4), 0, 2), torch.tensor([2, 3, 0, 1, 2, 3, 0, 1]))


def test_inner_takes_ghost_points():
    """What a wall will do: an odd extension gives the derivative of the odd function."""
    stencil = Stencil(2, 2)
    x = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    f = torch.sin(torch.pi * x)
    ghosts = torch.cat([-f[:1], f, -f[-1:]])
    wanted = -(2 - 2 * torch.cos(torch.tensor(0.1 * torch.pi, dtype=torch.float64))) * f
    assert relative(stencil.inner(ghosts, 0), wanted) < 1e-12


def test_time_differences_take_order_four_where_they_can():
    grid = GRIDS[1]
    t = torch.linspace(0, 1.2, 7, dtype=torch.float64)
    f = (t**4)[:, None].expand(7, 30)
    wanted = (4 * t**3)[:, None].expand(7, 30)
    assert relative(TimeDifference(0.2, "test")(f, grid), wanted) < 1e-12
    assert relative(TimeDifference(0.2, "test")(f[:4], grid), wanted[:4]) > 1e-3


def test_check_field_says_what_came():
    assert check_field(torch.zeros(5, 20, 33), GRIDS[2], "here").shape == (5, 20, 33)
    for shape in ((33,), (33, 20), (20, 33, 1)):
        with pytest.raises(ShapeError, match=r"here: expected a field \(\.\.\., 20, 33\)"):
            check_field(torch.zeros(shape), GRIDS[2], "here")
