"""Tempered ensemble inversion: on Gaussians the posterior, whatever the steps; steps sum to one; non-linear operators better than one step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.inference.ensemble_inversion import eki
from physdiff.inference.ensemble_kalman import etkf
from physdiff.inference.exact import GaussianTarget

LIKE = torch.zeros((), dtype=torch.float64)


def exact_ensemble(mean: Tensor, covariance: Tensor, n: int) -> Tensor:
    """Members whose sample mean and covariance are these to rounding."""
    d = len(mean)
    z = torch.linalg.qr(torch.cat([torch.ones(n, 1, dtype=torch.float64), Rng(0).normal((n, d), like=LIKE)], 1))[0][:, 1:] * math.sqrt(n - 1)
    return mean + z @ torch.linalg.cholesky(covariance).T


def t2() -> GaussianTarget:
    a = torch.tensor([[1, 0.4], [-0.2, 0.7]], dtype=torch.float64)
    y = torch.tensor([0.8, -0.4], dtype=torch.float64)
    return GaussianTarget(torch.zeros(2).double(), 0.5 * torch.eye(2).double(), a, y, torch.ones(2).double())


@pytest.mark.parametrize("scale", [1.0, 0.05])
@pytest.mark.parametrize("turned", [False, True])
def test_the_posterior_of_a_gaussian_whatever_the_steps(scale, turned) -> None:
    """T2, and the same with noise 20 times smaller, which takes several steps; 1e-10: a chain of up to ten eigenproblems in float64."""
    target = t2()
    target = GaussianTarget(target.mean, target.covariance, target.matrix, target.y, scale * target.std)
    x, steps = eki(
        exact_ensemble(target.mean, target.covariance, 9),
        lambda x: x @ target.matrix.T,
        target.y,
        std=target.std,
        rng=Rng(1) if turned else None,
    )
    assert float(steps.sum()) == pytest.approx(1, abs=1e-15) and (len(steps) > 2) == (scale < 1)
    torch.testing.assert_close(x.mean(0), target.posterior_mean, rtol=0, atol=1e-10)
    torch.testing.assert_close(torch.cov(x.T), target.posterior_covariance, rtol=0, atol=1e-10)


def test_the_published_numbers() -> None:
    x, _ = eki(exact_ensemble(t2().mean, t2().covariance, 9), lambda x: x @ t2().matrix.T, t2().y, std=1.0)
    torch.testing.assert_close(x.mean(0), torch.tensor([0.290621, -0.013419], dtype=torch.float64), rtol=0, atol=1e-6)
    wanted = torch.tensor([[0.331731, -0.032547], [-0.032547, 0.380552]], dtype=torch.float64)
    torch.testing.assert_close(torch.cov(x.T), wanted, rtol=0, atol=1e-6)


def test_the_first_step_follows_the_misfit() -> None:
    """h = max(m / 2<Phi>, sqrt(m / 2 Var Phi)) by hand."""
    x = Rng(3).normal((50, 1), like=LIKE)
    y, std = torch.tensor([4.0]), 0.2
    phi = 0.5 * ((4.0 - x[:, 0]) / std) ** 2
    _, steps = eki(x, lambda x: x, y, std=std)
    assert float(steps[0]) == pytest.approx(max(0.5 / float(phi.mean()), math.sqrt(0.5 / float(phi.var()))), rel=1e-12)


def test_a_curved_operator_is_followed_better_than_in_one_step() -> None:
    """x ~ N(0, 1) seen through x^3 + 3 x with noise 0.1: the exact mean, by quadrature, is 1.00; one step gives 0.55."""
    x = exact_ensemble(torch.zeros(1).double(), torch.ones(1, 1).double(), 400)

    def forward(x: Tensor) -> Tensor:
        return x**3 + 3 * x

    grid = torch.linspace(-6, 6, 20001, dtype=torch.float64)
    weight = torch.softmax(-0.5 * grid**2 - 0.5 * ((4 - forward(grid)) / 0.1) ** 2, 0)
    exact = float((weight * grid).sum())
    y = torch.tensor([4.0])
    one = float(etkf(x, forward(x), y, std=0.1).mean())
    many = float(eki(x, forward, y, std=0.1)[0].mean())
    print(exact, one, many)
    assert abs(one - exact) > 0.2 and abs(many - exact) < 0.05


def test_most_ends_it_and_another_analysis_is_taken() -> None:
    x = Rng(4).normal((20, 1), like=LIKE)
    y = torch.tensor([9.0])
    seen = []

    def analysis(members: Tensor, predicted: Tensor, std: Tensor) -> Tensor:
        seen.append(float(std))
        return etkf(members, predicted, y, std=std)

    _, steps = eki(x, lambda x: x, y, std=0.01, most=3, analysis=analysis)
    assert len(steps) == 3 and float(steps.sum()) == pytest.approx(1)
    assert seen == pytest.approx([0.01 / math.sqrt(h) for h in steps.tolist()])


def test_bad_input() -> None:
    x = Rng(5).normal((4, 1), like=LIKE)
    with pytest.raises(Diverged, match="4 of 4 members at step 1"):
        eki(x, lambda x: x / 0, torch.zeros(1), std=1.0)
    with pytest.raises(InputError, match="most >= 1"):
        eki(x, lambda x: x, torch.zeros(1), std=1.0, most=0)
