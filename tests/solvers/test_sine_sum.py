"""Sums of sines: their modes, their closing, what is folded and cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.sine_sum import SineSum

PLAIN = SineSum(folded=0.0, windowed=0.0)
LIKE = torch.empty((), dtype=torch.float64)
GRID = CartesianGrid(64, 2.0, -1.0)


def test_values_are_the_formula_typed_anew():
    draw = PLAIN.draw(3, Rng(0))
    got = PLAIN.sample(GRID, 3, Rng(0), like=LIKE).numpy()
    s = np.arange(64) / 64
    for i in range(3):
        m, a, p = (v[i].numpy() for v in (draw.multiples, draw.amplitude, draw.phase))
        want = sum(a[n] * np.sin(2 * np.pi * (n + 1) * m[n] * s + p[n]) for n in range(4)) * float(draw.sign[i])
        np.testing.assert_allclose(got[i], want, atol=1e-13)
        assert m.sum() == 2


def test_periodic_waves_close_and_the_original_ones_jump():
    """The spectrum holds a constant and at most two lines, of modes up to 8; the original wave numbers smear them."""
    lines = torch.fft.rfft(PLAIN.sample(GRID, 20, Rng(0), like=LIKE)).abs() / 64
    assert float(lines[:, 9:].max()) < 1e-14 and int((lines[:, 1:] > 1e-10).sum(1).max()) <= 2
    smeared = torch.fft.rfft(SineSum(folded=0.0, windowed=0.0, periodic_waves=False).sample(GRID, 20, Rng(0), like=LIKE)).abs() / 64
    assert float(smeared[:, 20:].max()) > 1e-4
    assert SineSum(periodic_waves=False).stretch(1024) == pytest.approx(1024 / 1023)


def test_shares_of_folded_windowed_and_turned_samples():
    n = 2000
    draw = SineSum().draw(n, Rng(0))
    for share, want in ((draw.folded.mean(), 0.1), (draw.window.mean(), 0.1), ((draw.sign > 0).double().mean(), 0.5)):
        assert float(share) == pytest.approx(want, abs=4 * math.sqrt(want * (1 - want) / n))
    folded = SineSum(folded=1.0, windowed=0.0).sample(GRID, 20, Rng(0))
    assert bool(((folded >= 0).all(1) | (folded <= 0).all(1)).all())
    cut = SineSum(windowed=1.0).sample(GRID, 20, Rng(0))
    # at the ends, at least 0.1 from an edge of width 0.01: 1 - tanh(10) = 4e-9
    assert float(cut[:, 0].abs().max()) < 1e-7 and float(cut.abs().max()) > 0.1


def test_a_sample_depends_on_its_index_alone():
    torch.testing.assert_close(SineSum().sample(GRID, 2, Rng(0), start=3), SineSum().sample(GRID, 5, Rng(0))[3:], rtol=0, atol=0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        SineSum(modes=0)
    with pytest.raises(InputError, match="shares from 0 to 1"):
        SineSum(folded=1.5)
    with pytest.raises(GridMismatch, match="uniform line"):
        SineSum().sample(CartesianGrid((4, 4)), 1, Rng(0))
