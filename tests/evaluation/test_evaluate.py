"""Averages against loops, alignment against closed forms, and what is refused."""

from __future__ import annotations

import math
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError, GridMismatch, InputError, ShapeError, UnitError
from physdiff.base.rng import Rng
from physdiff.data import cases
from physdiff.data.convert import grid_of
from physdiff.data.leads import KnownFrames, forecast_of
from physdiff.evaluation.climatology import climatology
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.persistence import persistence
from physdiff.inference.ensemble import Ensemble
from physdiff.scores.crps import biased_crps, crps
from physdiff.scores.energy_score import energy_score
from physdiff.scores.pointwise import ensemble_rmse, mae, rmse, squared_error_of_mean
from physdiff.scores.rank_histogram import rank_histogram
from physdiff.scores.spectrum import log_spectral_distance
from physdiff.scores.spread_skill import spread_skill
from tests.evaluation.processes import hourly, latlon_spec, simulations


def noisy(ds: xr.Dataset, members: int = 4, lead: int = 3, history: int = 1) -> xr.Dataset:
    """Random members, a shift of its own for each start."""
    known = KnownFrames(ds, history=history)
    channels, shape = len(known.spec.names), known.spec.grid.shape

    def make(trajectory: int, start: int) -> torch.Tensor:
        return 280.0 + known.rng(Rng(5), trajectory, start).normal((members, channels, lead, *shape))

    return forecast_of(known, make, lead=lead, members=members)


def frames(ds: xr.Dataset, fc: xr.Dataset, name: str):
    """(start, lead, members (m, *S), truth (*S)) by plain loops over the times that the truth has."""
    for i, init in enumerate(fc["init_time"].values):
        for k, lead in enumerate(fc["lead_time"].values):
            hit = np.flatnonzero(np.isclose((ds["time"].values - (init + lead)).astype(np.float64), 0.0))
            if hit.size:
                yield i, k, torch.from_numpy(fc[name].values[i, :, k]), torch.from_numpy(ds[name].values[int(hit[0])])


def test_by_lead_time_it_is_the_loop_over_starts():
    ds = hourly(10)
    fc, weights = noisy(ds), grid_of(ds).weights()
    found = evaluate(fc, ds, {"crps": crps, "rmse": ensemble_rmse, "spectral": partial(log_spectral_distance, zonal=True, periodic=False)})
    assert found["crps"].dims == ("variable", "lead_time") and found["cases"].values.tolist() == [9, 8, 7]
    for k in range(3):
        mine = [(x, y) for _, j, x, y in frames(ds, fc, "t2m") if j == k]
        at = found.sel(variable="t2m").isel(lead_time=k)
        # float64 truth, float32 members of 280 K
        assert float(at["crps"]) == pytest.approx(np.mean([float(crps(x, y, weights)) for x, y in mine]), rel=1e-6)
        assert float(at["rmse"]) == pytest.approx(math.sqrt(np.mean([float(squared_error_of_mean(x, y, weights)) for x, y in mine])), rel=1e-6)
        spectral = [float(log_spectral_distance(x, y, weights, zonal=True, periodic=False)) for x, y in mine]
        assert float(at["spectral"]) == pytest.approx(np.mean(spectral), rel=1e-6)


@pytest.mark.parametrize("by", [(), ("init_time",), ("init_time", "lead_time"), ("lead_time", "init_time"), ("region", "lead_time")])
def test_any_choice_of_dims_is_the_loop(by):
    ds = hourly(8)
    fc, area = noisy(ds), grid_of(ds).weights()
    north = torch.zeros(6, 9, dtype=torch.bool)
    north[:2] = True
    regions = {"north": north, "all": torch.ones_like(north)} if "region" in by else None
    found = evaluate(fc, ds, {"ssr": spread_skill, "crps": crps}, by=by, regions=regions)
    assert found["crps"].dims == ("variable", *by)
    sums: dict[tuple, list] = {}
    for i, k, x, y in frames(ds, fc, "t2m"):
        for region, where in (regions or {"": torch.ones_like(north)}).items():
            key = tuple({"init_time": i, "lead_time": k, "region": ["north", "all"].index(region) if regions else 0}[d] for d in by)
            weights = area * where
            sums.setdefault(key, []).append([float(crps(x, y, weights)), *(float(part(x, y, weights)) for part in spread_skill.parts)])
    for key in np.ndindex(*(found.sizes[d] for d in by)):
        at = found.isel(variable=0, **dict(zip(by, key, strict=True)))
        assert int(at["cases"]) == len(sums.get(key, []))
        if key not in sums:
            assert math.isnan(float(at["crps"])) and math.isnan(float(at["ssr"]))
            continue
        mean = np.mean(sums[key], axis=0)
        assert float(at["crps"]) == pytest.approx(mean[0], rel=1e-6)
        assert float(at["ssr"]) == pytest.approx(math.sqrt(mean[1] / mean[2]), rel=1e-6)


