"""What a file holds under a mask is no value: 1e30 there, 0 or nothing must give the same windows, statistics, losses, forecasts and scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset, to_tensor
from physdiff.data.statistics import fitted
from physdiff.data.windows import TrajectoryWindows
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.persistence import persistence
from physdiff.forecast.rollout import rollout
from physdiff.networks.unet import UNet
from physdiff.scores.crps import crps
from physdiff.scores.pointwise import ensemble_rmse
from physdiff.training.encoded import encode_batch
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.anomaly import Anomaly
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform
from tests.data.files import earth

UNDER = (0.0, 1e30, np.nan)


def with_island(value: float, frames: int = 30) -> xr.Dataset:
    """Eight by eight points, of which four by three have no values and hold `value`; `sea` says where values are."""
    ds = earth(frames, ny=8, nx=8)
    sea = np.ones((8, 8))
    sea[2:6, 3:6] = 0
    values = np.where(sea, ds["t2m"].values, np.float32(value))
    return ds.assign(t2m=ds["t2m"].copy(data=values.astype(np.float32)), sea=(("latitude", "longitude"), sea, {"units": "1"}))


def same(a: torch.Tensor | None, b: torch.Tensor | None) -> None:
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("under", UNDER[1:])
def test_windows_tensors_and_statistics(under):
    a, b = with_island(0.0), with_island(under)
    spec = spec_of(a, ["t2m"], mask="sea")
    same(to_tensor(a, spec), to_tensor(b, spec))
    first, second = (TrajectoryWindows(ds, history=1, horizon=2, spec=spec, extras=("hour_sin", "hour_cos"), statics=("mask",)) for ds in (a, b))
    for i in (0, 11):
        assert bool(second[i]["x"][..., 2:6, 3:6].isnan().all()) and bool(second[i]["cond"].isfinite().all())
        for name in ("x", "cond"):
            same(first[i][name], second[i][name])
    for transform in (Normalizer(("channel", "space")), WaveletTransform("haar", 1), Anomaly("hour")):
        for p, q in zip(fitted(transform, first).state_dict().items(), fitted(transform, second).state_dict().items(), strict=True):
            same(p[1], q[1])


@pytest.fixture(scope="module")
def prior():
    """Untrained, with its data; the mask is what never has a value."""
    recipe = Recipe(history=1, horizon=1, wavelet="haar", levels=1, steps=2)
    return prepare(with_island(np.nan)[["t2m"]], recipe, network=lambda i, o, **k: UNet(i, o, width=8, **k), batch_size=4, seed=0)[0].eval()


@pytest.mark.parametrize("under", UNDER[1:])
def test_what_is_trained_on_and_how_it_is_weighed(prior, under):
    batches = []
    for value in (0.0, under):
        windows = TrajectoryWindows(with_island(value), history=1, horizon=1, spec=prior.spec, extras=("hour_sin", "hour_cos"))
        batch = [windows[i] for i in range(4)]
        x, cond = (torch.stack([item[n] for item in batch]) for n in ("x", "cond"))
        batches.append(encode_batch(prior, x, cond[:, : len(prior.cond_spec.names)]))
    assert batches[0][2] is not None and float(batches[0][2].min()) == 0.0
    for p, q in zip(*batches, strict=True):
        same(p, q)


def test_forecasts_have_nothing_there_and_do_not_see_it(prior):
    made = [rollout(prior, with_island(value, frames=6)[["t2m"]], lead=2, members=2, every=3, rng=Rng(0)) for value in UNDER]
    field = made[0]["t2m"].values
    sea = with_island(0.0)["sea"].values.astype(bool)
    assert np.isnan(field[..., ~sea]).all() and np.isfinite(field[..., sea]).all()
    for other in made[1:]:
        np.testing.assert_array_equal(field, other["t2m"].values)


def test_scores_do_not_see_it(prior):
    spec = spec_of(with_island(np.nan), ["t2m"], mask=True)
    tables = []
    for value in UNDER:
        truth = with_island(value)[["t2m"]]
        forecast = persistence(with_island(np.nan)[["t2m"]], lead=3)
        one = forecast.isel(member=0) if "member" in forecast.dims else forecast
        forecast = xr.concat([one, one + 1], "member").assign_coords(member=[0, 1])
        forecast["t2m"].attrs["units"] = "K"
        tables.append(evaluate(forecast, truth, {"crps": crps, "rmse": ensemble_rmse}))
    for other in tables[1:]:
        for name in tables[0].data_vars:
            np.testing.assert_array_equal(tables[0][name].values, other[name].values)
    assert np.isfinite(tables[0]["crps"].values).all()
    out = to_dataset(torch.full((1, 2, 8, 8), 1e30), spec.with_frames(2), batch=())
    assert np.isnan(out["t2m"].values[:, 2:6, 3:6]).all()


def test_windows_across_gaps_are_counted():
    ds = earth(20, hours=np.delete(np.arange(23), [9, 10, 11]))
    windows = TrajectoryWindows(ds, history=1, horizon=3)
    assert windows.skipped == 3 and len(windows) + windows.skipped == 17
    assert TrajectoryWindows(earth(20), history=1, horizon=3).skipped == 0
    thinned = TrajectoryWindows(ds, history=1, horizon=3, stride=2)
    assert thinned.skipped == 9 - len(thinned)
