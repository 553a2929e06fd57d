"""Waves against their formula, and the shapes of noise levels."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.networks.embedding import FourierFeatures, NoiseEmbedding, SinusoidalEmbedding


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
