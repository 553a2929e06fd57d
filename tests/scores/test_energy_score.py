"""Energy score against loops over pairs, the card's numbers, and the CRPS of one cell."""

import math

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.scores import energy_score as module
from physdiff.scores.crps import crps
from physdiff.scores.energy_score import energy_score

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def by_pairs(x, y, w):
    def norm(v):
        return math.sqrt(float((w * v * v).sum() / w.sum()))

    m = len(x)
    pairs = sum(norm(a - b) for a in x for b in x)
    return sum(norm(a - y) for a in x) / m - pairs / (2 * m * (m - 1))


def test_known_value():
    x, y = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=F64), torch.ones(2, dtype=F64)
    # the card's norm is the root of the sum of squares, ours of the mean over two cells; six printed digits
    assert math.sqrt(2) * float(energy_score(x, y)) == pytest.approx(0.569036, abs=5e-7)


@pytest.mark.parametrize("block", [2**22, 50])
def test_it_is_the_double_sum_over_pairs(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    x, y, w = draws(6, 2, 3, 4), draws(2, 3, 4, seed=1), draws(3, 4, seed=2).abs()
    expected = [by_pairs(x[:, b], y[b], w) for b in range(2)]
    # rounding of 36 terms
    torch.testing.assert_close(energy_score(x, y, w), torch.tensor(expected, dtype=F64), rtol=1e-12, atol=0)


def test_on_one_cell_it_is_the_fair_crps():
    x, y = draws(9, 5, 1), draws(5, 1, seed=1)
    torch.testing.assert_close(energy_score(x, y, torch.ones(1)), crps(x, y)[:, 0], rtol=1e-12, atol=1e-14)


def test_it_is_unbiased_at_any_size():
    # a perfect ensemble of any m expects half of E|X - X'|, measured here from independent pairs
    n, shape = 20000, (2, 3)
    pairs = (draws(n, *shape, seed=5) - draws(n, *shape, seed=6)).square().mean((-1, -2)).sqrt() / 2
    for m in (2, 6):
        values = energy_score(draws(m, n, *shape, seed=m), draws(n, *shape, seed=7), torch.ones(shape))
        error = 4 * math.hypot(float(values.std()), float(pairs.std())) / math.sqrt(n)
        assert abs(float(values.mean() - pairs.mean())) < error
        # a biased second term would differ by E|X-X'| / (2m)
        assert error < float(pairs.mean()) / m


def test_infinite_values_are_not_hidden_and_gradients_are_finite_at_ties():
    x, y = draws(3, 4), draws(4, seed=1)
    x[1] = x[0]
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(energy_score(x, y), x)
    assert gradient.isfinite().all()
    broken = x.detach().clone()
    broken[0, 0] = float("inf")
    assert not energy_score(broken, y).isfinite()


def test_one_member_is_refused():
    with pytest.raises(ShapeError, match="at least 2 members"):
        energy_score(draws(1, 4), draws(4))


@pytest.mark.parametrize("twins", [1, 5])
def test_members_that_nearly_agree_keep_their_digits(twins):
    # a pair 1e-9 apart cancels in the Gram matrix; all but one make the differences cheaper
    x, y = draws(6, 2, 3, 4), draws(2, 3, 4, seed=1)
    for k in range(1, 1 + twins):
        x[k] = x[0] + 1e-9 * k * draws(2, 3, 4, seed=9)
    expected = [by_pairs(x[:, b], y[b], torch.ones(3, 4, dtype=F64)) for b in range(2)]
    torch.testing.assert_close(energy_score(x, y, torch.ones(3, 4)), torch.tensor(expected, dtype=F64), rtol=1e-12, atol=0)


def test_identical_members_give_the_distance_to_the_truth():
    x, y = draws(1, 3, 4).expand(5, 3, 4), draws(3, 4, seed=1)
    torch.testing.assert_close(energy_score(x, y), (x[0] - y).square().mean().sqrt(), rtol=1e-14, atol=0)


def test_single_precision_survives_a_large_mean():
    # geopotential: a mean of 5e4, a spread of 12 and an error of 100
    x, y = (5e4 + 100 + 12 * draws(20, 4, 300)).float(), (5e4 + 12 * draws(4, 300, seed=1)).float()
    exact = energy_score(x.double(), y.double(), torch.ones(300))
    # products of departures of the order of the spread: some rounding errors of float32
    torch.testing.assert_close(energy_score(x, y, torch.ones(300)).double(), exact, rtol=1e-6, atol=0)
    # a cluster of members within a hundredth of the others' distances
    x[1:6] = x[:1] + 0.12 * draws(5, 4, 300, seed=3).float()
    exact = energy_score(x.double(), y.double(), torch.ones(300))
    torch.testing.assert_close(energy_score(x, y, torch.ones(300)).double(), exact, rtol=1e-6, atol=0)


def test_gradient_is_that_of_the_pairs():
    x, y = draws(4, 3).requires_grad_(), draws(3, seed=1)
    (mine,) = torch.autograd.grad(energy_score(x, y), x)
    norms = [torch.linalg.vector_norm(a - b) for i, a in enumerate(x) for b in x[:i]]
    slow = (torch.linalg.vector_norm(x - y, dim=1).mean() - torch.stack(norms).sum() / 12) / math.sqrt(3)
    torch.testing.assert_close(mine, torch.autograd.grad(slow, x)[0], rtol=1e-12, atol=1e-14)
