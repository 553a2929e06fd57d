"""CRPS against the double sum over pairs, the Gaussian closed form, and its own expectation."""

import math

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.scores import crps as module
from physdiff.scores.crps import biased_crps, crps

F64 = torch.float64


def by_pairs(x, y, fair):
    m = len(x)
    pairs = sum(abs(a - b) for a in x for b in x)
    return sum(abs(a - y) for a in x) / m - pairs / (2 * m * (m - 1 if fair else m))


def gaussian(y):
    density, below = math.exp(-y * y / 2) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(y / math.sqrt(2)))
    return y * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_known_values():
    x, y = torch.tensor([3.0, 0.0, 1.0], dtype=F64), torch.tensor(2.0, dtype=F64)
    # exact fractions of the method card
    assert float(crps(x, y)) == pytest.approx(1 / 3, rel=1e-15)
    assert float(biased_crps(x, y)) == pytest.approx(2 / 3, rel=1e-15)


@pytest.mark.parametrize("m", [2, 3, 8, 17])
@pytest.mark.parametrize(("score", "fair"), [(crps, True), (biased_crps, False)])
def test_sorting_is_the_double_sum_over_pairs(m, score, fair):
    x, y = draws(m, 4, 3), draws(4, 3, seed=1)
    x[0] = x[1]  # ties
    expected = [[by_pairs(x[:, i, j].tolist(), float(y[i, j]), fair) for j in range(3)] for i in range(4)]
    # rounding of m^2 terms of order one
    torch.testing.assert_close(score(x, y), torch.tensor(expected, dtype=F64), rtol=1e-12, atol=1e-13)


def test_blocks_change_nothing(monkeypatch):
    x, y = draws(6, 7, 11), draws(7, 11, seed=1)
    whole = crps(x, y)
    monkeypatch.setattr(module, "_BLOCK", 31)
    # the matrix product may add in another order
    torch.testing.assert_close(crps(x, y), whole, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("y", [0.0, 1.0, -2.5])
@pytest.mark.parametrize("m", [2, 8])
def test_fair_crps_of_gaussian_members_expects_the_closed_form(y, m):
    n = 40000
    score = crps(draws(m, n, seed=m), torch.full((n,), y, dtype=F64))
    # unbiased at any m: within four standard errors
    assert abs(float(score.mean()) - gaussian(y)) < 4 * float(score.std()) / math.sqrt(n)


def test_closed_form_is_that_of_the_card():
    assert gaussian(0.0) == pytest.approx(0.233695, abs=5e-7)
    assert gaussian(1.0) == pytest.approx(0.602441, abs=5e-7)


@pytest.mark.parametrize("m", [2, 5, 20])
def test_calibrated_members_expect_one_over_root_pi_and_the_biased_score_more(m):
    n = 40000
    x, y = draws(m, n, seed=10 + m), draws(n, seed=99)
    for score, expected in ((crps, 1.0), (biased_crps, 1 + 1 / m)):
        values = score(x, y)
        error = 4 * float(values.std()) / math.sqrt(n)
        assert abs(float(values.mean()) - expected / math.sqrt(math.pi)) < error
        # the test can tell the two apart
        assert error < 1 / m / math.sqrt(math.pi)


def test_one_member_is_the_absolute_error_or_refused():
    x, y = draws(1, 9), draws(9, seed=1)
    torch.testing.assert_close(biased_crps(x, y), (x[0] - y).abs(), rtol=1e-15, atol=0)
    with pytest.raises(ShapeError, match="at least 2 members"):
        crps(x, y)


def test_single_precision_survives_a_large_mean():
    # geopotential: a mean of 5e4 with a spread of 12
    x, y = 5e4 + 12 * draws(20, 500), 5e4 + 12 * draws(500, seed=1)
    x, y = x.float(), y.float()
    error = (crps(x, y).double() - crps(x.double(), y.double())).abs().max()
    # the inputs are the same rounded numbers: only the arithmetic of departures of order 10 is left
    assert float(error) < 1e-5


def test_gradient_is_that_of_the_pairs():
    x, y = draws(4, 3).requires_grad_(), draws(3, seed=1)
    (mine,) = torch.autograd.grad(crps(x, y).sum(), x)
    slow = (x - y).abs().mean(0) - (x[:, None] - x[None]).abs().sum((0, 1)) / (2 * 4 * 3)
    (expected,) = torch.autograd.grad(slow.sum(), x)
    torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-14)


def test_both_ways_of_sorting_agree_and_missing_cells_stay_alone():
    x, y = draws(7, 5, 6), draws(5, 6, seed=1)
    x[2, 1, 3] = y[4, 0] = float("nan")
    plain, kept = crps(x, y), crps(x.clone().requires_grad_(), y).detach()
    torch.testing.assert_close(plain, kept, rtol=1e-13, atol=1e-14, equal_nan=True)
    assert plain.isnan().nonzero().tolist() == [[1, 3], [4, 0]]
