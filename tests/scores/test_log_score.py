"""Log scores against the closed forms of the Gaussian law, sums over members, and their expectations."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.scores.log_score import gaussian_log_score, kernel_log_score

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_known_values_of_the_normal_law():
    # mean 0 and variance 1: half of log 2 pi at the mean, a half more one standard deviation away
    x = torch.tensor([-math.sqrt(0.5), math.sqrt(0.5)], dtype=F64)
    assert float(gaussian_log_score(x, torch.tensor(0.0, dtype=F64), fair=False)) == pytest.approx(0.9189385332046727, rel=1e-14)
    assert float(gaussian_log_score(x, torch.tensor(1.0, dtype=F64), fair=False)) == pytest.approx(1.4189385332046727, rel=1e-14)
    # a kernel around one member is the normal law
    for y, expected in ((0.0, 0.9189385332046727), (1.0, 1.4189385332046727)):
        found = kernel_log_score(torch.zeros(1, 1, dtype=F64), torch.tensor([y], dtype=F64), bandwidth=1.0)
        assert float(found) == pytest.approx(expected, rel=1e-14)


def test_kernel_score_is_the_sum_over_members():
    x, y, w = draws(6, 4), draws(4, seed=1), torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=F64)
    expected = []
    for j in range(4):
        h = 1.06 * float(x[:, j].std()) * 6**-0.2
        density = sum(math.exp(-((float(y[j] - v) / h) ** 2) / 2) for v in x[:, j]) / (6 * h * math.sqrt(2 * math.pi))
        expected.append(-math.log(density))
    torch.testing.assert_close(kernel_log_score(x, y), torch.tensor(expected, dtype=F64), rtol=1e-12, atol=0)
    mean = (w * torch.tensor(expected, dtype=F64)).sum() / w.sum()
    torch.testing.assert_close(kernel_log_score(x, y, w), mean, rtol=1e-12, atol=0)


@pytest.mark.parametrize("m", [4, 6, 30])
def test_fair_score_expects_that_of_the_law_at_any_size(m):
    n = 60000
    x, y = draws(m, n, seed=m), draws(n, seed=99)
    found, biased = gaussian_log_score(x, y), gaussian_log_score(x, y, fair=False)
    error = 4 * float(found.std()) / math.sqrt(n)
    # entropy of the normal law
    assert abs(float(found.mean()) - 0.5 * math.log(2 * math.pi * math.e)) < error
    assert m > 6 or float(biased.mean()) > 0.5 * math.log(2 * math.pi * math.e) + 2 * error


def test_units_shift_the_score_by_their_logarithm():
    x, y = draws(8, 5), draws(5, seed=1)
    for score in (gaussian_log_score, kernel_log_score):
        torch.testing.assert_close(score(1e3 * x, 1e3 * y), score(x, y) + math.log(1e3), rtol=1e-12, atol=0)


def test_missing_and_degenerate_cells():
    x, y = draws(5, 4), draws(4, seed=1)
    x[2, 0] = y[1] = float("nan")
    x[:, 2] = 1.0
    for score in (gaussian_log_score, kernel_log_score):
        found = score(x, y)
        assert found[:2].isnan().all() and found[2] == torch.inf and found[3].isfinite()


def test_what_has_no_score_is_refused():
    with pytest.raises(ShapeError, match="at least 4 members"):
        gaussian_log_score(draws(3, 2), draws(2))
    with pytest.raises(InputError, match="bandwidth"):
        kernel_log_score(draws(3, 2), draws(2), bandwidth=0.0)
