"""Symmetry of a circle on a square, budgets before anything arrives, the original's depths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.pdebench_shallow_water import PDEBenchShallowWater


def test_a_circle_stays_as_symmetric_as_the_square():
    ds = PDEBenchShallowWater(resolution=32, horizon=0.4, interval=0.2).generate(2, Rng(0), dtype=torch.float64)
    h, along_x, along_y = ds.depth.values, ds.momentum_x.values, ds.momentum_y.values
    np.testing.assert_allclose(h, h.swapaxes(-1, -2), atol=1e-12)
    np.testing.assert_allclose(h, h[..., ::-1], atol=1e-12)
    np.testing.assert_allclose(along_x, along_y.swapaxes(-1, -2), atol=1e-12)
    np.testing.assert_allclose(along_x, -along_x[..., ::-1], atol=1e-12)
    # nothing has arrived at the edge: water is kept to rounding, and the fastest wave, of sqrt 2 or a little more, has moved by at most 0.7
    np.testing.assert_allclose(h.mean((-2, -1)), np.broadcast_to(h[:, :1].mean((-2, -1)), (2, 3)), rtol=1e-13)
    assert set(np.unique(h[:, 0])) == {1.0, 2.0} and np.ptp(h[:, -1]) < 0.99 and along_x[:, -1, 16, 18:22].max() > 0.1
    assert h[0, 0].sum() != h[1, 0].sum()


def test_radii_that_make_no_sense():
    with pytest.raises(InputError, match="smallest <= largest <= 2.5"):
        PDEBenchShallowWater(smallest=0.8)
