"""Each function's Taylor coefficients against nested reverse mode."""

import math

import pytest
import torch

from physdiff.operators.jet_series import SERIES, power_series

FUNCTIONS = {
    "softplus": torch.nn.functional.softplus,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    **{name: getattr(torch, name) for name in ("tanh", "sin", "cos", "exp", "log", "atan", "sigmoid")},
}


def by_autograd(function, x, n):
    x = x.clone().requires_grad_()
    f, terms = function(x), []
    for k in range(n + 1):
        terms.append(f.detach() / math.factorial(k))
        (f,) = torch.autograd.grad(f.sum(), x, create_graph=True)
    return terms


@pytest.mark.parametrize("kind", SERIES)
def test_coefficients_up_to_order_five(kind):
    x = torch.linspace(0.1, 2.0, 7, dtype=torch.float64)
    start, series = SERIES[kind]
    for n in (0, 1, 3, 5):
        got = series(start(x), n)
        assert len(got) == n + 1
        for one, other in zip(got, by_autograd(FUNCTIONS[kind], x, n), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_powers():
    x = torch.linspace(0.5, 2.0, 5, dtype=torch.float64)
    for exponent in (-1.0, 0.5, 2.5):
        for one, other in zip(power_series(x, exponent, 4), by_autograd(lambda z, p=exponent: z**p, x, 4), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
