"""Weights, effective sample size, unbiased resampling by brute force, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import CollapsedWeights, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.ensemble import Ensemble

MEMBERS = torch.arange(5.0, dtype=torch.float64).reshape(5, 1, 1, 1).expand(5, 2, 3, 4).clone()
WEIGHTS = torch.tensor([0.0, 0.05, 0.6, 0.25, 0.1], dtype=torch.float64)


def weighted(shift: float = 0.0) -> Ensemble:
    return Ensemble(MEMBERS, WEIGHTS.log() + shift, {"ess": torch.tensor([3.0, 2.0])})


def test_weights_do_not_depend_on_a_constant() -> None:
    torch.testing.assert_close(weighted().weights, WEIGHTS, rtol=1e-14, atol=0)
    torch.testing.assert_close(weighted(-1e5).weights, WEIGHTS, rtol=1e-9, atol=0)
    assert weighted().log_weights.dtype == Ensemble(MEMBERS, torch.zeros(5)).log_weights.dtype == torch.float64


@pytest.mark.parametrize(("weights", "expected"), [([1, 1, 1, 1], 4.0), ([1, 0, 0, 0], 1.0), ([1, 1, 0, 0], 2.0), ([3, 1, 0, 0], 16 / 10)])
def test_effective_sample_size(weights, expected) -> None:
    ensemble = Ensemble(MEMBERS[:4], torch.tensor(weights).double().log())
    assert math.isclose(ensemble.ess, expected, rel_tol=1e-12)


def test_mean_is_weighted() -> None:
    expected = (WEIGHTS @ torch.arange(5.0).double()).expand(2, 3, 4)
    torch.testing.assert_close(weighted().mean(), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("count", [5, 3, 16])
def test_resampling_is_unbiased_and_even(count) -> None:
    trials = 4000
    ensemble = weighted()
    offspring = torch.stack(
        [torch.bincount(ensemble.resample(Rng(k), count).members[:, 0, 0, 0].long(), minlength=5) for k in range(trials)]
    ).double()
    expected = count * WEIGHTS
    assert bool((offspring.sum(1) == count).all())
    # every count is floor or ceil of its expectation (rounding of the cumulative sums aside), hence its deviation below 1/2: 4 standard errors
    assert bool(((offspring - expected).abs() < 1).all())
    assert bool(((offspring.mean(0) - expected).abs() <= 4 * 0.5 / math.sqrt(trials)).all())


def test_equal_weights_come_back_as_they_are() -> None:
    ensemble = Ensemble.equal(MEMBERS)
    assert torch.equal(ensemble.resample(Rng(3)).members, MEMBERS)


def test_resampling_keeps_the_report_and_names_ancestors() -> None:
    draws = weighted().resample(Rng(0), 8)
    assert draws.equally_weighted and torch.equal(draws.info["ess"], torch.tensor([3.0, 2.0]))
    assert torch.equal(MEMBERS[draws.info["ancestors"]], draws.members)
    with pytest.raises(InputError, match="expected n >= 1, got 0"):
        weighted().resample(Rng(0), 0)


def test_a_member_without_weight_is_never_drawn() -> None:
    log_weights = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf])
    drawn = {float(v) for k in range(50) for v in Ensemble(MEMBERS, log_weights).resample(Rng(k)).members[:, 0, 0, 0]}
    assert drawn == {1.0, 3.0}


def test_who_cannot_weight_refuses_and_names_the_remedy() -> None:
    assert torch.equal(Ensemble.equal(MEMBERS).draws("evaluate"), MEMBERS)
    assert not weighted().equally_weighted
    with pytest.raises(InputError, match=r"evaluate: expected equally weighted members, got an effective 2\.\d of 5; use ensemble\.resample\(rng\)"):
        weighted().draws("evaluate")
    # log weights of a sampler that adds and subtracts the same number differ by rounding alone
    assert Ensemble(MEMBERS, torch.full((5,), 0.1).double() + torch.tensor([0, 1e-16, 0, 0, 0]).double()).equally_weighted


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_collapsed_weights(bad) -> None:
    with pytest.raises(CollapsedWeights, match="temper"):
        Ensemble(MEMBERS, torch.tensor([0.0, bad, 0.0, 0.0, 0.0]))
    with pytest.raises(CollapsedWeights, match="temper"):
        Ensemble(MEMBERS, torch.full((5,), -torch.inf))
    with pytest.raises(ShapeError, match="expected 5 log weights"):
        Ensemble(MEMBERS, torch.zeros(4))
