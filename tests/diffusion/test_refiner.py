"""Refined forecasts: the levels, the posterior mean at each by closed form, what training asks, storage, roll-out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.refiner import RefinedMap, Refiner
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.rollout import rollout
from physdiff.inference.posterior import Posterior
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import line, tiny

RECIPE = Recipe(history=1, horizon=2, guess="increment", process="refiner")


class Exact(Saved, nn.Module):
    """The best network for z ~ N(2 c, s^2), biased by `off` where it has seen nothing of z."""

    ndim = 1

    def __init__(self, s: float, off: float = 0.0) -> None:
        super().__init__()
        self.s, self.off = s, off

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        z, c = x.chunk(2, 1)
        sigma = torch.exp(4 * level)
        return 2 * c + self.off if float(sigma) == 1 else sigma * (z - 2 * c) / (self.s**2 + sigma**2)


def walked(net: nn.Module, *, refinements: int, smallest: float, n: int = 4096) -> torch.Tensor:
    model = RefinedMap(net, refinements, smallest)
    prior = Refiner.__new__(Refiner)
    nn.Module.__init__(prior)
    prior.map, prior.cond_transform = model, None
    prior.encode_cond = lambda completed: completed  # type: ignore[method-assign]
    return prior.draw(Rng(0).normal((n, 1, 1, 4)).double(), torch.ones(1, 1, 1, 4).double(), rng=Rng(1))


def test_levels_are_geometric_and_begin_at_one():
    sigma = RefinedMap(Exact(1.0), 4, 1e-4).sigma(torch.arange(5.0).double())
    torch.testing.assert_close(sigma, torch.logspace(0, -4, 5).double(), rtol=1e-5, atol=0)  # logspace in float32


def test_mean_and_variance_follow_the_closed_recursion():
    """Each level replaces z by the posterior mean of its noised self: error and variance shrink by s^2/(s^2 + sigma^2)."""
    s, off, v = 0.05, 0.3, 0.0
    for sigma in (0.1 ** (k / 2) for k in (1, 2, 3)):
        share = s**2 / (s**2 + sigma**2)
        off, v = off * share, share**2 * (v + sigma**2)
    z = walked(Exact(s, 0.3), refinements=3, smallest=10**-1.5)
    count = z.numel()
    assert abs(float(z.mean()) - 2 - off) < 4 * math.sqrt(v / count)  # four standard errors
    assert abs(float(z.var()) / v - 1) < 4 * math.sqrt(2 / count)


def test_where_the_answer_is_certain_every_error_is_taken_out():
    z = walked(Exact(0.0, 0.3), refinements=2, smallest=0.1, n=2)
    torch.testing.assert_close(z, torch.full_like(z, 2.0), rtol=1e-12, atol=1e-12)


def test_what_the_network_is_asked():
    model, z, noise = RefinedMap(Exact(1.0), 2, 0.01), torch.randn(3, 1, 1, 4), torch.randn(3, 1, 1, 4)
    given, wanted = model.asked(z, torch.tensor([0.0, 1.0, 2.0]), noise)
    assert torch.equal(given[0], torch.zeros(1, 1, 4)) and torch.equal(wanted[0], z[0])
    torch.testing.assert_close(given[1:], z[1:] + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1) * noise[1:])
    assert torch.equal(wanted[1:], noise[1:])


def test_from_a_recipe_saved_and_rolled_out(tmp_path):
    ds = line()
    prior, _ = prepare(ds, RECIPE, network=tiny)
    assert isinstance(prior, Refiner) and prior.steps == 4
    prior.save(tmp_path / "a")
    again, cond = WindowPrior.load(tmp_path / "a"), torch.randn(1, 2, 3, 16)
    draws = prior.sample(3, cond=cond, rng=Rng(0))
    assert torch.equal(draws, again.sample(3, cond=cond, rng=Rng(0))) and draws.shape == (3, 1, 3, 16)
    torch.testing.assert_close(draws[:1], prior.sample(1, cond=cond, rng=Rng(0)), rtol=1e-4, atol=1e-3)
    assert rollout(prior, ds, lead=3, members=2, rng=Rng(0), starts=[0.0])["u"].notnull().all()
    with pytest.raises(InputError, match="no uncertainty"):
        Posterior(prior, [])


def test_choices_and_shapes_that_do_not_fit_are_refused():
    for bad in ({"refinements": 0}, {"smallest": 1.0}):
        with pytest.raises(InputError, match="refinements"):
            RefinedMap(Exact(1.0), **bad)
    with pytest.raises(InputError, match="condition"):
        RefinedMap(Exact(1.0))(torch.zeros(1, 1, 1, 4), torch.zeros(()))
    with pytest.raises(ShapeError, match="1 axes"):
        RefinedMap(Exact(1.0))(torch.zeros(1, 1, 2, 4), torch.zeros(()), torch.zeros(1, 1, 2, 4))
