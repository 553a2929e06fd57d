"""The noise at which spread meets error, on a drift whose flow is too narrow."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.evaluation.match_spread import _crossing, match_spread
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import line, tiny


def test_crossing() -> None:
    noises = np.array([0.0, 1.0, 2.0])
    assert _crossing(noises, np.exp([-1.0, 1.0, 2.0])) == pytest.approx(0.5)
    assert _crossing(noises, np.array([0.2, 0.5, 0.9])) == 2.0 and _crossing(noises, np.array([1.1, 1.5, 2.0])) == 0.0


def test_from_training_to_a_chosen_noise() -> None:
    prior, data = prepare(line(6), Recipe(history=2, horizon=2, process="interpolant", steps=4), network=tiny, seed=0)
    assert isinstance(prior, InterpolantPrior) and prior.start == "centre"
    fit(DiffusionModule(prior, 1e-2, 0.9), data, max_steps=4, progress=False)
    chosen, found = match_spread(prior, line(4, key="test"), cases=3, members=3, noises=(0.1, 1.0), rng=Rng(2))
    assert 0.1 <= chosen.sampler.noise <= 1.0 and chosen.sampler.noise == found.attrs["chosen"]
    assert found["spread_skill"].shape == (2,) and bool((found["spread_skill"] > 0).all())
    with pytest.raises(InputError, match="increasing"):
        match_spread(prior, line(4), noises=(1.0, 0.1))
