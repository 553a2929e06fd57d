"""Balance of the flow in every cell, walls, and shares of both media."""

from __future__ import annotations

import numpy as np
import torch

from physdiff.base.rng import Rng
from physdiff.data.open import open_dataset
from physdiff.data.recipes.fno_darcy import FNODarcy


def test_what_comes_up_in_a_cell_leaves_through_its_faces():
    """Two-point fluxes in numpy: harmonic means inside, twice the distance to the walls."""
    n = 24
    ds = FNODarcy(resolution=n).generate(3, Rng(0), dtype=torch.float64)
    h = 1 / n
    for i in range(3):
        a, p = ds.permeability[i, 0].values, ds.pressure[i, 0].values
        assert set(np.unique(a)) == {3.0, 12.0} and p.min() > 0
        total = np.zeros((n, n))
        for axis in (0, 1):
            a1, p1 = np.moveaxis(a, axis, 0), np.moveaxis(p, axis, 0)
            inner = 2 * a1[1:] * a1[:-1] / (a1[1:] + a1[:-1]) * (p1[:-1] - p1[1:]) / h
            flux = np.concatenate([-a1[:1] * p1[:1] / (h / 2), inner, a1[-1:] * p1[-1:] / (h / 2)])
            total += np.moveaxis(np.diff(flux, axis=0) / h, 0, axis)
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_the_media_have_the_correlation_of_the_field():
    """Both as often; next to one another mostly alike: sign changes of a field of correlation r are arccos(r) / pi of all."""
    n = 40
    a = FNODarcy(resolution=16).generate(n, Rng(0)).permeability[:, 0].values
    share = (a == 12).mean((1, 2))
    assert abs(share.mean() - 0.5) < 4 * share.std() / np.sqrt(n)
    changes = (a[..., 1:] != a[..., :-1]).mean()
    assert 0.02 < changes < 0.15


def test_pairs_open_again(tmp_path):
    made = FNODarcy(resolution=8, lower=4.0).generate(2, Rng(0), tmp_path / "a.nc")
    again = open_dataset(tmp_path / "a.nc")
    np.testing.assert_array_equal(again.pressure, made.pressure)
    assert again.pressure.shape == (2, 1, 8, 8) and float(again.permeability.min()) == 4
