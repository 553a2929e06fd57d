"""The waves kept: against full transforms with a mask, in one to three dimensions, odd and even, of unequal sizes."""

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.half_spectrum import HalfSpectrum
from physdiff.operators.wave_block import WaveBlock

SHAPES = [(17,), (24,), (9, 14), (12, 15), (6, 8, 10), (5, 9, 7)]


def block(shape, cut=True):
    grid = CartesianGrid(shape, extent=tuple(1.0 + i for i in range(len(shape))))
    return WaveBlock(HalfSpectrum(grid, "test"), cut)


def rough(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("shape", SHAPES)
def test_kept_waves_are_those_of_the_full_transform(shape):
    b, f = block(shape), rough(2, *shape)
    whole = b.whole(f)
    axes = tuple(range(-len(shape), 0))
    reference = torch.fft.rfftn(f, dim=axes).permute(0, *range(len(shape), 0, -1))
    torch.testing.assert_close(whole, reference)
    torch.testing.assert_close(b.forward(f), b.kept(whole))
    torch.testing.assert_close(b.fields(whole), f)
    # the mask leaves exactly 3 |m| < n, and every wave it leaves is among the columns
    mask = b.root.like(whole)
    resolved = b.spectrum.resolved(f)
    assert float(mask.real.sum()) == float(resolved.sum())
    torch.testing.assert_close(b.inverse(mask * b.forward(f)), torch.fft.irfftn(resolved * torch.fft.rfftn(f, dim=axes), s=shape, dim=axes))


@pytest.mark.parametrize("shape", [(16,), (8, 10)])
def test_without_a_cut_nothing_is_lost(shape):
    b, f = block(shape, cut=False), rough(3, *shape)
    torch.testing.assert_close(b.inverse(b.root.like(b.forward(f)) * b.forward(f)), f)


def test_symbols_are_products_and_are_made_once():
    b = block((9, 14))
    waves = b.forward(rough(1, 9, 14))
    slope = b.root.then("derivative", 1, 1)
    assert slope is b.root.then("derivative", 1, 1)
    assert slope.like(waves) is slope.like(waves)
    product = b.root.then("derivative", 0, 1).then("derivative", 0, 1).like(waves) + b.root.then("derivative", 1, 2).like(waves)
    torch.testing.assert_close(product, b.root.then("laplacian").like(waves))
    torch.testing.assert_close(
        b.root.then("laplacian").then("inverse_laplacian").like(waves), b.root.like(waves) * (b.root.then("laplacian").like(waves) != 0)
    )
    torch.testing.assert_close(slope.like(waves, -1.0), -slope.like(waves))
    assert slope.like(waves.to(torch.complex64)).dtype is torch.complex64


def test_what_no_real_field_has_is_removed():
    b = block((6, 8))
    waves = b.whole(rough(1, 6, 8))
    spoiled = waves.clone()
    spoiled[:, 0, 1] += 0.5j
    spoiled[:, 0, 5] += 0.5j  # its mirror would need the opposite sign
    torch.testing.assert_close(b.symmetric(spoiled), waves)
