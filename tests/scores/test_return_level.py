"""Probabilities against binomial laws, return levels against laws whose quantiles are known, and the coverage of both intervals."""

import math

import pytest
import torch
from scipy import stats

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.scores.return_level import event_probability, return_level

F64 = torch.float64


def extreme(n, xi, *shape, seed=0):
    """Maxima of the generalised extreme value law, location 10, scale 2, by its quantile function."""
    u = Rng(seed).uniform((n, *shape), like=torch.zeros((), dtype=F64)).clamp(1e-12, 1 - 1e-12)
    gumbel = -torch.log(-torch.log(u))
    return 10 + 2 * (gumbel if xi == 0 else torch.expm1(xi * gumbel) / xi)


def level_of(xi, period):
    y = -math.log(-math.log1p(-1 / period))
    return 10 + 2 * (y if xi == 0 else math.expm1(xi * y) / xi)


@pytest.mark.parametrize(("k", "m"), [(0, 20), (3, 20), (50, 50)])
def test_probability_error_and_interval_are_those_of_scipy(k, m):
    found = event_probability(torch.arange(m) < k, level=0.95)
    interval = stats.binomtest(k, m).proportion_ci(0.95, method="wilson")
    assert float(found.probability) == k / m
    assert float(found.error) == pytest.approx(math.sqrt(k / m * (1 - k / m) / m), rel=1e-14)
    assert float(found.lower) == pytest.approx(interval.low, abs=1e-12) and float(found.upper) == pytest.approx(interval.high, abs=1e-12)


def test_wilsons_interval_holds_the_probability_as_often_as_it_says():
    m, p = 40, 0.1
    counts = torch.arange(m + 1)
    mass = torch.from_numpy(stats.binom.pmf(counts.numpy(), m, p))
    found = event_probability(torch.arange(m)[:, None] < counts, level=0.9)
    held = float(mass[(found.lower <= p) & (p <= found.upper)].sum())
    # exact, for a discrete law: Wilson's is near the level, not above it
    assert 0.85 < held < 0.97


@pytest.mark.parametrize("xi", [-0.3, 0.0, 0.2])
def test_many_maxima_give_the_law_back(xi):
    found = return_level(extreme(40000, xi, seed=1), 100.0, rng=Rng(2), draws=20)
    location, scale, shape = (float(v) for v in found.parameters)
    # errors of moments of 40000 numbers: some 1 / sqrt(40000) of each scale
    assert location == pytest.approx(10, abs=0.06) and scale == pytest.approx(2, abs=0.06) and shape == pytest.approx(xi, abs=0.03)
    assert float(found.level) == pytest.approx(level_of(xi, 100.0), rel=0.03)


def test_the_fit_solves_the_equations_of_the_moments():
    # exact moments of the law: beta_r = (mu - sigma/xi + sigma/xi Gamma(1 - xi) (r + 1)^xi) / (r + 1)
    x = extreme(60, 0.1, seed=5)
    found = return_level(x, 50.0, rng=Rng(0), draws=20).parameters
    mu, sigma, xi = found.tolist()
    ordered, j, n = x.sort().values, torch.arange(60, dtype=F64), 60
    sample = [ordered.mean(), (j / (n - 1) * ordered).mean(), (j * (j - 1) / ((n - 1) * (n - 2)) * ordered).mean()]
    for r, b in enumerate(sample):
        exact = (mu - sigma / xi + sigma / xi * math.gamma(1 - xi) * (r + 1) ** xi) / (r + 1)
        assert float(b) == pytest.approx(exact, rel=1e-10)


def test_intervals_hold_the_level_about_as_often_as_they_say():
    cases = 150
    found = return_level(extreme(80, 0.1, cases, seed=3), 20.0, rng=Rng(4), draws=100)
    truth = level_of(0.1, 20.0)
    held = float(((found.lower <= truth) & (truth <= found.upper)).double().mean())
    # percentile bootstrap of 80 maxima is a little narrow; four binomial errors below that
    assert 0.85 - 4 * math.sqrt(0.1 * 0.9 / cases) < held < 0.9 + 4 * math.sqrt(0.1 * 0.9 / cases)
    # no bias seen: mean within four errors
    assert abs(float(found.level.mean()) - truth) < 4 * float(found.level.std()) / math.sqrt(cases)


def test_units_move_with_the_level_and_missing_cells_are_missing():
    x = extreme(30, 0.1, 3, seed=6)
    a, b = (return_level(v, 10.0, rng=Rng(0), draws=20) for v in (x, 100 * x - 7))
    torch.testing.assert_close(b.level, 100 * a.level - 7, rtol=1e-10, atol=0)
    x[4, 0], x[:, 1] = float("nan"), 1.0
    found = return_level(x, 10.0, rng=Rng(0), draws=20)
    assert found.level.isnan().tolist() == [True, True, False]


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="boolean"):
        event_probability(torch.zeros(3))
    with pytest.raises(ShapeError, match="one at least"):
        event_probability(torch.zeros(0, dtype=torch.bool))
    with pytest.raises(InputError, match="level"):
        event_probability(torch.ones(3, dtype=torch.bool), level=1.0)
    with pytest.raises(ShapeError, match="10 blocks"):
        return_level(torch.zeros(9), 5.0, rng=Rng(0))
    with pytest.raises(InputError, match="period"):
        return_level(torch.zeros(20), 1.0, rng=Rng(0))
