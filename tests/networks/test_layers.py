"""Convolutions against torch, adaptive norm against its formula, upsampling against repetition."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from physdiff.base.errors import InputError
from physdiff.networks.layers import AdaptiveNorm, Conv, ResidualBlock, Upsample, group_norm, groups_of


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_zero_padded_convolution_is_that_of_torch():
    conv = Conv(3, 4, (False, False), kernel=5, edges="zeros").double()
    x = draw(2, 3, 6, 7)
    torch.testing.assert_close(conv(x), functional.conv2d(x, conv.inner.weight, conv.inner.bias, padding=2))


def test_replicated_edge_and_circle_keep_a_constant_constant():
    conv = Conv(1, 1, (False, True)).double()
    y = conv(torch.ones(1, 1, 4, 5, dtype=torch.float64))
    # rounding: nine products are summed in any order
    torch.testing.assert_close(y, y.mean().expand_as(y), rtol=0, atol=1e-14)


@pytest.mark.parametrize("axes", [(7,), (8,), (5, 6), (1, 9), (3, 4, 1)])
def test_stride_halves_upwards_and_upsampling_returns(axes):
    circle = (True,) + (False,) * (len(axes) - 1)
    coarse = Conv(2, 2, circle, stride=2)(torch.zeros(1, 2, *axes))
    assert coarse.shape[2:] == tuple((n + 1) // 2 for n in axes)
    assert Upsample(2, 3, circle)(coarse, torch.Size(axes)).shape == (1, 3, *axes)


def test_upsampling_repeats_every_cell():
    up = Upsample(1, 1, (False, False)).double()
    with torch.no_grad():
        up.conv.inner.weight.zero_()[..., 1, 1] = 1.0
        up.conv.inner.bias.zero_()
    x = draw(1, 1, 3, 4)
    assert torch.equal(up(x, torch.Size((5, 8))), x.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :5])


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 12, 30, 32, 36, 64, 256, 131])
def test_groups_fit_any_width(channels):
    groups = groups_of(channels)
    assert channels % groups == 0 and groups <= 32
    assert groups == 1 or channels // groups >= 4
    assert group_norm(channels)(torch.zeros(1, channels, 2)).shape == (1, channels, 2)


def test_adaptive_norm_is_its_formula():
    norm = AdaptiveNorm(8, 5).double()
    x, e = draw(3, 8, 4, 5), draw(3, 5, seed=1)
    scale, shift = (norm.modulate.weight @ e.T + norm.modulate.bias[:, None]).T.chunk(2, dim=1)
    grouped = x.reshape(3, 2, -1)
    unit = (grouped - grouped.mean(-1, keepdim=True)) / (grouped.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = (1 + scale)[:, :, None, None] * unit.reshape(x.shape) + shift[:, :, None, None]
    torch.testing.assert_close(norm(x, e), expected)


def test_fresh_residual_block_is_the_identity():
    block = ResidualBlock(6, 6, (True,), embedding=4).double()
    x = draw(2, 6, 9)
    assert torch.equal(block(x, draw(2, 4, seed=1)), x)


def test_refuses_even_kernels_and_four_axes():
    with pytest.raises(InputError, match="odd"):
        Conv(1, 1, (True,), kernel=4)
    with pytest.raises(InputError, match="1, 2 or 3"):
        Conv(1, 1, (True,) * 4)
