"""Log densities against torch.distributions, missing readings and their gradients, worded errors."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.inference.noise import GaussianNoise, fitted_to

LIKE = torch.zeros((), dtype=torch.float64)
RESIDUAL = Rng(1).normal((3, 2, 4), like=LIKE)


@pytest.mark.parametrize("std", [0.3, torch.tensor([0.1, 1.0, 2.0, 5.0]), torch.linspace(0.1, 0.8, 8).reshape(2, 4)], ids=["one", "row", "each"])
def test_log_prob_is_that_of_torch(std) -> None:
    scale = torch.as_tensor(std, dtype=torch.float64).expand(2, 4)
    expected = torch.distributions.Normal(0.0, scale).log_prob(RESIDUAL).sum((1, 2))
    torch.testing.assert_close(GaussianNoise(std).log_prob(RESIDUAL), expected, rtol=1e-14, atol=0)


def test_extra_variance_adds_to_the_noise() -> None:
    extra = Rng(2).uniform((3, 2, 4), like=LIKE)
    expected = torch.distributions.Normal(0.0, (0.25 + extra).sqrt()).log_prob(RESIDUAL).sum((1, 2))
    torch.testing.assert_close(GaussianNoise(0.5).log_prob(RESIDUAL, extra), expected, rtol=1e-14, atol=0)


def test_missing_readings_count_nothing_and_give_no_gradient() -> None:
    x = RESIDUAL.clone().requires_grad_()
    gaps = torch.zeros(2, 4, dtype=torch.bool)
    gaps[0, 1] = gaps[1, 3] = True
    y = torch.where(gaps, torch.nan, 0.0).double()
    value = GaussianNoise(0.5).log_prob(y - x)
    dense = torch.distributions.Normal(0.0, LIKE + 0.5).log_prob(RESIDUAL)
    torch.testing.assert_close(value, dense[:, ~gaps].sum(1), rtol=1e-14, atol=0)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(gradient, torch.where(gaps, 0.0, -RESIDUAL / 0.25), rtol=1e-14, atol=0)


def test_sums_in_float64_whatever_comes() -> None:
    many = torch.full((1, 10**6), 0.1)
    # float32 addition of a million equal terms would be off by some 1e-3 of the sum
    expected = 10**6 * torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.1, dtype=torch.float32).double())
    torch.testing.assert_close(GaussianNoise(1.0).log_prob(many)[0], expected.double(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf"), torch.tensor([1.0, 0.0])])
def test_std_must_be_positive(std) -> None:
    with pytest.raises(InputError, match="expected positive finite standard deviations, got"):
        GaussianNoise(std)


def test_axes_of_length_one_may_be_left_out() -> None:
    like = torch.empty(2, 1, 5)
    assert torch.equal(GaussianNoise(torch.arange(1, 11).reshape(2, 5)).variance(like), torch.arange(1, 11).double().reshape(2, 1, 5) ** 2)
    with pytest.raises(ShapeError, match=r"std: expected shape \(2, 1, 5\)"):
        GaussianNoise(torch.ones(7)).variance(like)
    with pytest.raises(ShapeError, match="expected shape"):
        fitted_to(torch.ones(5), (2, 5), "y")


def test_it_can_be_saved() -> None:
    noise = build(describe(GaussianNoise(torch.tensor([0.5, 2.0]))))
    assert torch.equal(noise.std, torch.tensor([0.5, 2.0], dtype=torch.float64))
