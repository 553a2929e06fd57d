"""R-hat and effective sizes: independent draws, autoregressions of known length of memory, chains apart, heavy tails."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.mixing import bulk_size, split_rhat, tail_size

LIKE = torch.zeros((), dtype=torch.float64)


def autoregression(rho: float, chains: int = 4, n: int = 2000, k: int = 8) -> Tensor:
    noise = Rng(3).normal((chains, n, k), like=LIKE)
    x = [noise[:, 0]]
    for t in range(1, n):
        x.append(rho * x[-1] + (1 - rho**2) ** 0.5 * noise[:, t])
    return torch.stack(x, 1)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_size_of_an_autoregression(rho) -> None:
    """N (1 - rho)/(1 + rho) for means of normal draws; the estimate of the memory scatters by some 10 % a column, 8 columns averaged."""
    x = autoregression(rho)
    assert float(bulk_size(x).mean()) == pytest.approx(8000 * (1 - rho) / (1 + rho), rel=0.12)
    assert bool((split_rhat(x) < (1.01 if rho < 0.9 else 1.03)).all())
    assert float(tail_size(x).mean()) == pytest.approx(8000, rel=0.1) if rho == 0 else float(tail_size(x).mean()) > float(bulk_size(x).mean())


def test_chains_that_swing_are_worth_more_than_their_number() -> None:
    """rho = -0.5: three times as many."""
    assert float(bulk_size(autoregression(-0.5)).mean()) == pytest.approx(3 * 8000, rel=0.15)


def test_chains_that_have_not_mixed() -> None:
    x = Rng(1).normal((4, 500, 3), like=LIKE)
    x[0, :, 0] += 1.0  # another place
    x[0, :, 1] *= 3.0  # another width, the same place: seen by the folded draws only
    x[:, :, 2] = x[:, :, 2].tan()  # no variance
    found = split_rhat(x)
    assert float(found[0]) > 1.1 and float(found[1]) > 1.05 and float(found[2]) < 1.01
    drift = Rng(2).normal((1, 400), like=LIKE) + torch.linspace(0, 3, 400, dtype=torch.float64)
    assert float(split_rhat(drift)) > 1.3, "one chain is compared with itself, half by half"


def test_what_does_not_vary_has_no_number_and_ties_share_a_rank() -> None:
    assert bool(split_rhat(torch.ones(2, 8, 3)).isnan().all()) and bool(bulk_size(torch.ones(2, 8)).isnan())
    stuck = Rng(5).normal((4, 100, 1), like=LIKE).repeat_interleave(5, 1)  # a chain that moves every fifth time
    assert float(bulk_size(stuck)) == pytest.approx(400, rel=0.2)


def test_too_few_draws() -> None:
    with pytest.raises(ShapeError, match=r"n >= 4, got \(4, 3\)"):
        split_rhat(torch.zeros(4, 3))
