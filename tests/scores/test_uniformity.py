"""Uniform ranks: p values by brute force, bands with the coverage they state, power against known faults, worded errors."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from scipy import stats

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.scores.uniformity import adjusted_p_values, rank_band, rank_chi2, rank_p_value


@pytest.mark.parametrize(("cases", "members"), [(3, 2), (4, 3), (2, 5)])
def test_p_values_by_enumeration(cases, members) -> None:
    """All outcomes of few cases: the p value of each is the share of outcomes whose smallest tail is as small."""
    outcomes = list(product(range(members + 1), repeat=cases))

    def least(ranks: tuple[int, ...]) -> float:
        found = []
        for cut in range(1, members + 1):
            count, share = sum(r < cut for r in ranks), cut / (members + 1)
            found.append(min(1, 2 * min(stats.binom.cdf(count, cases, share), stats.binom.sf(count - 1, cases, share))))
        return min(found)

    statistics = [least(o) for o in outcomes]
    for ranks, statistic in list(zip(outcomes, statistics, strict=True))[::7]:
        expected = sum(s <= statistic * (1 + 1e-9) for s in statistics) / len(outcomes)
        assert rank_p_value(torch.tensor(ranks), members) == pytest.approx(expected, abs=1e-9)


def test_the_level_is_kept() -> None:
    """Uniform ranks: p <= 0.05 in at most 5 % of 100 sets, 4 standard errors; what leaves the band of 95 % has p < 0.05."""
    cases, members = 40, 19
    band = rank_band(cases, members)
    refused = left = 0
    for seed in range(100):
        ranks = Rng(seed).integers(0, members + 1, (cases,))
        share = (ranks[None] < band.cuts[:, None]).double().mean(1)
        out = bool(((share < band.lower - 1e-12) | (share > band.upper + 1e-12)).any())
        low = rank_p_value(ranks, members) <= 0.05
        refused, left = refused + low, left + out
        assert not out or low, "what leaves the band of 95 % has a p value below 5 %"
    error = 4 * (0.05 * 0.95 / 100) ** 0.5
    assert refused / 100 < 0.05 + error and left / 100 < 0.05 + error


def test_chi_squared_is_that_of_scipy() -> None:
    ranks = Rng(0).integers(0, 20, (400,))
    assert rank_chi2(ranks, 19) == pytest.approx(stats.chisquare(torch.bincount(ranks, minlength=20).numpy()).pvalue)
    uneven = Rng(1).integers(0, 8, (30,))  # 8 ranks in 6 bins
    assert 0 < rank_chi2(uneven, 7) < 1


def test_power() -> None:
    """200 cases, 99 members: spread short by a quarter and a shift of 0.3 standard deviations are seen in at least 5 of 6 runs."""
    found = {"narrow": 0, "shift": 0}
    for seed in range(6):
        truth = Rng(seed).child("truth").normal((200, 1))
        members = Rng(seed).child("members").normal((200, 99))
        found["narrow"] += rank_p_value((0.75 * members < truth).sum(1), 99) < 0.05
        found["shift"] += rank_p_value((members + 0.3 < truth).sum(1), 99) < 0.05
    assert found["narrow"] >= 5 and found["shift"] >= 5


def test_bad_input() -> None:
    with pytest.raises(InputError, match="whole numbers from 0 to 9, got 0.5 to 3"):
        rank_p_value(torch.tensor([0.5, 3.0]), 9)
    with pytest.raises(InputError, match="from 0 to 9, got 0 to 10"):
        rank_p_value(torch.tensor([0, 10]), 9)
    with pytest.raises(ShapeError, match="one at least"):
        rank_p_value(torch.zeros(0), 9)
    with pytest.raises(ShapeError, match="at least ten cases, got 3"):
        rank_chi2(torch.zeros(3), 9)
    with pytest.raises(InputError, match="a level in"):
        rank_band(10, 9, level=1.0)


def test_adjusted_p_values_are_those_of_the_papers():
    # Benjamini and Hochberg 1995, section 3.2: fifteen p values, four rejected at 0.05 (Bonferroni: three)
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    shuffled = {str(k): p[k] for k in (3, 0, 14, 1, 2, *range(4, 14))}
    share, holm = (adjusted_p_values(shuffled, control=c) for c in ("share", "holm"))
    assert list(share) == list(shuffled)
    assert sum(v <= 0.05 for v in share.values()) == 4 and sum(v <= 0.05 for v in holm.values()) == 3
    assert share["3"] == pytest.approx(15 * 0.0095 / 4) and holm["2"] == pytest.approx(13 * 0.0019) and holm["14"] == 1.0
    # by the definition, one by one
    for k in range(15):
        assert share[str(k)] == pytest.approx(min(1.0, *(15 * p[j] / (j + 1) for j in range(k, 15))), rel=1e-14)
        assert holm[str(k)] == pytest.approx(min(1.0, max((15 - j) * p[j] for j in range(k + 1))), rel=1e-14)


def test_holm_keeps_false_alarms_of_several_leads_below_the_level():
    n, alarms = 100, 0
    for seed in range(n):
        draws = torch.randint(0, 10, (6, 60), generator=torch.Generator().manual_seed(seed))
        tests = {str(k): rank_chi2(row, 9) for k, row in enumerate(draws)}
        alarms += min(adjusted_p_values(tests).values()) < 0.1
    # binomial error, four of them; six tests alone would raise 0.47
    assert alarms / n < 0.1 + 4 * math.sqrt(0.1 * 0.9 / n)


def test_p_values_that_are_none_are_refused():
    for bad in ({}, {"a": -0.1}, {"a": float("nan")}):
        with pytest.raises(InputError, match="p values"):
            adjusted_p_values(bad)
