"""Ranks against counting, ties against dice, flatness of a perfect ensemble."""

import math

import pytest
import torch

from physdiff.scores import rank_histogram as module
from physdiff.scores.rank_histogram import rank_bounds, rank_histogram, ranks

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_ranks_count_the_members_below():
    x, y = draws(7, 4, 5), draws(4, 5, seed=1)
    expected = [
        [float(sum(float(v) < float(y[i, j]) for v in x[:, i, j])) for j in range(5)] for i in range(4)
    ]
    assert torch.equal(ranks(x, y), torch.tensor(expected, dtype=F64))


def test_histogram_is_the_weighted_count_of_ranks():
    x, y, w = (
        draws(3, 4, 5),
        draws(4, 5, seed=1),
        torch.rand(4, 5, generator=torch.Generator().manual_seed(2)),
    )
    counts = [0.0] * 4
    for i in range(4):
        for j in range(5):
            counts[sum(float(v) < float(y[i, j]) for v in x[:, i, j])] += float(w[i, j])
    expected = torch.tensor(counts, dtype=F64) / sum(counts)
    # rounding of 20 terms
    torch.testing.assert_close(rank_histogram(x, y, w), expected, rtol=1e-13, atol=1e-15)


def test_ties_are_split_evenly():
    x, y = torch.tensor([0.0, 1.0, 1.0, 2.0], dtype=F64), torch.tensor(1.0, dtype=F64)
    assert [float(v) for v in rank_bounds(x, y)] == [1, 3]
    assert float(ranks(x, y)) == 2.0
    third = 1 / 3
    expected = torch.tensor([0, third, third, third, 0], dtype=F64)
    torch.testing.assert_close(rank_histogram(x[:, None], y[None]), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("rounded", [False, True])
def test_perfect_ensemble_is_flat_even_with_many_ties(rounded):
    n, m = 40000, 9
    x, y = draws(m, n, seed=3), draws(n, seed=4)
    if rounded:  # half of all values become zero
        x, y = (v.clamp(min=0) for v in (x, y))
    histogram = rank_histogram(x, y)
    # binomial error of a bin, four of them; with ties the error is smaller
    assert float((histogram - 0.1).abs().max()) < 4 * math.sqrt(0.1 * 0.9 / n)
    assert float(histogram.sum()) == pytest.approx(1.0, abs=1e-13)
    assert abs(float(ranks(x, y).mean()) - m / 2) < 4 * float(ranks(x, y).std()) / math.sqrt(n)


def test_overconfident_is_a_u_and_biased_a_slope():
    x, y = draws(9, 20000), draws(20000, seed=1)
    narrow, high = rank_histogram(0.4 * x, y), rank_histogram(x + 1, y)
    assert narrow[0] > 0.2 and narrow[-1] > 0.2 and narrow[4] < 0.1
    assert (high.diff() < 0).all()


def test_missing_cells_have_no_rank():
    x, y = draws(3, 4), draws(4, seed=1)
    x[1, 2] = y[0] = float("nan")
    low, high = rank_bounds(x, y)
    assert low.isnan().tolist() == high.isnan().tolist() == [True, False, True, False]


def test_more_members_than_a_byte_counts_and_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1000)
    x, y = draws(300, 2, 9), draws(2, 9, seed=1)
    x[7] = y
    low, high = rank_bounds(x, y)
    assert torch.equal(low, (x < y).sum(0).double()) and torch.equal(high, low + 1)
    histogram = rank_histogram(x, y, space=1)
    assert histogram.shape == (2, 301)
    # every case is in two bins
    assert torch.equal((histogram > 0).sum(1) <= 18, torch.tensor([True, True]))
    torch.testing.assert_close(histogram.sum(1), torch.ones(2, dtype=F64), rtol=1e-14, atol=0)


def test_a_case_without_a_known_cell_is_missing():
    x, y = draws(3, 2, 4), draws(2, 4, seed=1)
    y[1] = float("nan")
    assert rank_histogram(x, y, space=1).isnan().all(1).tolist() == [False, True]
