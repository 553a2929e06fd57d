"""SWAG: moments of given iterates exactly, the covariance of its draws, and the stationary law of descent on a quadratic."""

import math

import pytest
import torch
from torch import nn

from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.networks.mlp import MLP
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.uq.swag import descent_iterates, swag
from physdiff.uq.weight_draws import trainable

F64 = torch.float64


def network(width=2):
    torch.manual_seed(0)
    return CoordinateNet(MLP(1, 1, width=width, depth=1), ("u",), lower=(0.0,), upper=(1.0,)).double()


def last_bias():
    """A network of which one number moves."""
    net = network()
    net.requires_grad_(False)
    net.network.layers[-1].bias.requires_grad_(True)
    return net


def test_moments_are_those_of_the_iterates():
    net = network()
    rows = 5.0 + Rng(0).normal((30, 7)).double()
    found = swag(net, iter(rows), rank=4)
    torch.testing.assert_close(found.mean, rows.mean(0), rtol=1e-13, atol=0)
    torch.testing.assert_close(found.variance, rows.var(0, correction=0), rtol=1e-12, atol=0)
    expected = torch.stack([rows[k] - rows[: k + 1].mean(0) for k in range(26, 30)])
    torch.testing.assert_close(found.deviations, expected, rtol=1e-11, atol=1e-13)
    # the paper's covariance, written out
    by_hand = 0.5 * torch.diag(rows.var(0, correction=0)) + expected.T @ expected / (2 * 3)
    torch.testing.assert_close(found.covariance(), by_hand, rtol=1e-11, atol=1e-13)


def test_draws_have_the_mean_and_the_covariance():
    net, n = network(), 20000
    found = swag(net, Rng(1).normal((25, 7)).double(), rank=5)
    weights = found.draw(n, rng=Rng(2)).weights
    C = found.covariance()
    assert bool(((weights.mean(0) - found.mean).abs() < 4.5 * (C.diagonal() / n).sqrt()).all())
    # standard error of a covariance of normal numbers
    error = ((C.square() + C.diagonal()[:, None] * C.diagonal()) / n).sqrt()
    assert bool(((weights.T.cov() - C).abs() < 4.5 * error).all())
    assert torch.equal(found.draw(2, rng=Rng(3), scale=0.0).weights, found.mean.expand(2, -1))


def test_on_a_quadratic_it_has_the_stationary_variance_of_descent():
    # theta' = theta - eta (h theta + s z): variance eta s^2 / (h (2 - eta h)), correlation (1 - eta h)^every between iterates
    net, h, s, eta, steps, every = last_bias(), 2.0, 0.7, 0.3, 3000, 5
    (theta,) = trainable(net)
    noise = Rng(4).normal((steps,)).double()

    def loss(k):
        return 0.5 * h * theta.square().sum() + s * noise[k] * theta.sum()

    found = swag(net, descent_iterates(net, loss, steps=steps, every=every, rate=eta))
    exact = eta * s**2 / (h * (2 - eta * h))
    # iterates five steps apart have a correlation of 0.4^5 = 0.01: independent
    count = steps // every
    assert abs(float(found.mean)) < 4 * math.sqrt(exact / count)
    assert abs(float(found.variance) / exact - 1) < 4 * math.sqrt(2 / count)
    # half of it from the diagonal, half from the last twenty
    assert abs(float(found.covariance()) / exact - 1) < 4 * math.sqrt(2 / count + 0.25 * 2 / 20)


def test_iterates_are_those_of_torch():
    net, twin = network(), network()
    points = torch.linspace(0, 1, 5, dtype=F64)[:, None]

    def loss(module):
        return module.fields(points)["u"].square().sum()

    rows = list(descent_iterates(net, lambda step: loss(net), steps=6, every=3, rate=0.05, momentum=0.9))
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    expected = []
    for step in range(6):
        optimiser.zero_grad()
        loss(twin).backward()
        optimiser.step()
        if step in (2, 5):
            expected.append(nn.utils.parameters_to_vector(twin.parameters()).detach())
    assert torch.equal(torch.stack(rows), torch.stack(expected))


def test_bad_input_is_refused():
    net = network()
    with pytest.raises(InputError, match="two iterates"):
        swag(net, [torch.zeros(7)])
    with pytest.raises(InputError, match="rank"):
        swag(net, torch.zeros(3, 7), rank=1)
    with pytest.raises(ShapeError, match="7 weights"):
        swag(net, torch.zeros(3, 6))
    with pytest.raises(InputError, match="draws"):
        swag(net, torch.zeros(3, 7)).draw(0, rng=Rng(0))
    with pytest.raises(Diverged, match="rate"):
        list(descent_iterates(net, lambda k: trainable(net)[0].sum() / 0, steps=1, every=1, rate=0.1))
