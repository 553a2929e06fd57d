"""Perturbed beginnings: the covariance asked for, in the first block alone, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.input_perturbed import InputPerturbed
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.rollout import Rollout
from tests.diffusion.small_priors import Cells, condition_windows, forecaster, series

DIFFERENCES = Rng(9).normal((6, 1, 2, 4, 5))


def test_known_frames_are_moved_by_the_differences_both_ways():
    cond, size, n = condition_windows(1), 0.4, 600
    drawn = InputPerturbed(forecaster(), DIFFERENCES, size).sample(n, cond=cond, rng=Rng(0), max_batch=n)
    moved = (drawn[:, :, :2] - cond[:, :1, :2]) * 2**0.5 / size
    # each is plus or minus one of the six, all of them appear
    match = torch.stack([torch.minimum((moved - d).abs().amax((1, 2, 3, 4)), (moved + d).abs().amax((1, 2, 3, 4))) for d in DIFFERENCES])
    assert float(match.amin(0).max()) < 1e-4
    counts = torch.bincount(match.argmin(0), minlength=6)
    # 600 draws among six: 100 each, standard deviation 9.1
    assert bool(((counts - 100).abs() < 4 * 9.2).all())
    signs = (moved * DIFFERENCES[match.argmin(0)]).sum((1, 2, 3, 4)).sign()
    assert abs(float(signs.mean())) < 4 / n**0.5


def test_a_forecast_is_that_of_the_prior_from_moved_states():
    prior, ds = forecaster(), series()
    made = InputPerturbed(prior, DIFFERENCES[:1], 0.4)
    found = Rollout(made, 4, 2, rng=Rng(1)).run(ds, starts=[1.0])
    assert made.onward is prior
    moved = {}
    for sign in (1.0, -1.0):
        part = ds.isel(time=slice(0, 2)).copy(deep=True)
        part["c"][:] += (sign * 0.4 / 2**0.5 * DIFFERENCES[0, 0]).numpy()
        moved[sign] = Rollout(prior, 4, 1, rng=Rng(1)).run(part)["c"].isel(member=0, init_time=0).values
    for k in range(2):
        values = found["c"].isel(member=k, init_time=0).values
        # two blocks: the second is not perturbed again
        assert min(np.abs(values - m).max() for m in moved.values()) < 1e-5


def test_gaps_perturb_nothing_and_no_size_is_the_prior():
    prior, cond = forecaster(), condition_windows(2)
    gap = DIFFERENCES.clone()
    gap[:, :, :, 0, 0] = float("nan")
    drawn = InputPerturbed(prior, gap, 0.5).sample(2, cond=cond, rng=Rng(0))
    assert torch.equal(drawn[..., :2, 0, 0], cond[:, :1, :2, 0, 0])
    torch.testing.assert_close(InputPerturbed(prior, gap, 0.0).sample(2, cond=cond, rng=Rng(0)), prior.sample(2, cond=cond, rng=Rng(0)))


def test_it_is_saved_and_bad_input_is_refused(tmp_path):
    made, cond = InputPerturbed(forecaster(), DIFFERENCES, 0.3), condition_windows(1)
    made.save(tmp_path / "a.prior")
    back = WindowPrior.load(tmp_path / "a.prior", classes=(Cells,))
    assert torch.equal(back.sample(3, cond=cond, rng=Rng(0)), made.sample(3, cond=cond, rng=Rng(0)))
    with pytest.raises(ShapeError, match="differences"):
        InputPerturbed(forecaster(), DIFFERENCES[..., 1:], 0.3)
    with pytest.raises(InputError, match="size"):
        InputPerturbed(forecaster(), DIFFERENCES, -1.0)
    with pytest.raises(InputError, match="conditional: expected cond"):
        made.sample(1, rng=Rng(0))
