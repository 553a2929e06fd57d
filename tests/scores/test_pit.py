"""The transform against the law's own distribution function, and its uniformity with dice."""

import math

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.scores.pit import pit

F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("rounded", [False, True])
def test_with_dice_it_is_uniform_for_any_size_and_law(rounded):
    n = 40000
    x, y = draws(3, n), draws(n, seed=1)
    if rounded:
        x, y = x.round(), y.round()
    u = pit(x, y, rng=Rng(0)).sort().values
    gap = (u - (torch.arange(n, dtype=F64) + 0.5) / n).abs().max()
    # Kolmogorov's law: 2 / sqrt(n) is passed with probability 2 exp(-8)
    assert float(gap) < 2 / math.sqrt(n)
    plain = pit(x, y)
    assert abs(float(plain.mean()) - 0.5) < 4 * float(plain.std()) / math.sqrt(n)


def test_many_members_give_the_distribution_function():
    y = torch.tensor([-1.0, 0.0, 2.0], dtype=F64)
    found = pit(draws(20000, 1).expand(-1, 3), y)
    expected = 0.5 * (1 + torch.erf(y / math.sqrt(2)))
    # four binomial standard errors
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * 0.5 / math.sqrt(20000))


def test_known_values_and_missing_cells():
    x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, float("nan")], [3.0, 1.0, 1.0]], dtype=F64)
    y = torch.tensor([2.0, 1.0, 1.0], dtype=F64)
    assert pit(x, y).tolist()[:2] == [2.5 / 4, 0.5] and pit(x, y)[2].isnan()
    # weighted over the known cells
    assert float(pit(x, y, torch.tensor([1.0, 3.0, 9.0]))) == pytest.approx((2.5 / 4 + 1.5) / 4, rel=1e-14)
