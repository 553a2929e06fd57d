"""Isotonic distributional regression against pooling by hand, and its optimality."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.uq import isotonic as module
from physdiff.uq.isotonic import isotonic_cdf, isotonic_quantiles

F64 = torch.float64


def pooled(values, weights):
    """Pool adjacent violators of a falling sequence, one block after another."""
    blocks = []
    for v, w in zip(values, weights, strict=True):
        blocks.append([v, w, 1])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            (a, wa, na), (b, wb, nb) = blocks[-2:]
            blocks[-2:] = [[(a * wa + b * wb) / (wa + wb), wa + wb, na + nb]]
    return [v for v, _, n in blocks for _ in range(n)]


def pairs(n, seed=0):
    rng = Rng(seed)
    x, e, w = (rng.child(k).uniform((n,)).double() for k in "xew")
    return x, x**2 + (0.2 + x) * torch.log(1 / (e + 1e-3)), 0.5 + w


def test_it_is_pooling_adjacent_violators():
    x, y, w = pairs(60)
    z = torch.tensor([0.2, 0.5, 1.0, 3.0], dtype=F64)
    knots, cdf = isotonic_cdf(x, y, z, weights=w)
    order = x.argsort()
    assert torch.equal(knots, x[order]) or torch.allclose(knots, x[order], rtol=1e-14)
    for k, threshold in enumerate(z):
        expected = pooled((y[order] <= threshold).double().tolist(), w[order].tolist())
        torch.testing.assert_close(cdf[:, k], torch.tensor(expected, dtype=F64), rtol=1e-10, atol=1e-12)
    assert bool((cdf.diff(dim=0) <= 1e-12).all()) and bool((cdf.diff(dim=1) >= 0).all())


def test_equal_covariates_share_their_law():
    x, y = torch.tensor([1.0, 1.0, 2.0], dtype=F64), torch.tensor([0.0, 1.0, 5.0], dtype=F64)
    knots, cdf = isotonic_cdf(x, y, torch.tensor([0.0, 1.0, 5.0]))
    assert knots.tolist() == [1.0, 2.0] and cdf.tolist() == [[0.5, 1.0, 1.0], [0.0, 0.0, 1.0]]


def test_quantiles_are_the_inverse_and_rise_both_ways():
    x, y, w = pairs(80, seed=1)
    levels = torch.arange(1, 10, dtype=F64) / 10
    knots, q = isotonic_quantiles(x, y, levels, weights=w)
    _, cdf = isotonic_cdf(x, y, y.unique(), weights=w)
    for g in (0, 17, 79):
        expected = [float(y.unique()[(cdf[g] >= p - 1e-12).nonzero()[0, 0]]) for p in levels]
        assert q[g].tolist() == expected
    assert bool((q.diff(dim=0) >= 0).all()) and bool((q.diff(dim=1) >= 0).all()) and len(knots) == 80


def test_no_other_monotone_family_has_a_smaller_crps_on_the_pairs():
    x, y, w = pairs(50, seed=2)
    z, order = y.unique(), x.argsort()
    _, cdf = isotonic_cdf(x, y, z, weights=w)
    y, w = y[order], w[order]

    def loss(F):
        # integral over z of the weighted square: steps at the outcomes
        return float(((F - (y[:, None] <= z).double()).square()[:, :-1] * z.diff() * w[:, None]).sum())

    best = loss(cdf)
    for seed in range(20):
        other = torch.sort(cdf + 0.1 * Rng(seed).normal(cdf.shape).double(), 0, descending=True).values.clamp(0, 1).sort(1).values
        assert loss(other) > best
    # mixtures with another monotone family, the law of all pairs together
    assert loss(0.9 * cdf + 0.1 * (w[:, None] * (y[:, None] <= z)).sum(0) / w.sum()) > best


def test_groups_of_many_pairs_find_the_law_that_made_them(monkeypatch):
    n = 20000
    rng = Rng(3)
    x, e = rng.child("x").uniform((n,)).double(), rng.child("e").normal((n,)).double()
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=F64)
    knots, q = isotonic_quantiles(x, 2 * x + e, levels)
    assert len(knots) == module._GROUPS
    exact = 2 * knots[:, None] + math.sqrt(2) * torch.erfinv(2 * levels - 1)
    # pooled over some hundred neighbours of sixty pairs each; 0.15 is the error of quantiles of some hundred normal numbers, the ends are worse
    assert float((q - exact)[20:-20].abs().mean()) < 0.1 and float((q - exact)[20:-20].mean().abs()) < 0.03


def test_bad_input_is_refused():
    with pytest.raises(ShapeError, match="n >= 1"):
        isotonic_cdf(torch.zeros(2), torch.zeros(3), torch.zeros(1))
    with pytest.raises(InputError, match="finite"):
        isotonic_cdf(torch.zeros(2), torch.tensor([0.0, float("nan")]), torch.zeros(1))
    for wrong in ([1.0, 0.0], [0.0, 0.0], [float("nan")]):
        with pytest.raises(InputError, match="thresholds: expected finite numbers that increase"):
            isotonic_cdf(torch.zeros(2), torch.zeros(2), torch.tensor(wrong))
    with pytest.raises(InputError, match="levels"):
        isotonic_quantiles(torch.zeros(2), torch.zeros(2), torch.tensor([1.0]))
