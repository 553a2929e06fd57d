"""Pictures of calibration hold the numbers of the scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.plots.calibration import coverage_curve, coverage_plot, rank_histogram_plot, reliability_plot, spread_skill_plot
from physdiff.scores.coverage import coverage
from physdiff.scores.rank_histogram import rank_histogram
from tests.plots.fields import by_lead


def test_spread_and_error_lines():
    axes = spread_skill_plot(by_lead([1.0, 2.0]), by_lead([1.5, 2.5]), members=4)
    error, spread = axes.lines
    np.testing.assert_allclose(error.get_ydata(), [1.5, 2.5])
    np.testing.assert_allclose(spread.get_ydata(), math.sqrt(5 / 4) * np.array([1.0, 2.0]))
    np.testing.assert_allclose(spread.get_xdata(), [1, 2])
    assert axes.get_xlabel() == "lead time (h)" and axes.get_ylabel() == "spread and error (K)"
    assert axes.get_ylim()[0] == 0


def test_bars_are_frequencies_over_expected():
    share = np.array([0.4, 0.2, 0.2, 0.2])
    axes = rank_histogram_plot(share, cases=100)
    heights = [p.get_height() for p in axes.patches[:4]]
    np.testing.assert_allclose(heights, share * 4)
    # 95 % band of a bar of a calibrated ensemble: 1 +- 1.96 sqrt((1 - p) / (n p)), p = 1/4, n = 100
    band = axes.patches[4].get_extents().transformed(axes.transData.inverted())
    assert band.y1 == pytest.approx(1 + 1.96 * math.sqrt(0.75 / 25), rel=1e-6)
    assert "3 members" in axes.get_xlabel()


def test_coverage_read_off_the_histogram_is_the_score():
    rng = torch.Generator().manual_seed(0)
    members = torch.randn(9, 4000, generator=rng, dtype=torch.float64)
    truth = 1.5 * torch.randn(4000, generator=rng, dtype=torch.float64)
    nominal, observed = coverage_curve(rank_histogram(members, truth).numpy())
    np.testing.assert_allclose(nominal, [0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-12)
    for level, got in zip(nominal[1:-1], observed[1:-1], strict=True):
        expected = float(coverage(members, truth, torch.ones(4000), level=float(level)))
        assert got == pytest.approx(expected, abs=1e-9)
    assert observed[-1] == pytest.approx(1.0)


def test_coverage_plot_draws_every_curve_and_the_diagonal():
    flat = np.full(10, 0.1)
    axes = coverage_plot({"good": flat, "narrow": np.array([0.3, *[0.05] * 8, 0.3])})
    good, narrow, diagonal = axes.lines
    np.testing.assert_allclose(good.get_ydata(), good.get_xdata(), atol=1e-12)
    assert (narrow.get_ydata()[1:-1] < narrow.get_xdata()[1:-1]).all()
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])


@pytest.mark.parametrize("bad", [np.array([1.0]), np.array([3.0, 4.0]), np.array([[0.5, 0.5]]), np.array([np.nan, 1.0])])
def test_counts_are_not_shares(bad):
    with pytest.raises(InputError, match="divide counts by their sum"):
        rank_histogram_plot(bad)


def test_reliability_is_the_share_that_happened_of_each_probability():
    happened, otherwise = np.array([0.0, 0.1, 0.3, 0.0]), np.array([0.4, 0.1, 0.1, 0.0])
    left, right = reliability_plot(happened, otherwise)
    curve = left.lines[-1]
    np.testing.assert_allclose(curve.get_xdata(), [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.get_ydata(), [0.0, 0.5, 0.75, np.nan])
    np.testing.assert_allclose(left.lines[1].get_ydata(), 0.4)
    np.testing.assert_allclose([bar.get_height() for bar in right.patches], [0.4, 0.2, 0.4, 0.0])
    with pytest.raises(InputError, match="sum to one"):
        reliability_plot(happened, happened)
