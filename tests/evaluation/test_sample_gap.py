"""Energy distance: its closed form between Gaussians, its level under equal laws, groups."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.base.rng import Rng
from physdiff.evaluation.sample_gap import sample_gap, spectrum_of
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid

LIKE = torch.zeros((), dtype=torch.float64)


def normal(*shape: int, key: str) -> torch.Tensor:
    return Rng(2).child(key).normal(shape, like=LIKE)


def test_between_shifted_gaussians_it_has_a_closed_form() -> None:
    """E|X - Y| for X - Y ~ N(d, 2): 2/sqrt(pi) e^{-d^2/4} + d erf(d/2); within, 2/sqrt(pi)."""
    d, m = 1.5, 800
    found = sample_gap(normal(1, m, 1, key="x"), normal(1, m, 1, key="y") + d, rng=Rng(0), exchanges=19)
    within = 2 / math.sqrt(math.pi)
    exact = 2 * (within * math.exp(-(d**2) / 4) + d * math.erf(d / 2)) - 2 * within
    # 800 pairs: a standard error of some 4 % of the distance within
    assert found.energy == pytest.approx(exact / within, abs=0.15) and found.p_value == 0.05
    assert found.mean == pytest.approx(d, abs=4 * math.sqrt(2 / m))


def test_equal_laws_pass_and_their_distance_has_no_bias() -> None:
    gaps = [sample_gap(normal(3, 8, 5, key=f"x{k}"), normal(3, 8, 5, key=f"y{k}"), rng=Rng(k), exchanges=39) for k in range(40)]
    energies = torch.tensor([g.energy for g in gaps])
    assert abs(float(energies.mean())) < 4 * float(energies.std()) / math.sqrt(40)
    # p-values are uniform: 40 of them have a mean of a half to 4 x 0.29/sqrt(40)
    assert abs(sum(g.p_value for g in gaps) / 40 - 0.5) < 0.19


def test_groups_keep_what_pooling_would_hide() -> None:
    centre = torch.tensor([-50.0, 50.0]).reshape(2, 1, 1)
    x, y = normal(2, 12, 4, key="x") + centre, normal(2, 12, 4, key="y") * 2.5 + centre
    assert sample_gap(x, y, rng=Rng(0), exchanges=99).p_value <= 0.02
    with pytest.raises(ShapeError, match="equal shapes"):
        sample_gap(x, y[:, :5], rng=Rng(0))


def test_spectra_on_every_grid() -> None:
    plane = CartesianGrid((8, 8), extent=1.0, periodic=True)
    globe = LatLonGrid(latitude=torch.linspace(80, -80, 9).double(), longitude=torch.arange(0, 360, 30).double())
    for grid, shape in ((plane, (8, 8)), (globe, (9, 12))):
        field = normal(3, *shape, key="f")
        wavenumber, energy = spectrum_of(field, grid)
        assert energy.shape == (3, len(wavenumber))
        half = 0.5 * (field.square() * grid.weights()).flatten(1).sum(1)
        assert torch.allclose(energy.sum(-1), half, rtol=1e-10)