def test_a_perfect_ensemble_has_no_error():
    ds = hourly(9)
    known = KnownFrames(ds.isel(time=slice(0, 6)))
    truth = ds.astype(np.float32)
    fc = forecast_of(known, lambda t, s: torch.from_numpy(truth["t2m"].values[s + 1 : s + 4]).expand(5, 1, -1, -1, -1), lead=3, members=5)
    found = evaluate(fc, truth, {"crps": crps, "energy": energy_score, "rmse": rmse})
    assert all((found[name] == 0).all() for name in ("crps", "energy", "rmse")) and (found["cases"] == 6).all()


def test_the_closed_forms_of_an_ar1_process():
    phi, frames_, spec = 0.9, 400, latlon_spec(12, 16)
    ds = hourly(frames_, phi, spec=spec, cycle=0.0)
    truth, train = ds.isel(time=slice(240, None)), ds.isel(time=slice(0, 240))
    lead = np.arange(1, 7)
    error = evaluate(persistence(truth, None, 6), truth, {"mae": mae})["mae"].sel(variable="t2m").values
    exact = np.sqrt(2 * (1 - phi**lead)) * math.sqrt(2 / math.pi)
    # 160 x 192 cells; correlated over (1 + phi)/(1 - phi) = 19 frames: about 1600 free numbers of relative spread 0.76, four standard errors
    assert np.abs(error / exact - 1).max() < 4 * 0.76 / math.sqrt(1600)
    score = evaluate(climatology(train, truth, lead=6, members=10), truth, {"crps": crps})["crps"].values
    # of two standard normal numbers E|X-Y| = 2/sqrt(pi), so the fair CRPS of the climate is 1/sqrt(pi), at any lead
    assert np.abs(score * math.sqrt(math.pi) - 1).max() < 4 * 0.76 / math.sqrt(1600)


def test_simulations_are_scored_sample_by_sample():
    ds = simulations(4, 6)
    fc = noisy(ds)
    found = evaluate(fc.isel(sample=[2, 0]), ds, {"crps": crps}, by=("sample", "lead_time"))
    assert found["sample"].values.tolist() == [12, 10] and found["variable"].values.tolist() == ["c", "d"]
    for k, label in enumerate((12, 10)):
        one = evaluate(fc.sel(sample=label, drop=True), ds.sel(sample=label, drop=True), {"crps": crps})
        np.testing.assert_allclose(found["crps"].values[:, k], one["crps"].values, rtol=1e-12)
    pooled = evaluate(fc, ds, {"crps": crps})
    np.testing.assert_allclose(pooled["crps"], evaluate(fc, ds, {"crps": crps}, by=("sample", "lead_time"))["crps"].mean("sample"), rtol=1e-12)


def test_an_analysis_is_scored_at_its_own_times():
    ds = hourly(6)
    members = (ds["t2m"] + 2.0).expand_dims(member=3).to_dataset()
    found = evaluate(members.isel(time=[4, 1]), ds, {"rmse": ensemble_rmse}, by=("time",))
    np.testing.assert_allclose(found["rmse"].values, 2.0, rtol=1e-12)
    assert (found["time"].values == ds["time"].values[[4, 1]]).all()
    assert float(evaluate(ds, ds, {"crps": biased_crps}, by=())["crps"].sum()) == 0.0


def test_the_order_of_dims_and_of_starts_does_not_matter():
    ds = hourly(8)
    fc = noisy(ds)
    plain = evaluate(fc, ds, {"crps": crps})
    mixed = fc.isel(init_time=[3, 0, 7, 5, 1, 2, 6, 4]).transpose("longitude", "lead_time", "member", "latitude", "init_time")
    turned = evaluate(mixed, ds, {"crps": crps})
    np.testing.assert_allclose(turned["crps"], plain["crps"], rtol=1e-12)


def test_missing_truth_is_left_out_and_a_missing_forecast_is_not():
    ds = hourly(8)
    fc = noisy(ds)
    gone = ds.copy(deep=True)
    gone["t2m"][4] = np.nan
    found = evaluate(fc, gone, {"crps": crps})
    assert found["cases"].values.tolist() == [6, 5, 4] and bool(found["crps"].notnull().all())
    shorter = evaluate(fc, ds.isel(time=[0, 1, 2, 3, 5, 6, 7]), {"crps": crps})
    np.testing.assert_allclose(found["crps"], shorter["crps"], rtol=1e-12)
    broken = fc.copy(deep=True)
    broken["t2m"][2, :, 1] = np.nan
    assert np.isnan(evaluate(broken, ds, {"crps": crps})["crps"].values[0]).tolist() == [False, True, False]


def test_cells_without_truth_are_left_out():
    ds = hourly(8)
    fc, holes = noisy(ds), ds.copy(deep=True)
    holes["t2m"][:, :3] = np.nan
    south = torch.zeros(6, 9, dtype=torch.bool)
    south[3:] = True
    where = xr.DataArray(south.numpy(), dims=("latitude", "longitude"))
    region = evaluate(fc, ds, {"crps": crps}, by=("lead_time", "region"), regions={"south": where})
    np.testing.assert_allclose(evaluate(fc, holes, {"crps": crps})["crps"], region["crps"].isel(region=0), rtol=1e-12)


