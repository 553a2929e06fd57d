"""Post-processing finds the bias, damping and spread that were put in, and keeps what it should keep."""

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import to_dataset
from physdiff.evaluation.evaluate import evaluate
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.scores.crps import crps
from physdiff.scores.spread_skill import spread_skill
from physdiff.uq.post_process import gaussian_crps, post_process

GRID = CartesianGrid((6, 8), extent=(1.0, 1.0), periodic=True)
F64 = torch.float64


def world(cases, *, seed=0, first=0, members=20):
    """Truth mu + s e; members off by 2, with anomalies doubled, and three times too narrow."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=F64)

    mu = 280 + 5 * torch.linspace(0, 1, 48, dtype=F64).reshape(6, 8)
    signal, size = normal(cases, 1, 6, 8), 0.5 + torch.rand(cases, 2, 6, 8, generator=g, dtype=F64)
    truth = mu + signal + size * normal(cases, 2, 6, 8)
    x = mu + 2 + 2 * signal + size * normal(members, cases, 2, 6, 8) / 3
    spec = FieldSpec(("t2m",), ("K",), GRID, 1.0, time_unit="1")
    labels = {"sample": np.arange(first, first + cases)}
    y = to_dataset(torch.cat([truth[:, :1], truth], 1)[:, None], spec, np.arange(3.0), batch="sample", coords=labels)
    coords = {**labels, "init_time": 0.0, "lead_time": [1.0, 2.0], "y": y["y"], "x": y["x"]}
    fc = xr.Dataset({"t2m": (("member", "sample", "lead_time", "y", "x"), x.numpy(), {"units": "K"})}, coords=coords, attrs=y.attrs)
    return fc, y


def test_the_numbers_that_were_put_in_are_found():
    fc, _ = world(3, first=1000, seed=2)
    attrs = post_process(fc, with_pairs=world(60, seed=1))["t2m"].attrs
    # y = mu + 0.5 (x - mu - 2) + e: a = -1, b = 0.5 but for the members' own noise in the mean (9e-4 of the signal's 4)
    assert np.allclose(attrs["post_a"], -1.0, atol=0.08) and np.allclose(attrs["post_b"], 0.5, atol=0.03)
    # true d is 3 and c is 0; a spread of 20 members is itself uncertain by 16 %, which moves some of d into c but not their sum
    c, d = (np.array(attrs[k]) for k in ("post_c", "post_d"))
    assert (2.5 < d).all() and (d < 3.1).all()
    # E size^2 = 13/12, E s^2 a ninth of it
    assert np.allclose(c**2 + d**2 * 13 / 108, 13 / 12, rtol=0.06)


@pytest.mark.parametrize("method", ["members", "gaussian"])
def test_scores_become_those_of_a_perfect_ensemble(method):
    fc, y = world(60, first=1000, seed=2)
    better = post_process(fc, with_pairs=world(60, seed=1), method=method)
    scores = {"crps": crps, "ratio": spread_skill}
    raw, new = (evaluate(f, y, scores, by=("lead_time",)) for f in (fc, better))
    assert float(raw["crps"].min()) > 1.5 and float(raw["ratio"].max()) < 0.25
    # E size / sqrt(pi) = 0.564 of the true law, some per cent more for 20 members whose spread is itself uncertain
    assert np.allclose(new["crps"], 0.564, rtol=0.06)
    # quantiles at plotting positions of 20 members have 0.9 of the law's standard deviation, members have all of it
    assert np.allclose(new["ratio"], 1.0 if method == "members" else 0.93, atol=0.06)
    assert better["t2m"].dims == fc["t2m"].dims and better.attrs["post_processing"] == method


def test_isotonic_laws_follow_what_is_not_linear_and_keep_the_order_of_members():
    # truth is exponential around a signal, skewed and more scattered where it is large; members know the signal alone
    def skewed(cases, seed, first):
        fc, y = world(cases, seed=seed, first=first)
        g = torch.Generator().manual_seed(seed + 100)
        signal = torch.rand(cases, 1, 6, 8, generator=g, dtype=F64).expand(cases, 2, 6, 8)
        noise = -torch.log(torch.rand(cases, 2, 6, 8, generator=g, dtype=F64))
        truth = 280 + signal * noise
        members = 280 + signal + 0.05 * torch.randn(20, cases, 2, 6, 8, generator=g, dtype=F64)
        y["t2m"].data[:, 1:] = truth.numpy()
        return fc.assign(t2m=(fc["t2m"].dims, members.numpy(), fc["t2m"].attrs)), y

    pairs, (fc, y) = skewed(40, 1, 0), skewed(30, 2, 1000)
    new = {m: post_process(fc, with_pairs=pairs, method=m) for m in ("gaussian", "isotonic")}
    found = {m: float(evaluate(f, y, {"c": crps})["c"].mean()) for m, f in new.items()}
    print(found)
    # better than the best Gaussian, and near the law itself: an exponential of mean s has a CRPS of s / 2, in the mean 0.25
    assert found["isotonic"] < 0.95 * found["gaussian"] and found["isotonic"] < 1.12 * 0.25
    x, z = fc["t2m"].values, new["isotonic"]["t2m"].values
    rising = np.take_along_axis(z, x.argsort(0), 0)
    assert (np.diff(rising, axis=0) >= 0).all() and new["isotonic"]["t2m"].dims == fc["t2m"].dims


def test_ranks_and_patterns_are_kept():
    fc, _ = world(4, first=1000, seed=2)
    x = fc["t2m"].values
    for method in ("members", "gaussian"):
        new = post_process(fc, with_pairs=world(20, seed=1), method=method)["t2m"].values
        assert (x.argsort(0) == new.argsort(0)).all()
    moved = post_process(fc, with_pairs=world(20, seed=1))["t2m"].values
    z = [(v - v.mean(0)) / v.std(0) for v in (x, moved)]
    assert np.allclose(z[0], z[1], atol=1e-6)


def test_a_perfect_forecast_is_left_alone():
    fc, y = world(60, seed=1)
    truth = y["t2m"].values[:, 1:][None]
    g = np.random.default_rng(0)
    perfect = truth + 0.7 * g.standard_normal((1, *truth.shape[1:])) + 0.7 * g.standard_normal((20, *truth.shape[1:]))
    attrs = post_process(fc.assign(t2m=fc["t2m"].copy(data=perfect)), with_pairs=(fc.assign(t2m=fc["t2m"].copy(data=perfect)), y))["t2m"].attrs
    # truth given the mean is damped by var(truth) / var(mean): 2.1 / 2.6; the spread is that of the error
    assert np.allclose(attrs["post_a"], 0, atol=0.05) and 0.75 < min(attrs["post_b"]) and max(attrs["post_b"]) < 1.0


def test_gaussian_crps_has_the_published_values():
    zero, one = torch.zeros(2, dtype=F64), torch.ones(2, dtype=F64)
    found = gaussian_crps(zero, one, torch.tensor([0.0, 1.0], dtype=F64))
    torch.testing.assert_close(found, torch.tensor([0.233695, 0.602441], dtype=F64), rtol=0, atol=1e-6)


def test_missing_cells_stay_missing():
    fc, y = world(20, seed=1)
    for ds in (fc, y):
        ds["t2m"][..., 0, 0] = np.nan
    new = post_process(fc, with_pairs=(fc, y))["t2m"]
    assert np.isnan(new[..., 0, 0]).all() and np.isfinite(new[..., 1:, :]).all()


def test_refusals():
    pairs = world(20, seed=1)
    fc, _ = world(3, first=1000, seed=2)
    with pytest.raises(InputError, match="method"):
        post_process(fc, with_pairs=pairs, method="emos")
    with pytest.raises(InputError, match="as many members as in the pairs, 20, got 5"):
        post_process(fc.isel(member=slice(5)), with_pairs=pairs)
    with pytest.raises(DataError, match="at least 5 cases"):
        post_process(fc, with_pairs=world(3, seed=1))
    same = pairs[0].copy(data={"t2m": np.broadcast_to(pairs[0]["t2m"].values[:1], pairs[0]["t2m"].shape)})
    with pytest.raises(InputError, match="members that differ"):
        post_process(fc, with_pairs=(same, pairs[1]))
