"""Coverage of central intervals: exact for exchangeable members of any number, refused where it cannot be."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.scores.coverage import central_interval, coverage, members_needed, sharpness

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def by_rank(m, level):
    """Coverage as a function of the truth's rank: two intervals between order statistics, mixed."""
    h = (1 - level) / 2 * (m + 1)
    k = int(h + 1e-9)
    f = h - k
    return [(1 - f) * (k <= r <= m - k) + f * (k + 1 <= r <= m - k - 1) for r in range(m + 1)]


@pytest.mark.parametrize("m", range(19, 60))
def test_the_mean_over_all_ranks_is_the_level_exactly(m):
    x = torch.arange(m, dtype=F64)[:, None].expand(m, m + 1)
    y = torch.arange(m + 1, dtype=F64) - 0.5
    inside = coverage(x, y, level=0.9)
    # every rank once = exchangeable; rounding of m + 1 terms
    assert float(inside.mean()) == pytest.approx(0.9, abs=1e-13)
    torch.testing.assert_close(inside, torch.tensor(by_rank(m, 0.9), dtype=F64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("m", "level"), [(19, 0.9), (32, 0.9), (4, 0.5), (50, 0.8)])
def test_perfect_ensemble_covers_the_level(m, level):
    n = 40000
    inside = coverage(draws(m, n, seed=m), draws(n, seed=1), level=level)
    # four standard errors
    assert abs(float(inside.mean()) - level) < 4 * float(inside.std()) / math.sqrt(n)


def test_ties_do_not_inflate_coverage():
    n = 40000
    x, y = draws(19, n, seed=2).clamp(min=0), draws(n, seed=3).clamp(min=0)
    inside = coverage(x, y, level=0.9)
    assert abs(float(inside.mean()) - 0.9) < 4 * float(inside.std()) / math.sqrt(n)
    low, high = central_interval(x, level=0.9)
    # counting the closed interval instead would
    assert float(((low <= y) & (y <= high)).double().mean()) > 0.93


def test_usual_quantiles_of_sixteen_members_cover_far_too_little():
    # why too few members are refused: measured 0.80 of a nominal 90 %
    x, y = draws(16, 40000), draws(40000, seed=1)
    low, high = (x.quantile(q, dim=0) for q in (0.05, 0.95))
    assert 0.78 < float(((low <= y) & (y <= high)).double().mean()) < 0.82


LEVELS = [(0.9, 19), (0.95, 39), (0.8, 9), (0.5, 3), (0.99, 199), (0.1, 2)]


@pytest.mark.parametrize(("level", "needed"), LEVELS)
def test_too_few_members_are_refused_with_their_number(level, needed):
    assert members_needed(level) == needed
    coverage(draws(needed, 4), draws(4), level=level)
    with pytest.raises(ShapeError, match=f"at least {needed} members"):
        coverage(draws(needed - 1, 4), draws(4), level=level)
    with pytest.raises(ShapeError, match="lower the level"):
        central_interval(draws(needed - 1, 4), level=level)


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0, float("nan")])
def test_levels_are_probabilities(level):
    with pytest.raises(InputError, match="between 0 and 1"):
        coverage(draws(30, 4), draws(4), level=level)


def test_interval_interpolates_order_statistics():
    # order statistics at h = 0.05 * 20 = 1 and 0.05 * 30 = 1.5 of 0, 1, 2, ...
    for m, low, high in ((19, 0.0, 18.0), (29, 0.5, 27.5)):
        x = torch.arange(m, dtype=F64)[torch.randperm(m, generator=torch.Generator().manual_seed(0))]
        found = central_interval(x, level=0.9)
        assert [float(v) for v in found] == pytest.approx([low, high], abs=1e-12)
    holes = draws(19, 3)
    holes[4, 1] = float("nan")
    assert central_interval(holes)[0].isnan().tolist() == [False, True, False]


def test_interpolated_interval_covers_what_the_docstring_says():
    # the probability between the bounds is known exactly for a Gaussian truth: its mean over 40000 ensembles
    x = draws(32, 40000, seed=6)
    low, high = central_interval(x, level=0.9)
    held = torch.special.ndtr(high) - torch.special.ndtr(low)
    assert abs(float(held.mean()) - 0.908) < 0.0005 + 4 * float(held.std()) / 200


def test_sharpness_is_the_width_of_the_interval_and_of_a_normal_law():
    x, y = draws(19, 3, 4), draws(3, 4, seed=1)
    y[0, 1] = float("nan")
    ordered, w = x.sort(0).values, torch.rand(3, 4, generator=torch.Generator().manual_seed(2), dtype=F64)
    # 19 members at 90 %: the outermost two
    width = (ordered[-1] - ordered[0]).masked_fill(y.isnan(), float("nan"))
    torch.testing.assert_close(sharpness(x, y), width, rtol=0, atol=0, equal_nan=True)
    known = ~y.isnan()
    torch.testing.assert_close(sharpness(x, y, w), (width[known] * w[known]).sum() / w[known].sum(), rtol=1e-13, atol=0)
    many = draws(39999, 1)
    # quantile +-1.644854; standard error of a quantile sqrt(p q / n) / density 0.1031
    assert abs(float(sharpness(many, many[0])) - 2 * 1.644854) < 4 * 2 * math.sqrt(0.05 * 0.95 / 39999) / 0.1031
