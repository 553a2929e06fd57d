"""Bands beside the truth: coverage, width, interval score, and bands held as a whole."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.scores.band import band_coverage, band_holds, band_width, interval_score

F64 = torch.float64
NAN = float("nan")


def test_numbers_by_hand():
    bounds = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]], dtype=F64)
    truth = torch.tensor([1.0, 2.0, 2.5, -0.25], dtype=F64)
    assert band_coverage(bounds, truth).tolist() == [1, 1, 0, 0]
    assert band_width(bounds, truth).tolist() == [2, 2, 2, 2]
    # level 0.8: a miss by d costs 10 d
    torch.testing.assert_close(interval_score(bounds, truth, level=0.8), torch.tensor([2, 2, 7, 4.5], dtype=F64))
    weights = torch.tensor([3.0, 0.0, 1.0, 0.0])
    assert float(band_coverage(bounds, truth, weights)) == 0.75


def test_the_interval_score_is_least_for_the_true_quantiles():
    z = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=F64)
    w = torch.ones_like(z)

    def at(half):
        return float(interval_score(torch.stack([torch.full_like(z, -half), torch.full_like(z, half)]), z, w))

    best = at(1.6449)
    # its expectation at the true quantiles of a Gaussian: 2 phi(q) / (alpha / 2); four standard errors of 200 000 draws
    assert best == pytest.approx(2 * math.exp(-(1.6449**2) / 2) / math.sqrt(2 * math.pi) / 0.05, abs=0.02)
    assert best < at(1.5) and best < at(1.8)


def test_a_band_holds_a_share_of_the_area():
    bounds = torch.stack([torch.zeros(3, 4, dtype=F64), torch.ones(3, 4, dtype=F64)])
    truth = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 2.0], [0.5, NAN, 2.0, 2.0]], dtype=F64)
    area = torch.tensor([1.0, 1.0, 1.0, 1.0])
    assert band_holds(bounds, truth, area).tolist() == [1, 0, 0]
    assert band_holds(bounds, truth, area, share=0.75).tolist() == [1, 1, 0]
    assert band_holds(bounds, truth, torch.tensor([1.0, 1.0, 1.0, 0.0])).tolist() == [1, 1, 0]
    assert band_holds(bounds[:, :1], truth[:1] * NAN, area).isnan().all()
    assert band_holds(bounds, truth, space=1).tolist() == [1, 0, 0]


def test_infinite_bounds_cover_and_do_not_spoil_cells_without_weight():
    bounds = torch.tensor([[-math.inf, 0.0], [math.inf, 1.0]])
    truth = torch.tensor([5.0, 0.5])
    assert band_coverage(bounds, truth).tolist() == [1, 1]
    assert float(band_width(bounds, truth, torch.tensor([0.0, 1.0]))) == 1
    assert math.isinf(band_width(bounds, truth, torch.ones(2)))


def test_missing_cells_are_left_out():
    bounds = torch.tensor([[0.0, 0.0, NAN], [1.0, 1.0, NAN]])
    truth = torch.tensor([0.5, NAN, 0.5])
    assert float(band_coverage(bounds, truth, torch.ones(3))) == 1
    assert band_coverage(bounds, truth).isnan().tolist() == [False, True, True]
    assert float(band_width(bounds, truth, torch.ones(3))) == 1


def test_refusals():
    truth = torch.zeros(2)
    with pytest.raises(ShapeError, match="two bounds.*central_interval"):
        band_coverage(torch.zeros(3, 2), truth)
    with pytest.raises(InputError, match="2 cells the other way"):
        band_width(torch.stack([truth + 1, truth]), truth)
    with pytest.raises(InputError, match="share"):
        band_holds(torch.stack([truth, truth]), truth, share=1.5)
    with pytest.raises(InputError, match="level"):
        interval_score(torch.stack([truth, truth]), truth, level=90)
