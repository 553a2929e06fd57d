"""The conformal quantile: its rank, its law of coverage, its refusals."""

import math

import pytest
import scipy.stats
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.uq.conformal import cases_needed, conformal_quantile, coverage_law

F64 = torch.float64


@pytest.mark.parametrize(("cases", "mean", "std"), [(19, 0.900, 0.0655), (99, 0.900, 0.0299)])
def test_coverage_law_has_the_published_moments(cases, mean, std):
    law = coverage_law(cases, 0.9)
    assert law.mean == pytest.approx(mean, abs=5e-4) and law.std == pytest.approx(std, abs=5e-5)
    exact = scipy.stats.beta(*law)
    assert law.mean == pytest.approx(exact.mean(), rel=1e-12) and law.std == pytest.approx(exact.std(), rel=1e-12)


@pytest.mark.parametrize(("cases", "level", "k"), [(9, 0.9, 9), (19, 0.9, 18), (99, 0.9, 90), (20, 0.9, 19), (1, 0.5, 1), (39, 0.95, 38)])
def test_the_quantile_is_the_kth_smallest(cases, level, k):
    scores = torch.randperm(cases, generator=torch.Generator().manual_seed(0)).to(F64) + 1
    assert float(conformal_quantile(scores, level)) == k


def test_needed_is_where_the_bound_becomes_finite():
    for level in (0.5, 0.8, 0.9, 0.95, 0.99):
        n = cases_needed(level)
        assert math.isfinite(conformal_quantile(torch.arange(float(n)), level))
        assert n == 1 or math.isinf(conformal_quantile(torch.arange(float(n - 1)), level))


def test_coverage_over_sets_of_cases_follows_the_beta_law():
    n, sets = 19, 20000
    scores = torch.rand(n, sets, generator=torch.Generator().manual_seed(1), dtype=F64)
    # of uniform scores the coverage IS the quantile
    covered = conformal_quantile(scores, 0.9)
    law = scipy.stats.beta(*coverage_law(n, 0.9))
    assert scipy.stats.kstest(covered.numpy(), law.cdf).pvalue > 1e-3


def test_each_cell_counts_its_own_cases():
    scores = torch.arange(20.0, dtype=F64)[:, None].repeat(1, 4)
    scores[:, 1] = float("nan")
    scores[:12, 2] = float("nan")                # eight are left: too few for 0.9
    scores[5, 3] = float("nan")                  # nineteen: the 18th of them
    found = conformal_quantile(scores, 0.9)
    assert found[0] == 18 and found[1].isnan() and found[2] == float("inf") and found[3] == 18


def test_refusals():
    with pytest.raises(ShapeError, match="at least 9 calibration cases for a level of 0.9, got 5.*at most 0.833"):
        coverage_law(5, 0.9)
    with pytest.raises(InputError, match="between 0 and 1"):
        conformal_quantile(torch.zeros(3), 90)
    with pytest.raises(ShapeError, match="at least one case"):
        conformal_quantile(torch.zeros(0, 2), 0.9)
