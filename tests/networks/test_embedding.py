"""Waves against their formula, and the shapes of noise levels."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.embedding import FourierFeatures, NoiseEmbedding, PeriodicFeatures, SinusoidalEmbedding
from physdiff.networks.mlp import MLP


def test_sinusoids_are_geometric_waves():
    c = torch.tensor([-1.5, 0.0, 2.0], dtype=torch.float64)
    features = SinusoidalEmbedding(6, slowest=0.5, fastest=8.0).double()(c)
    w = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64)
    # the frequencies were rounded to float32 when they were made: 8 * 2 * 6e-8
    torch.testing.assert_close(features, torch.cat(((c[:, None] * w).cos(), (c[:, None] * w).sin()), 1), rtol=0, atol=2e-6)


def test_fourier_features_have_the_gaussian_kernel():
    # Rahimi & Recht (2007): the mean over waves of cos(b (x - y)) is exp(-scale^2 |x - y|^2 / 2); 4 standard errors of 20000 waves
    torch.manual_seed(0)
    layer = FourierFeatures(2, 40000, scale=1.5).double()
    x, y = torch.tensor([0.3, -0.2], dtype=torch.float64), torch.tensor([0.7, 0.4], dtype=torch.float64)
    kernel = (layer(x) * layer(y)).sum() / 20000
    assert abs(kernel - torch.exp(-0.5 * 1.5**2 * (x - y).square().sum())) < 4 * 0.71 / 20000**0.5


def test_one_level_for_all_or_one_each():
    layer = NoiseEmbedding(8)
    each = layer(torch.tensor([0.3, 0.3, 0.3]), 3)
    torch.testing.assert_close(layer(torch.tensor(0.3), 3), each)
    assert each.shape == (3, 8)
    assert layer(torch.tensor([0.3], dtype=torch.float64), 1).dtype == torch.float32
    with pytest.raises(ShapeError, match="one level per sample"):
        layer(torch.zeros(2), 3)


@pytest.mark.parametrize("make", [SinusoidalEmbedding, lambda n: FourierFeatures(2, n)])
def test_refuses_odd_numbers_of_features(make):
    with pytest.raises(InputError, match="even"):
        make(5)


def test_periodic_features_close_with_all_derivatives():
    torch.manual_seed(0)
    features = PeriodicFeatures((2.0, None, 0.3), harmonics=3)
    net = torch.nn.Sequential(features, MLP(features.out_features, 1, width=8, depth=2)).double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    moved = (x + torch.tensor([2.0, 0.0, -0.6], dtype=torch.float64)).detach().requires_grad_()
    (a,), (b,) = (torch.autograd.grad(net(z).sum(), z, create_graph=True) for z in (x, moved))
    (a2,), (b2,) = (torch.autograd.grad(f[:, 2].sum(), z) for f, z in ((a, x), (b, moved)))
    # angles up to 2 pi 3 * 4/0.3 round at 3e-14, amplified by at most (2 pi 3/0.3)^2 in second derivatives
    for here, there, near in ((net(x), net(moved), 1e-11), (a, b, 1e-10), (a2, b2, 1e-8)):
        torch.testing.assert_close(here, there, rtol=0, atol=near)
    assert float(a2.abs().max()) > 1e-2


def test_periodic_features_are_the_waves_in_order():
    x = torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    waves = [2 * math.pi * k * 0.7 / 1.5 for k in (1, 2)]
    expected = [math.cos(a) for a in waves] + [math.sin(a) for a in waves] + [0.3]
    features = PeriodicFeatures((None, 1.5), harmonics=2)
    torch.testing.assert_close(features(x)[0], torch.tensor(expected, dtype=torch.float64))
    assert features.out_features == 5 and type(build(describe(features))) is PeriodicFeatures


def test_periodic_features_refuse_wrong_input():
    with pytest.raises(InputError, match="at least one"):
        PeriodicFeatures((None, None))
    with pytest.raises(InputError, match="period"):
        PeriodicFeatures((0.0,))
    with pytest.raises(ShapeError, match="got"):
        PeriodicFeatures((1.0, None))(torch.zeros(3, 3))
