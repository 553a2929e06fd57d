from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.operators.ghost_cells import extended, extrapolated, wall_weights

HALF = Fraction(-1, 2)


def test_one_point_gives_the_textbook():
    assert wall_weights(1, HALF, 1.0) == ((-1.0,), 2.0)  # 2 g - f
    assert wall_weights(1, HALF, 0.0, b=4.0) == ((1.0,), 0.25)  # f + h g, with h = 1/4
    # a (G + f) / 2 + b (G - f) / h = g
    (weight,), of_value = wall_weights(1, HALF, 2.0, b=3.0)
    assert weight == pytest.approx((3 - 1) / (3 + 1)) and of_value == pytest.approx(1 / 4)
    assert wall_weights(3, HALF, None) == ((3.0, -3.0, 1.0), 0.0)


@pytest.mark.parametrize("points", [1, 2, 3, 5, 9])
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.0, 2.0), (0.7, 3.1), (None, 0.0)])
def test_polynomials_go_on_exactly(points, a, b):
    degree = points - 1 if a is None else points
    c = torch.linspace(0.3, -0.2, degree + 1, dtype=torch.float64) / 8.0 ** torch.arange(degree + 1)

    def f(s):
        return sum(float(k) * s**i for i, k in enumerate(c))

    slope = float(c[1]) if degree > 0 else 0.0
    g = 0.0 if a is None else a * float(c[0]) - b * slope  # the outward normal points towards smaller s
    for at in (Fraction(0), HALF, Fraction(-7, 2)):
        weights, of_value = wall_weights(points, at, a, b=b)
        got = sum(w * f(j + 0.5) for j, w in enumerate(weights)) + of_value * g
        # terms reach 1e5 for nine points and the ghost at -7/2
        assert got == pytest.approx(f(float(at)), rel=1e-9, abs=1e-9)


def test_both_ends_and_their_order():
    s = torch.arange(6, dtype=torch.float64) + 0.5
    f = torch.stack([s**2, 1 - s])  # along the last axis, of length 6
    ghosts = [[wall_weights(3, Fraction(-2 * k - 1, 2), 1.0) for k in range(2)]] * 2
    got = extended(f, 1, ghosts, values=[torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[36.0], [-5.0]]).double()])
    wide = torch.arange(-2, 8, dtype=torch.float64) + 0.5
    torch.testing.assert_close(got, torch.stack([wide**2, 1 - wide]))
    assert torch.equal(extrapolated(f, 1, 1, weights=wall_weights(2, HALF, None), value=0.0)[1], torch.tensor([-5.5], dtype=torch.float64))


def test_a_condition_that_determines_nothing_is_refused():
    with pytest.raises(InputError, match="give a and b one sign"):
        wall_weights(1, HALF, 1.0, b=-0.5)  # (G + f) / 2 - (G - f) / 2 = f for any G
