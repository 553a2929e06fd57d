"""The Gaussian against torch's, its density against its integral, and its samples against its moments."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from physdiff.base.errors import InputError
from physdiff.base.gaussian import Gaussian
from physdiff.base.rng import Rng

LIKE = torch.zeros((), dtype=torch.float64)


def normal(*shape: int, key: str) -> torch.Tensor:
    return Rng(0).child(key).normal(shape, like=LIKE)


@pytest.mark.parametrize("std_shape", [(4, 2, 3), (4, 1, 1), (1, 1, 1), (), (3,)])
@pytest.mark.parametrize("mean_batch", [1, 4])
def test_log_prob_is_torchs_summed_over_all_but_the_batch(std_shape: tuple[int, ...], mean_batch: int) -> None:
    mean, std, x = normal(mean_batch, 2, 3, key="m"), 0.1 + normal(*std_shape, key="s").abs(), normal(4, 2, 3, key="x")
    expected = Normal(mean.expand(4, 2, 3), std.expand(4, 2, 3)).log_prob(x).sum((1, 2))
    # sums of six numbers
    torch.testing.assert_close(Gaussian(mean, std).log_prob(x), expected, rtol=1e-13, atol=0)


def test_log_prob_of_a_batch_of_numbers_integrates_to_one() -> None:
    x = torch.linspace(-8, 9, 2001, dtype=torch.float64)
    density = Gaussian(torch.full_like(x, 0.5), torch.full_like(x, 0.7)).log_prob(x).exp()
    # the trapezoidal rule converges beyond any power on a bell
    assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=1e-12)


def test_log_prob_is_float64_even_for_half_precision() -> None:
    assert Gaussian(torch.zeros(2, 3).bfloat16(), torch.ones(()).bfloat16()).log_prob(torch.zeros(2, 3)).dtype == torch.float64


def test_a_deterministic_transition_has_no_density() -> None:
    with pytest.raises(InputError, match="no density"):
        Gaussian(torch.zeros(2, 3), torch.tensor([1.0, 0.0, 1.0])).log_prob(torch.zeros(2, 3))


def test_samples_have_the_moments() -> None:
    n = 50_000
    mean, std = torch.tensor([1.0, -2.0]).double().expand(n, 2), torch.tensor([0.5, 3.0]).double()
    draw = Gaussian(mean, std).sample(Rng(4))
    assert ((draw.mean(0) - mean[0]).abs() < 4 * std / n**0.5).all()
    assert ((draw.std(0) / std - 1).abs() < 4 / (2 * n) ** 0.5).all()
    assert torch.equal(draw, Gaussian(mean, std).sample(Rng(4)))


def test_without_spread_the_sample_is_the_mean_and_shift_moves_it() -> None:
    mean, delta = normal(3, 2, key="m"), normal(3, 2, key="d")
    moved = Gaussian(mean, torch.zeros(())).shift(delta)
    assert torch.equal(moved.sample(Rng(0)), mean + delta)
