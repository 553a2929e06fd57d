"""Watching a draw: variances of the last estimates, of every member of every start, without changing what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.forecast.restless import Watch
from physdiff.forecast.rollout import Rollout
from physdiff.scores.trajectory_variance import trajectory_variance
from tests.diffusion.small_priors import condition_windows, diffusing, forecaster, series


def test_the_variance_is_that_of_the_last_estimates():
    prior, kept = diffusing(), []
    handle = prior.denoiser.register_forward_hook(lambda _, __, out: kept.append(out.detach()))
    with Watch(prior, 3) as watch:
        prior.sample(2, cond=condition_windows(2), rng=Rng(0))
        found = watch.take()
    handle.remove()
    torch.testing.assert_close(found, trajectory_variance(torch.stack(kept).double(), window=3))
    assert not prior.denoiser._forward_hooks


def test_a_watched_forecast_is_the_same_and_has_the_largest_variance_of_its_blocks():
    prior, ds = diffusing(), series()
    plain = Rollout(prior, 3, 2, rng=Rng(1)).run(ds, starts=[1.0, 3.0])
    with Watch(prior, 2) as watch:
        found = watch.put_into(Rollout(prior, 3, 2, rng=Rng(1), watch=watch, max_batch=3).run(ds, starts=[1.0, 3.0]))
    np.testing.assert_allclose(found["c"], plain["c"], rtol=1e-4, atol=1e-4)
    with Watch(prior, 2) as watch:
        alone = watch.put_into(Rollout(prior, 2, 2, rng=Rng(1), watch=watch).run(ds, starts=[3.0]))["trajectory_variance"]
    got = found["trajectory_variance"]
    assert got.dims == ("init_time", "member") and got.shape == (2, 2)
    assert (got.values > 0).all() and (got.sel(init_time=3.0).values >= alone.sel(init_time=3.0).values - 1e-9).all()
    assert "trajectory_variance" not in plain


def test_what_cannot_be_watched_is_refused():
    with pytest.raises(InputError, match="diffusion prior.*got a Forecaster"):
        Watch(forecaster(), 3)
    for window in (1, 99):
        with pytest.raises(InputError, match="2 to 4 evaluations"):
            Watch(diffusing(), window)
