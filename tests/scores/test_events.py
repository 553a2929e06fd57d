"""Scores of events against brute force, expectations and hand-made cases."""

import functools
import pickle

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.scores.crps import crps
from physdiff.scores.events import brier_score, events_by_count, quantile_score, reliability, roc_area, threshold_crps

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_brier_by_hand():
    members = torch.tensor([[1.0], [3.0], [5.0], [7.0]], dtype=F64)
    for y, o in ((2.0, 0.0), (6.0, 1.0)):
        biased = (0.5 - o) ** 2
        assert float(brier_score(members, torch.tensor([y], dtype=F64), threshold=4.0, fair=False)) == biased
        assert float(brier_score(members, torch.tensor([y], dtype=F64), threshold=4.0)) == pytest.approx(biased - 0.25 / 3)


def test_the_fair_brier_score_does_not_depend_on_the_number_of_members():
    n = 40000
    y = draws(n, seed=1)
    exact = 0.25  # members and truth alike, threshold at the median: p (1 - p)
    for m in (2, 5, 20):
        score = brier_score(draws(m, n, seed=m), y, threshold=0.0)
        # four standard errors
        assert abs(float(score.mean()) - exact) < 4 * float(score.std()) / n**0.5


def test_the_mean_of_brier_scores_over_thresholds_is_the_threshold_crps():
    x, y = draws(6, 3), draws(3, seed=1)
    u = torch.linspace(0.3, 8.0, 20001, dtype=F64)
    area = torch.stack([brier_score(x, y, threshold=float(t)) for t in u[::10]])
    integral = torch.trapezoid(area, u[::10], dim=0)
    # a step function on a grid of 0.004: each of its seven steps errs by less than one cell
    torch.testing.assert_close(threshold_crps(x, y, above=0.3), integral, rtol=0, atol=0.015)
    torch.testing.assert_close(threshold_crps(x, y, above=-100.0), crps(x, y))


def test_the_mean_of_quantile_scores_over_levels_is_the_crps():
    n = 4000
    z = (torch.arange(1, 200, dtype=F64) / 200 * 2 - 1).erfinv() * 2**0.5  # 199 quantiles of N(0, 1) as members
    y = draws(n, seed=3)
    members = z[:, None].expand(199, n)
    levels = [k / 200 for k in range(1, 200, 6)]
    mean = torch.stack([quantile_score(members, y, level=t).mean() for t in levels]).mean()
    # E CRPS of a calibrated N(0, 1) is 1/sqrt(pi); four standard errors of 4000 cases, and the levels' spacing
    assert float(mean) == pytest.approx(0.5642, abs=0.03)


def test_quantile_score_by_hand():
    members = torch.tensor([[0.0], [1.0], [2.0]], dtype=F64)
    # three members: levels 1/4, 1/2, 3/4; halfway between the first two is 3/8
    y = torch.tensor([1.2], dtype=F64)
    assert float(quantile_score(members, y, level=0.25)) == pytest.approx(2 * 0.25 * 1.2)
    assert float(quantile_score(members, y, level=0.375)) == pytest.approx(2 * 0.375 * 0.7)
    assert float(quantile_score(members, y, level=0.75)) == pytest.approx(2 * 0.25 * 0.8)


def test_counts_reliability_and_roc_against_brute_force():
    x, y = draws(4, 50, 3, 2), draws(50, 3, 2, seed=1)
    area = torch.tensor([[1.0, 2.0], [0.5, 1.0], [1.0, 1.0]], dtype=F64)
    happened, not_happened = (events_by_count(x, y, area, threshold=0.2, happened=h) for h in (True, False))
    torch.testing.assert_close((happened + not_happened).sum(-1), torch.ones(50, dtype=F64))
    k = (x > 0.2).sum(0)
    w = (area / area.sum()).expand(50, 3, 2)
    for count in range(5):
        here = (k == count) & (y > 0.2)
        torch.testing.assert_close(happened[:, count], (w * here).sum((1, 2)))
    score = reliability(threshold=0.2)
    table = score.combine(happened.mean(0), not_happened.mean(0))
    for count in range(5):
        torch.testing.assert_close(table[count], (w * ((k == count) & (y > 0.2))).sum() / (w * (k == count)).sum())
    # area of the ROC: probability that a case with the event has more members than one without, ties half
    yes, no = (w * (y > 0.2)).flatten(), (w * ~(y > 0.2)).flatten()
    more = (k.flatten()[:, None] > k.flatten()).to(F64) + 0.5 * (k.flatten()[:, None] == k.flatten())
    exact = (yes[:, None] * no * more).sum() / (yes.sum() * no.sum())
    torch.testing.assert_close(roc_area(threshold=0.2).combine(happened.mean(0), not_happened.mean(0)), exact)


def test_a_perfect_ensemble_is_reliable():
    n, m = 60000, 9
    mean = draws(n, seed=2)
    x, y = mean + draws(m, n, seed=3), mean + draws(n, seed=4)
    frequency = reliability(threshold=0.5)(x, y, torch.ones(n, dtype=F64))
    # given k of m members the event has probability near (k + 1)/(m + 2) for vague forecasts and near k/m for sharp ones
    k = torch.arange(m + 1, dtype=F64)
    assert bool((frequency > (k / m - 0.12)).all()) and bool((frequency < (k / m + 0.12)).all()) and bool((frequency.diff() > 0).all())


def test_missing_cells_and_fields_as_thresholds():
    x, y = draws(3, 4), draws(4, seed=1)
    y[1] = float("nan")
    level = torch.tensor([0.0, 0.0, 10.0, -10.0], dtype=F64)
    for score in (brier_score, functools.partial(events_by_count, happened=True)):
        assert score(x, y, torch.ones(4, dtype=F64), threshold=level).isfinite().all()
    found = brier_score(x, y, threshold=level)
    assert found[1].isnan() and found[2] == 0 and found[3] == 0
    assert pickle.loads(pickle.dumps(reliability(threshold=0.2)))(x, y, torch.ones(4)).shape == (4,)


def test_refusals():
    x, y = draws(3, 4), draws(4, seed=1)
    with pytest.raises(ShapeError, match="at least 2 members"):
        brier_score(x[:1], y, threshold=0.0)
    with pytest.raises(ShapeError, match="broadcasts to"):
        threshold_crps(x, y, above=torch.zeros(5))
    with pytest.raises(ShapeError, match="enough for the level 0.9, got 3"):
        quantile_score(x, y, level=0.9)
    with pytest.raises(InputError, match="between 0 and 1"):
        quantile_score(x, y, level=1.0)
