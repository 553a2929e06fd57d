"""Convolutions learned mode by mode: brute force in complex numbers, gradients, one axis at a time."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.networks.fourier_basis import fourier_basis
from physdiff.networks.spectral_conv import AxisConv, SpectralConv, kept

EXACT = {"rtol": 1e-11, "atol": 1e-11}


def test_each_mode_is_multiplied_by_its_own_complex_matrix():
    torch.manual_seed(0)
    conv = SpectralConv(3, 2, (3, 2), bias=True).double()
    with torch.no_grad():
        conv.bias.copy_(torch.tensor([0.5, -2.0]))
    v = torch.randn(4, 8, 10, 3, dtype=torch.float64)
    matrix = torch.complex(*conv.weight)
    full, out = torch.fft.rfft2(v, dim=(1, 2)), torch.zeros(4, 8, 6, 2, dtype=torch.complex128)
    for i, k in enumerate(range(-3, 3)):
        for m in range(3):
            out[:, k, m] = full[:, k, m] @ matrix[i, m]
    expected = torch.fft.irfft2(out, s=(8, 10), dim=(1, 2)) + conv.bias
    torch.testing.assert_close(conv(v, fourier_basis((8, 10), (3, 2), like=v)), expected, **EXACT)


def test_one_axis_is_one_dimension_at_a_time():
    torch.manual_seed(0)
    flat, v = AxisConv(3, 2, 4).double(), torch.randn(2, 5, 9, 7, 3, dtype=torch.float64)
    line = SpectralConv(3, 2, (4,)).double()
    with torch.no_grad():
        line.weight.copy_(flat.weight)
    for axis, n in enumerate((5, 9, 7)):
        basis = fourier_basis((n,), (4,), like=v)
        moved = v.movedim(axis + 1, -2)
        expected = line(moved.reshape(-1, n, 3), basis).reshape(*moved.shape[:-1], 2).movedim(-2, axis + 1)
        torch.testing.assert_close(flat(v, basis, axis), expected, **EXACT)


def test_gradients():
    conv = SpectralConv(2, 2, (2, 2), bias=True).double()
    basis = fourier_basis((5, 6), (2, 2), like=torch.zeros((), dtype=torch.float64))
    v = torch.randn(1, 5, 6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: conv(v, basis), (v,))
    conv(v, basis).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in conv.parameters())


def test_bf16_is_summed_in_float32():
    torch.manual_seed(0)
    conv, v = SpectralConv(2, 2, (3,)), torch.randn(1, 64, 2)
    basis = fourier_basis((64,), (3,), like=v)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(v, basis)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, conv(v, basis))


def test_a_coarse_grid_takes_the_modes_it_has():
    torch.manual_seed(0)
    conv, v = SpectralConv(2, 3, (4, 5)).double(), torch.randn(2, 5, 6, 2, dtype=torch.float64)
    basis = fourier_basis((5, 6), (4, 5), like=v)
    assert kept(conv.weight, basis).shape == (2, 5, 3, 2, 3)
    small = SpectralConv(2, 3, (2, 2)).double()
    with torch.no_grad():  # -2..1 along the first axis: 2 is beyond it
        small.weight.copy_(conv.weight[:, 2:6, :3])
        conv.weight[:, 6].zero_()
    torch.testing.assert_close(conv(v, basis), small(v, fourier_basis((5, 6), (2, 2), like=v)), **EXACT)


def test_modes_must_be_positive():
    with pytest.raises(InputError, match="modes"):
        SpectralConv(1, 1, (0,))
    with pytest.raises(InputError, match="modes"):
        AxisConv(1, 1, 0)
