"""DeepONet: the formula by hand, any points, no seam on circles, storage."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.deeponet import DeepONet


def made(**options) -> DeepONet:
    torch.manual_seed(0)
    return DeepONet(2, 3, (4, 6), width=8, depth=1, rank=5, **options).double()


def test_the_sum_over_basis_functions_by_hand():
    net, x = made(), torch.randn(2, 2, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        net.bias.copy_(torch.tensor([1.0, -2.0, 0.5]))
    y = net(x)
    assert y.shape == (2, 3, 4, 6)
    b = net.branch(x.flatten(1)).reshape(2, 3, 5)
    tau = net.trunk(torch.tensor([[3 / 4, 1 / 6]], dtype=torch.float64))[0]
    torch.testing.assert_close(y[:, :, 3, 1], (b * tau).sum(-1) / math.sqrt(5) + net.bias, rtol=1e-12, atol=1e-12)


def test_given_points_are_those_of_the_grid_and_others():
    net, x = made(periodic=(True, False)), torch.randn(1, 2, 4, 6, dtype=torch.float64)
    points = torch.tensor([[0.5, 1 / 3], [1.5, 1 / 3]], dtype=torch.float64)
    y = net(x, points=points)
    torch.testing.assert_close(y[..., 0], net(x)[..., 2, 2])
    torch.testing.assert_close(y[..., 1], y[..., 0])  # once around the circle


def test_gradients_storage_and_bad_shapes():
    net, x = made(), torch.randn(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,), fast_mode=True)
    net(x).square().sum().backward()
    assert all(bool((p.grad != 0).any()) for p in net.parameters())
    again = build(describe(net)).double()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))
    for wrong in (torch.zeros(1, 2, 4, 5), torch.zeros(1, 1, 4, 6)):
        with pytest.raises(ShapeError, match="grid it reads"):
            net(wrong.double())
    with pytest.raises(ShapeError, match="points"):
        net(x, points=torch.zeros(3, 1))
    with pytest.raises(InputError, match="knows no levels"):
        net(x, torch.tensor(0.0))
    with pytest.raises(NotFitted, match="at\\(shape\\)"):
        DeepONet(2, 3, ndim=2, rank=5)(x)
    assert DeepONet(2, 3, ndim=2, width=8, depth=1, rank=5).at((4, 6))(torch.zeros(1, 2, 4, 6)).shape == (1, 3, 4, 6)
    with pytest.raises(InputError, match="rank"):
        DeepONet(1, 1, (4,), rank=0)
