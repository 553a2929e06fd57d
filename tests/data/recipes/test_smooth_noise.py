"""Amplitudes by wave number, the cut, and samples that depend on their index alone."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.smooth_noise import smooth_noise
from physdiff.grids.cartesian import CartesianGrid

LIKE = torch.empty((), dtype=torch.float64)


def test_amplitudes_fall_as_told():
    grid = CartesianGrid((32, 32), extent=2.0)
    f = smooth_noise(grid, range(400), Rng(0), scale=1.0, smoothness=1.5, like=LIKE)
    torch.testing.assert_close(f.mean((1, 2)), torch.zeros(400).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(f.square().mean((1, 2)), torch.ones(400).double(), atol=1e-12, rtol=0)
    power = torch.fft.fft2(f).abs().square().mean(0)
    # power falls with the sixth power of the wave number; 400 samples of four numbers each
    ratio = float((power[0, 2] + power[2, 0]) / (power[0, 4] + power[4, 0]))
    assert ratio == pytest.approx(2**6, rel=4 * (2 * 2 / 1600) ** 0.5)


def test_long_waves_are_cut():
    grid = CartesianGrid((16, 16), extent=1.0)
    waves = torch.fft.fft2(smooth_noise(grid, range(3), Rng(0), scale=0.15, smoothness=3.0, like=LIKE)).abs()
    # (0.15 k)^2 > 0.1 from k^2 = 5 on
    assert float(waves[:, 0, 2].max()) < 1e-10 and float(waves[:, 1, 1].max()) < 1e-10 and float(waves[:, 1, 2].min()) > 1e-3
    with pytest.raises(InputError, match="lets some wave"):
        smooth_noise(grid, range(1), Rng(0), scale=0.01, smoothness=3.0, like=LIKE)


def test_a_sample_is_its_own():
    grid = CartesianGrid((8, 12), extent=(2.0, 3.0), periodic=False)
    both, one = (smooth_noise(grid, r, Rng(1), scale=2.0, smoothness=1.0, like=LIKE) for r in (range(2), range(1, 2)))
    torch.testing.assert_close(both[1:], one, atol=1e-13, rtol=0)
