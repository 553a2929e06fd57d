"""Chains: a banana and a funnel of known moments, adaptation of step and mass, divergences told, worded errors."""

from __future__ import annotations

import logging
import math
from functools import partial

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import CollapsedWeights, InputError
from physdiff.base.rng import Rng
from physdiff.inference.chains import Chains, DualAveraging, run_chains
from physdiff.inference.hamiltonian import Point, Target, hmc_move, nuts_move
from physdiff.inference.mixing import bulk_size

LIKE = torch.zeros((), dtype=torch.float64)


def of(log_density) -> Target:
    def target(z: Tensor) -> Point:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = log_density(z)
            (slope,) = torch.autograd.grad(value.sum(), z)
        return Point(z.detach(), value.detach(), slope, z.detach())

    return target


def banana(z: Tensor) -> Tensor:
    """x ~ N(0, 1), y = x^2 + N(0, 1): means (0, 1), variances (1, 3), covariance 0."""
    return -0.5 * z[:, 0] ** 2 - 0.5 * (z[:, 1] - z[:, 0] ** 2) ** 2


def funnel(z: Tensor) -> Tensor:
    """v ~ N(0, 1), x ~ N(0, e^v): means 0, variances 1 and e^(1/2)."""
    return -0.5 * z[:, 0] ** 2 - 0.5 * z[:, 1] ** 2 * torch.exp(-z[:, 0]) - 0.5 * z[:, 0]


def check_means(chains: Chains, functions: Tensor, exact: list[float]) -> None:
    """Means of functions (chains, draws, k) within 4 standard errors of Monte Carlo: chains are independent, and their means give it."""
    each = functions.mean(1)
    off = (each.mean(0) - torch.tensor(exact).double()) / (each.std(0) / math.sqrt(len(each)))
    assert bool((off.abs() < 4).all()), off
    # many short chains: R-hat of 50 dependent draws is above one by itself
    assert float(bulk_size(functions).min()) > 300 and float(chains.quality()["rhat"]) < 1.2


@pytest.mark.parametrize(
    "move", [partial(hmc_move, length=8), pytest.param(partial(nuts_move, depth=5), marks=pytest.mark.slow)], ids=["HMC", "NUTS"]
)
def test_a_banana(move) -> None:
    chains = run_chains(of(banana), Rng(0).normal((100, 2), like=LIKE), move, draws=40, warmup=60, rng=Rng(1), acceptance=0.9)
    x, y = chains.images.unbind(-1)
    check_means(chains, torch.stack([x, y, x**2, (y - 1) ** 2, x * (y - 1)], -1), [0, 1, 1, 3, 0])


@pytest.mark.slow
@pytest.mark.parametrize("move", [partial(hmc_move, length=10), nuts_move], ids=["HMC", "NUTS"])
def test_a_funnel(move) -> None:
    chains = run_chains(of(funnel), Rng(0).normal((100, 2), like=LIKE), move, draws=400, warmup=150, rng=Rng(1), acceptance=0.95)
    v, x = chains.images.unbind(-1)
    check_means(chains, torch.stack([v, x, v**2, x**2], -1), [0, 0, 1, math.exp(0.5)])


def test_step_and_mass_follow_the_target() -> None:
    """Scales 0.01 to 100: the inverse mass finds the variances, pooled over 40 chains, and the acceptance is the one aimed at."""
    scale = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    chains = run_chains(
        of(lambda z: -0.5 * (z / scale).square().sum(1)), scale * Rng(0).normal((40, 3), like=LIKE), hmc_move, draws=30, warmup=100, rng=Rng(2)
    )
    # 40 chains in the last window of 50 or more moves: hundreds of independent draws;
    # the smallest is shrunk towards one by 5 in 2000
    assert bool(((chains.inverse_mass / scale**2)[1:].log().abs() < 0.4).all()) and float(chains.inverse_mass[0]) < 0.01
    # in three dimensions acceptance falls from one to zero within a factor of two of the step
    assert 0.65 < float(chains.acceptance) < 0.97


def test_dual_averaging_finds_the_step() -> None:
    """Acceptance e^-step: the step of acceptance 0.8 is 0.223."""
    rate = DualAveraging(1.0, 0.8)
    for _ in range(1000):
        rate.update(math.exp(-rate.step))
    assert rate.final == pytest.approx(-math.log(0.8), rel=0.03)


def test_divergences_are_counted_and_told(caplog) -> None:
    def neck(z: Tensor) -> Tensor:
        return -0.5 * z[:, 0] ** 2 / 9 - 0.5 * z[:, 1] ** 2 * torch.exp(-2 * z[:, 0]) - z[:, 0]

    with caplog.at_level(logging.WARNING):
        chains = run_chains(of(neck), Rng(0).normal((50, 2), like=LIKE), hmc_move, draws=30, warmup=10, rng=Rng(1), acceptance=0.5, what="HMC")
    assert chains.divergences > 0
    assert f"HMC: {chains.divergences} of 1500 moves diverged" in caplog.text and "higher acceptance" in caplog.text


def test_the_same_key_gives_the_same_chains() -> None:
    a, b = (run_chains(of(banana), Rng(0).normal((3, 2), like=LIKE), nuts_move, draws=2, warmup=3, rng=Rng(1)) for _ in range(2))
    assert torch.equal(a.images, b.images) and a.step_size == b.step_size and torch.equal(a.gradients, b.gradients)


def test_bad_input() -> None:
    start = Rng(0).normal((3, 2), like=LIKE)
    for words in ({"draws": 0}, {"warmup": -1}, {"acceptance": 1.0}):
        with pytest.raises(InputError, match="draws >= 1, warmup >= 0"):
            run_chains(of(banana), start, hmc_move, **{"draws": 4, "rng": Rng(0), **words})
    with pytest.raises(CollapsedWeights, match="got none for 3 of 3; raise the noise std"):
        run_chains(of(lambda z: z.sum(1) - torch.inf), start, hmc_move, draws=4, rng=Rng(0))
