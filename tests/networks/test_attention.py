"""Attention against its formula, and its symmetry."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from physdiff.networks.attention import SelfAttention


def ready(channels, **options):
    torch.manual_seed(0)
    layer = SelfAttention(channels, **options).double()
    torch.nn.init.normal_(layer.merge.weight)
    return layer


@pytest.mark.parametrize(("channels", "head", "heads"), [(8, 4, 2), (8, 32, 1), (7, 3, 1), (12, 4, 3), (10, 3, 2)])
def test_is_softmax_attention_over_all_cells(channels, head, heads):
    layer = ready(channels, head=head)
    assert layer.heads == heads
    x = torch.randn(2, channels, 3, 4, dtype=torch.float64)
    tokens = layer.norm(x).flatten(2).transpose(1, 2)
    q, k, v = layer.project(tokens).chunk(3, dim=2)
    size, parts = channels // heads, []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        weights = (q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(size)).softmax(-1)
        parts.append(weights @ v[..., own])
    expected = x + layer.merge(torch.cat(parts, -1)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected)


def test_commutes_with_every_permutation_of_the_cells():
    layer = ready(8)
    x = torch.randn(2, 8, 10, dtype=torch.float64)
    order = torch.randperm(10)
    torch.testing.assert_close(layer(x[..., order]), layer(x)[..., order])


def test_fresh_layer_is_the_identity():
    x = torch.randn(1, 5, 4)
    assert torch.equal(SelfAttention(5)(x), x)


def test_second_derivatives_with_the_plain_kernel():
    layer = ready(4)
    x = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(layer, (x,))
