"""Spread and its ratio to the error of the mean: the loop, the small-ensemble factor, the order."""

import math

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.scores.spread_skill import ensemble_variance, predictive_variance, spread, spread_skill

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_it_is_the_loop():
    x, y, w = (
        draws(5, 3, 4),
        draws(3, 4, seed=1),
        torch.rand(3, 4, generator=torch.Generator().manual_seed(2)),
    )
    variance = error = 0.0
    for i in range(3):
        for j in range(4):
            values = x[:, i, j].tolist()
            mean = sum(values) / 5
            variance += float(w[i, j]) * sum((v - mean) ** 2 for v in values) / 4
            error += float(w[i, j]) * (mean - float(y[i, j])) ** 2
    total = float(w.double().sum())
    # rounding of 60 terms
    assert float(spread(x, y, w)) == pytest.approx(math.sqrt(variance / total), rel=1e-12)
    assert float(spread_skill(x, y, w)) == pytest.approx(math.sqrt(6 / 5 * variance / error), rel=1e-12)


def test_cells_go_in_blocks_far_from_zero_too():
    """More cells than a block has, values of pressure: what float32 keeps of a variance of 1 at 1e5 is the rounding of its values (4e-3), squared."""
    x, y = 1e5 + draws(6, 3, 5000), 1e5 + draws(3, 5000, seed=1)
    exact = x.float().double().var(0)
    assert torch.allclose(ensemble_variance(x, y), x.var(0), rtol=1e-9)
    assert torch.allclose(ensemble_variance(x.float(), y.float()).double(), exact, rtol=1e-2, atol=1e-4)
    x.requires_grad_(True)
    (grad,) = torch.autograd.grad(ensemble_variance(x, y).sum(), x)
    assert torch.allclose(grad, 2 * (x - x.mean(0)).detach() / 5, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("m", [2, 3, 10])
def test_a_perfect_ensemble_of_any_size_has_ratio_one(m):
    n = 40000
    x, y, w = draws(m, n, seed=m), draws(n, seed=77), torch.ones(n)
    variance, error = predictive_variance(x, y), spread_skill.parts[1](x, y)
    relative = math.hypot(*(float(v.std() / v.mean()) for v in (variance, error))) / math.sqrt(n)
    ratio = float(spread_skill(x, y, w))
    # the root halves the relative error; four of them
    assert abs(ratio - 1) < 2 * relative
    # without the factor sqrt((m+1)/m) it would lie outside
    assert abs(ratio * math.sqrt(m / (m + 1)) - 1) > 2 * relative


def test_overconfident_is_below_one():
    x, y, w = draws(10, 5000), draws(5000, seed=1), torch.ones(5000)
    assert float(spread_skill(0.5 * x, y, w)) < 0.6
    # halving the members halves the spread exactly
    assert float(spread(0.5 * x, y, w)) == 0.5 * float(spread(x, y, w))


def test_spread_and_error_share_their_cells():
    x, y = draws(4, 6), draws(6, seed=1)
    x[:, 0] *= 100
    y[0] = float("nan")
    kept = ensemble_variance(x[:, 1:], y[1:], torch.ones(5))
    torch.testing.assert_close(ensemble_variance(x, y, torch.ones(6)), kept, rtol=1e-13, atol=0)


def test_one_member_is_refused():
    with pytest.raises(ShapeError, match="at least 2 members"):
        spread_skill(draws(1, 4), draws(4))
