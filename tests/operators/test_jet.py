"""Arithmetic of jets against polynomials written out."""

import pytest
import torch

from physdiff.operators.jet import Jet, MissingOrders
from physdiff.operators.jet_orders import closed

ORDERS = closed([(3,)])


def jet(*coefficients):
    return Jet(torch.tensor(coefficients, dtype=torch.float64)[:, None], ORDERS)


def rows(f):
    return f.data[:, 0].tolist()


def test_arithmetic_is_that_of_polynomials_cut_off():
    a, b = jet(1.0, 2.0, 0.0, 1.0), jet(2.0, -1.0, 3.0, 0.0)  # 1 + 2h + h^3, 2 - h + 3h^2
    assert rows(a + b) == [3, 1, 3, 1] and rows(a - b) == [-1, 3, -3, 1] and rows(3 - a) == [2, -2, 0, -1]
    assert rows(a * b) == [2, 3, 1, 8]
    assert rows(a**2) == [1, 4, 4, 2] and rows(a.square()) == [1, 4, 4, 2]
    assert rows(a**3) == rows(a * a * a)
    torch.testing.assert_close((a / b * b).data, a.data)
    torch.testing.assert_close((1 / b * b).data, torch.ones_like(b).data)
    torch.testing.assert_close((b.sqrt() ** 2).data, b.data)
    torch.testing.assert_close((torch.exp(a).log()).data, a.data)
    torch.testing.assert_close((a.sin() ** 2 + torch.cos(a) ** 2).data, torch.ones_like(a).data, atol=1e-14, rtol=0)


def test_a_derivative_is_one_order_lower_and_ends():
    a = jet(1.0, 2.0, 5.0, 1.0)
    slope = a.partial(0)
    assert rows(slope) == [2, 10, 3] and slope.orders == ((0,), (1,), (2,))
    # mixed with what has more orders: cut to what both have
    assert rows(a * slope) == [2, 14, 33] and rows(a + slope) == [3, 12, 8]
    with pytest.raises(MissingOrders) as missing:
        (slope.partial(0).partial(0).partial(0) + 0).value  # noqa: B018
    assert missing.value.orders == {(4,)}


def test_tensors_and_numbers_are_constants():
    a, c = jet(1.0, 2.0, 0.0, 1.0), torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert (a + c).data[:, 1].tolist() == [5, 2, 0, 1] and (c * a).data[:, 0].tolist() == [3, 6, 0, 3]
    assert (c - a).data[:, 1].tolist() == [3, -2, 0, -1] and (c / a).shape == (2,)
    both = torch.cat((a, c))
    assert both.data[:, 1].tolist() == [3, 0, 0, 0] and both.shape == (3,)


def test_a_guard_stops_the_derivatives_where_it_holds():
    a = torch.cat((jet(1.0, 2.0, 0.0, 1.0), jet(-1.0, 2.0, 0.0, 1.0)))
    assert a.clamp(min=0.5).data[:, 0].tolist() == [1, 2, 0, 1] and a.clamp(min=0.5).data[:, 1].tolist() == [0.5, 0, 0, 0]


def test_shapes_are_those_of_tensors():
    f = Jet(torch.arange(24.0).reshape(4, 3, 2), ORDERS)
    assert f.shape == (3, 2) and f.ndim == 2 and f[..., 0].shape == (3,) and f.sum(-1).shape == (3,)
    one, other = f.unbind(-1)
    torch.testing.assert_close(torch.stack((one, other), dim=-1).data, f.data)
    torch.testing.assert_close((f @ torch.eye(2)).data, f.data)
