"""Many weights as one prior: each draw is the prior with its own weights, kept through a forecast; what does not belong together is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.weight_ensemble import WeightEnsemble
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.forecast_models import PriorModel
from physdiff.forecast.keyed_rows import KeyedRows
from physdiff.forecast.rollout import Rollout
from tests.diffusion.small_priors import Cells, condition_windows, diffusing, forecaster, series


def with_weights(prior, row):
    nn.utils.vector_to_parameters(row, [p for p in prior.model.parameters() if p.requires_grad])
    return prior


def rows(prior, count=3):
    now = nn.utils.parameters_to_vector(prior.model.parameters()).detach()
    return now + 0.1 * Rng(5).normal((count, len(now)), like=now)


def test_each_draw_is_the_prior_with_its_own_weights():
    prior, cond = forecaster(), condition_windows(1)
    weights = rows(prior)
    drawn = WeightEnsemble(prior, weights).sample(5, cond=cond, rng=Rng(0), max_batch=2)
    again = WeightEnsemble(prior, weights).sample(3, cond=cond.expand(3, *cond.shape[1:]), rng=Rng(0), numbers=[4, 2, 0])
    for k in range(5):
        alone = with_weights(forecaster(), weights[k % 3]).sample(1, cond=cond, rng=Rng(0))[0]
        torch.testing.assert_close(drawn[k], alone)
    torch.testing.assert_close(again, drawn[[1, 2, 0]])
    assert not torch.allclose(drawn[0], drawn[1])


def test_the_weights_of_the_prior_are_left_alone():
    prior = forecaster()
    before = nn.utils.parameters_to_vector(prior.model.parameters()).detach().clone()
    WeightEnsemble(prior, rows(prior)).sample(4, cond=condition_windows(1), rng=Rng(0))
    assert torch.equal(before, nn.utils.parameters_to_vector(prior.model.parameters()).detach())


def test_a_member_keeps_its_weights_through_all_blocks():
    prior, ds = forecaster(), series()
    weights = rows(prior)
    # three blocks, batches that do not end with a start's members
    found = Rollout(WeightEnsemble(prior, weights), 5, 4, rng=Rng(1), max_batch=3).run(ds, starts=[1.0, 3.0])
    assert prior.spec.frames - 2 == 2
    for k in range(4):
        alone = Rollout(with_weights(forecaster(), weights[k % 3]), 5, 1, rng=Rng(1)).run(ds, starts=[1.0, 3.0])
        np.testing.assert_allclose(found["c"].isel(member=k), alone["c"].isel(member=0), rtol=1e-5, atol=1e-5)


def test_members_of_an_analysis_cycle_are_those_of_the_weights():
    prior = forecaster()
    weights = rows(prior)
    known = condition_windows(1)[:, :1, :2].repeat(4, 1, 1, 1, 1)
    drawn = PriorModel(WeightEnsemble(prior, weights), max_batch=3).forecast(known, 0.0, steps=3, rng=Rng(0))
    for k in range(4):
        alone = PriorModel(with_weights(forecaster(), weights[k % 3])).forecast(known[:1], 0.0, steps=3, rng=Rng(0))
        torch.testing.assert_close(drawn[k], alone[0], rtol=1e-5, atol=1e-5)


def test_a_prior_that_draws_keeps_the_noise_of_each_row():
    # one vector of weights, the prior's own: keyed rows have the noise they would have without
    prior, cond = diffusing(), condition_windows(3)
    own = nn.utils.parameters_to_vector(prior.model.parameters()).detach()
    keys = KeyedRows.of(Rng(2).child("row", k) for k in range(3))
    for weights in (own[None], own.repeat(2, 1)):
        got = WeightEnsemble(prior, weights).sample(3, cond=cond, rng=keys)
        torch.testing.assert_close(got, prior.sample(3, cond=cond, rng=keys), rtol=1e-4, atol=1e-4)


def test_the_deep_ensemble_of_trainings_and_what_is_none():
    first, second = forecaster(seed=0), forecaster(seed=1)
    both = WeightEnsemble.of([first, second])
    cond = condition_windows(1)
    for k, prior in enumerate((first, second)):
        torch.testing.assert_close(both.sample(2, cond=cond, rng=Rng(0))[k], prior.sample(1, cond=cond, rng=Rng(0))[0])
    with pytest.raises(InputError, match="two priors"):
        WeightEnsemble.of([first])
    with pytest.raises(InputError, match="weights of their networks alone"):
        WeightEnsemble.of([first, forecaster(width=5)])
    with pytest.raises(InputError, match="weights of their networks alone.*number 1"):
        WeightEnsemble.of([first, forecaster(std=2.0)])


def test_it_is_saved_with_all_its_weights(tmp_path):
    prior = forecaster()
    made = WeightEnsemble(prior, rows(prior))
    made.save(tmp_path / "a.prior", card={"x": 1})
    back = WindowPrior.load(tmp_path / "a.prior", classes=(Cells,))
    assert isinstance(back, WeightEnsemble)
    cond = condition_windows(1)
    assert torch.equal(back.sample(3, cond=cond, rng=Rng(0)), made.sample(3, cond=cond, rng=Rng(0)))


def test_bad_weights_are_refused():
    prior = forecaster()
    with pytest.raises(ShapeError, match="weights"):
        WeightEnsemble(prior, torch.zeros(2, 3))
    bad = rows(prior)
    bad[0, 0] = float("nan")
    with pytest.raises(InputError, match="finite"):
        WeightEnsemble(prior, bad)
    with pytest.raises(InputError, match="numbers of members"):
        prior.sample(2, cond=condition_windows(1), rng=Rng(0), numbers=[0])
