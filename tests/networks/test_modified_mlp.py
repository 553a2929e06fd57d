"""Gated networks: the recursion written out, the PirateNet's linear start, least squares against the normal equations."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.modified_mlp import ModifiedMLP, PirateNet


def test_modified_mlp_is_its_formula():
    torch.manual_seed(0)
    net, x = ModifiedMLP(2, 3, width=5, depth=2).double(), torch.randn(7, 2, dtype=torch.float64)
    (wu, bu), (wv, bv), (w1, b1), (w2, b2), (w, b) = ((m.weight, m.bias) for m in (*net.gates, *net.layers, net.head))
    u, v = torch.tanh(x @ wu.T + bu), torch.tanh(x @ wv.T + bv)
    h = torch.tanh(x @ w1.T + b1)
    h = u * h + v * (1 - h)
    h = torch.tanh(h @ w2.T + b2)
    torch.testing.assert_close(net(x), (u * h + v * (1 - h)) @ w.T + b)


def test_pirate_net_is_its_formula():
    torch.manual_seed(1)
    net, x = PirateNet(2, 1, width=6, depth=1, factorised=True).double(), torch.randn(4, 2, dtype=torch.float64)
    torch.nn.init.constant_(net.alphas, 0.3)
    angle = x @ net.features.wavenumbers
    e = torch.cat((angle.cos(), angle.sin()), 1)

    def layer(m, z):
        return torch.tanh(z @ (m.log_scale.exp() * m.direction).T + m.bias)

    u, v = (layer(g, e) for g in net.gates)
    h = e
    for m in net.blocks[0][:2]:
        f = layer(m, h)
        h = f * u + (1 - f) * v
    h = 0.3 * layer(net.blocks[0][2], h) + 0.7 * e
    torch.testing.assert_close(net(x), h @ net.head.weight.T + net.head.bias)


@pytest.mark.parametrize("factorised", [False, True])
def test_pirate_net_starts_as_the_least_squares_linear_map(factorised):
    torch.manual_seed(2)
    net = PirateNet(2, 2, width=16, depth=2, factorised=factorised).double()
    x = torch.rand(200, 2, dtype=torch.float64)
    y = torch.stack((torch.sin(3 * x[:, 0]), x[:, 0] * x[:, 1]), 1)
    left = net.start_from(x, y)
    columns = torch.cat((net.features(x), torch.ones(200, 1, dtype=torch.float64)), 1)
    torch.testing.assert_close(net.hidden(x), net.features(x))  # a linear map of the waves
    best = columns @ torch.linalg.lstsq(columns, y, driver="gelsd").solution
    # nearly dependent columns: the two solvers cut small singular values at about 1e-13 of the largest, fits differ by far less than 1e-6
    torch.testing.assert_close(net(x), best, rtol=0, atol=1e-6)
    assert left == pytest.approx(float((net(x) - y).detach().norm() / y.norm())) and left < 0.05
    gradient = torch.autograd.grad((net(x) - y).square().mean(), net.alphas)[0]
    assert gradient.abs().min() > 0  # depth can come


def test_start_from_zero_and_wrong_values():
    net = PirateNet(1, 1, width=4, depth=1)
    x = torch.rand(9, 1)
    assert net.start_from(x, torch.zeros(9, 1)) == 0 and float(net(x).detach().abs().max()) < 1e-6
    with pytest.raises(ShapeError, match="got"):
        net.start_from(x, torch.zeros(9, 2))
    with pytest.raises(InputError, match="NaN"):
        net.start_from(x, torch.full((9, 1), math.nan))


@pytest.mark.parametrize("make", [
    lambda: ModifiedMLP(3, 2, width=5, depth=2, activation="sin", factorised=True),
    lambda: ModifiedMLP(3, 2, width=5, depth=1, waves=8, scale=3.0),
    lambda: PirateNet(3, 2, width=6, depth=2, activation="gelu"),
])
def test_described_built_again_and_trained(make):
    net = make()
    twin = build(describe(net))
    twin.load_state_dict(net.state_dict())
    x = torch.randn(2, 7, 3)
    assert type(twin) is type(net) and torch.equal(twin(x), net(x)) and net(x).shape == (2, 7, 2)
    if isinstance(net, PirateNet):
        torch.nn.init.constant_(net.alphas, 0.5)
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_refuses_wrong_points():
    for net in (ModifiedMLP(2, 1), PirateNet(2, 1)):
        with pytest.raises(ShapeError, match="got"):
            net(torch.zeros(4, 3))
    with pytest.raises(InputError, match="even"):
        PirateNet(2, 1, width=5)
    with pytest.raises(InputError, match="depth"):
        ModifiedMLP(2, 1, depth=0)
