"""The separable network against sums over products written out, at points and on a lattice."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.separable import SeparableNetwork


def brute_force(net, point):
    values = torch.zeros(net.out_features, dtype=point.dtype)
    factors = [f(x.reshape(1)) for f, x in zip(net.factors, point, strict=True)]
    for m in range(net.out_features):
        for j in range(net.rank):
            product = 1.0
            for f in factors:
                product = product * f[j * net.out_features + m]
            values[m] += product
    return values


def test_is_a_sum_of_products_at_points_and_on_a_lattice():
    torch.manual_seed(0)
    net = SeparableNetwork(3, 2, rank=4, width=5, depth=1).double()
    axes = [torch.randn(n, dtype=torch.float64) for n in (2, 3, 2)]
    points = torch.cartesian_prod(*axes)
    with torch.no_grad():
        expected = torch.stack([brute_force(net, p) for p in points])
    torch.testing.assert_close(net(points), expected)
    torch.testing.assert_close(net.on_lattice(axes), expected.reshape(2, 3, 2, 2))


def test_a_derivative_along_an_axis_is_that_of_one_factor():
    torch.manual_seed(1)
    net = SeparableNetwork(2, 1, rank=3, width=5, depth=2).double()
    x, t = torch.randn(4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    points = torch.cartesian_prod(x, t).requires_grad_()
    (slope,) = torch.autograd.grad(net(points).sum(), points)
    column = x.unsqueeze(1).requires_grad_()
    dx = torch.cat([torch.autograd.grad(net.factor(0, column)[:, j].sum(), column)[0] for j in range(3)], dim=1)
    torch.testing.assert_close(net.combine([dx, net.factor(1, t.unsqueeze(1))]).flatten(), slope[:, 0])


def test_described_and_built_again():
    net = SeparableNetwork(2, 2, rank=3, width=4, depth=1, factorised=True)
    twin = build(describe(net))
    twin.load_state_dict(net.state_dict())
    x = torch.randn(5, 4, 2)
    assert torch.equal(twin(x), net(x)) and net(x).shape == (5, 4, 2)


def test_refuses_wrong_shapes():
    net = SeparableNetwork(2, 1, rank=3, width=4, depth=1)
    with pytest.raises(ShapeError, match="got"):
        net(torch.zeros(4, 3))
    with pytest.raises(ShapeError, match="2 axes"):
        net.on_lattice([torch.zeros(3)])