def test_a_histogram_keeps_its_bins():
    ds = hourly(8)
    found = evaluate(noisy(ds, members=4), ds, {"ranks": rank_histogram})
    assert found["ranks"].dims == ("variable", "lead_time", "ranks_bin") and found.sizes["ranks_bin"] == 5
    np.testing.assert_allclose(found["ranks"].sum("ranks_bin"), 1.0, rtol=1e-12)


def other_grid(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(latitude=ds["latitude"] + 0.5)


def other_unit(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(t2m=ds["t2m"].assign_attrs(units="degC"))


@pytest.mark.parametrize(
    ("change_forecast", "change_truth", "error", "message"),
    [
        (None, other_grid, GridMismatch, "truth: expected LatLonGrid"),
        (None, other_unit, UnitError, "'degC'"),
        (None, lambda ds: ds.rename(t2m="t"), DataError, "missing t2m"),
        (None, lambda ds: ds.assign_coords(time=ds["time"] + np.timedelta64(365, "D")), DataError, "2020-01-01T01:00 to"),
        (None, lambda ds: ds.assign_coords(time=np.arange(8.0)), DataError, "calendar times"),
        (None, lambda ds: ds.expand_dims(sample=2), DataError, "truth alone"),
        (None, lambda ds: ds.expand_dims(member=2), DataError, "select one entry"),
        (lambda fc: fc.assign_attrs(log_weights=[0.0, 1.0]), None, InputError, "resample"),
        (lambda fc: fc.assign(weights=("member", np.ones(4))), None, InputError, "resample"),
        (lambda fc: fc.isel(lead_time=0), None, DataError, "lead_time"),
        (lambda fc: fc.drop_vars("lead_time"), None, DataError, "coordinate lead_time"),
    ],
)
def test_what_does_not_match_is_refused(change_forecast, change_truth, error, message):
    ds = hourly(8)
    fc = noisy(ds)
    with pytest.raises(error, match=message):
        evaluate(change_forecast(fc) if change_forecast else fc, change_truth(ds) if change_truth else ds, {"crps": crps})


def test_wrong_arguments_are_refused():
    ds = hourly(8)
    fc = noisy(ds)
    with pytest.raises(InputError, match=r"got Ensemble; draw equal weights with ensemble.resample"):
        evaluate(Ensemble.equal(torch.zeros(3, 1, 1, 6, 9)), ds, {"crps": crps})
    with pytest.raises(InputError, match="some of init_time, lead_time"):
        evaluate(fc, ds, {"crps": crps}, by=("member",))
    with pytest.raises(InputError, match="regions"):
        evaluate(fc, ds, {"crps": crps}, by=("region",))
    with pytest.raises(InputError, match="at least one score"):
        evaluate(fc, ds, {})
    with pytest.raises(ShapeError, match="'flat'"):
        evaluate(fc, ds, {"flat": lambda members, truth, weights: members.mean()})
    with pytest.raises(ShapeError, match="at least 2 members"):
        evaluate(persistence(ds, None, 2), ds, {"crps": crps})


@pytest.mark.parametrize(("starts", "measured"), [(8, False), pytest.param(60, True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("chunked", [False, True])
def test_files_larger_than_memory_score_as_in_memory(tmp_path, monkeypatch, starts, measured, *, chunked):
    if chunked:
        pytest.importorskip("dask")
    spec = latlon_spec(24, 36)
    attrs = hourly(2, spec=spec).attrs
    ds = hourly(starts + 4, spec=spec).astype(np.float64).assign_attrs(attrs)
    known = KnownFrames(ds, history=1)
    fc = forecast_of(known, lambda _, k: 280.0 + known.rng(Rng(5), 0, k).normal((6, 1, 4, 24, 36)).double(), lead=4, members=6)
    fc = fc.astype(np.float64).assign_attrs(attrs)
    scores = {"crps": crps, "ranks": rank_histogram, "ratio": spread_skill}
    whole = evaluate(fc, ds, scores)
    fc.to_netcdf(tmp_path / "forecast.nc")
    ds.to_netcdf(tmp_path / "truth.nc")
    # room for three of the four frames of a start, and for less than the truth
    limit = 3 * 8 * 6 * 24 * 36
    monkeypatch.setattr(cases, "_IN_MEMORY", limit)
    chunks = {"init_time": 5} if chunked else None
    with xr.open_dataset(tmp_path / "forecast.nc", chunks=chunks) as forecast, xr.open_dataset(tmp_path / "truth.nc", chunks=None) as truth:
        sizes = [piece.members.nbytes for piece in cases.matched(forecast, truth).pieces()]
        assert max(sizes) == limit and len(sizes) > starts
        if measured:
            tracemalloc.start()
        streamed = evaluate(forecast, truth, scores)
        if measured:
            # pieces, chunks of five starts and what xarray needs for itself
            assert tracemalloc.get_traced_memory()[1] < forecast["t2m"].nbytes / 3
            tracemalloc.stop()
    xr.testing.assert_allclose(streamed, whole, rtol=1e-12, atol=0)
