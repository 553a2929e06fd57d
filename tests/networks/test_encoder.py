"""Convolutional encoder and decoder: sizes, shifts, zero at the start."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.networks.encoder import ConvDecoder, ConvEncoder, halvings


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return module.double()


@pytest.mark.parametrize(("axes", "factor"), [((16,), 8), ((8, 12), 4), ((4, 6, 8), 2)])
def test_sizes_and_zero_before_training(axes, factor):
    periodic = (True,) * len(axes)
    encoder, decoder = ConvEncoder(2, 3, periodic, factor=factor, width=8), ConvDecoder(3, 2, periodic, factor=factor, width=8)
    coarse = tuple(n // factor for n in axes)
    assert torch.equal(encoder(torch.randn(2, 2, *axes)), torch.zeros(2, 3, *coarse))
    assert torch.equal(decoder(torch.randn(2, 3, *coarse)), torch.zeros(2, 2, *axes))


def test_shifts_by_whole_coarse_cells_along_circles_commute():
    periodic = (False, True)
    encoder = stirred(ConvEncoder(1, 2, periodic, factor=4, width=8))
    decoder = stirred(ConvDecoder(2, 1, periodic, factor=4, width=8))
    x = torch.randn(1, 1, 8, 16, dtype=torch.float64)
    # rounding of float64 through some ten convolutions
    torch.testing.assert_close(encoder(x.roll(4, 3)), encoder(x).roll(1, 3), rtol=1e-10, atol=1e-10)
    z = encoder(x)
    torch.testing.assert_close(decoder(z.roll(1, 3)), decoder(z).roll(4, 3), rtol=1e-10, atol=1e-10)
    assert (encoder(x.roll(4, 2)) - encoder(x).roll(1, 2)).abs().max() > 1e-6  # between walls places differ


def test_factors():
    assert [halvings(f) for f in (2, 4, 8)] == [1, 2, 3]
    for wrong in (1, 3, 6):
        with pytest.raises(InputError, match="a power of 2"):
            halvings(wrong)
