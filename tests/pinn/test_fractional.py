"""Caputo's derivative: the weights by hand, exact on lines, order 2 - alpha on a parabola and, with graded times, on t^alpha."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.pinn.fractional import caputo, graded_times

F64 = torch.float64


@pytest.mark.parametrize("order", [0.2, 0.5, 0.8])
def test_weights_on_even_times_and_lines(order):
    torch.manual_seed(0)
    u, dt, n = torch.randn(6, 2, dtype=F64), 0.3, 5
    a = [(k + 1) ** (1 - order) - k ** (1 - order) for k in range(n)]
    expected = dt**-order / math.gamma(2 - order) * sum(a[k] * (u[n - k] - u[n - k - 1]) for k in range(n))
    times = dt * torch.arange(6, dtype=F64)
    torch.testing.assert_close(caputo(u, times, order)[-1], expected)
    uneven = torch.tensor([0.0, 0.1, 0.5, 0.6, 2.0], dtype=F64)
    exact = 3 * uneven[1:] ** (1 - order) / math.gamma(2 - order)
    torch.testing.assert_close(caputo(1 + 3 * uneven, uneven, order), exact)


@pytest.mark.parametrize("order", [0.2, 0.5, 0.8])
def test_a_parabola_converges_with_order_two_minus_alpha(order):
    errors = []
    for n in (320, 640):
        t = torch.linspace(0, 1, n + 1, dtype=F64)
        errors.append(abs(float(caputo(t**2, t, order)[-1]) - 2 / math.gamma(3 - order)))
    # the next term of the error is of order 2: it shows most where 2 - alpha is near
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2 - order, abs=0.05)


def worst_error(t, order):
    """Of the solution t^alpha of D^alpha u = Gamma(1 + alpha), u(0) = 0, over all times."""
    n = len(t) - 1
    matrix = caputo(torch.eye(n + 1, dtype=F64)[:, 1:], t, order)
    u = torch.linalg.solve_triangular(matrix, torch.full((n, 1), math.gamma(1 + order), dtype=F64), upper=False)
    return float((u[:, 0] - t[1:] ** order).abs().max())


def test_graded_times_keep_the_order_where_solutions_start_steeply():
    # Stynes, O'Riordan and Gracia (2017), theorem 5.3: order alpha on even times, 2 - alpha on graded ones
    for make, expected in ((lambda n: torch.linspace(0, 1, n + 1, dtype=F64), 0.5), (lambda n: graded_times(n, 1.0, 0.5), 1.5)):
        coarse, fine = (worst_error(make(n), 0.5) for n in (64, 128))
        assert math.log2(coarse / fine) == pytest.approx(expected, abs=0.1)


def test_gradients_go_through_and_refusals():
    t = torch.linspace(0, 1, 5, dtype=F64)
    assert torch.autograd.gradcheck(lambda u: caputo(u, t, 0.4), (torch.randn(5, 2, dtype=F64, requires_grad=True),))
    with pytest.raises(InputError, match="u_t"):
        caputo(t, t, 1.5)
    with pytest.raises(InputError, match="increasing"):
        caputo(t, t.flip(0), 0.5)
    with pytest.raises(ShapeError, match="got"):
        caputo(t[1:], t, 0.5)
    with pytest.raises(InputError, match="end"):
        graded_times(3, 0.0, 0.5)
