"""Means of scores by start are those of `evaluate` by lead time; error bars, seasons, holes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.start_scores import mean_scores, season_of, start_scores, with_bounds
from physdiff.scores.coverage import coverage
from physdiff.scores.crps import crps
from physdiff.scores.pointwise import ensemble_rmse
from physdiff.scores.spread_skill import spread_skill

SCORES = {"crps": crps, "ensemble_rmse": ensemble_rmse, "spread_skill": spread_skill, "coverage": partial(coverage, level=0.5)}
HOUR = np.timedelta64(3600 * 10**9, "ns")


def pair(starts=8, members=6, leads=3, hole=False, step=24 * 20):
    """Two variables; one without truth at a time, starts 20 days apart."""
    rng = np.random.default_rng(0)
    times = np.datetime64("2019-02-01T00", "ns") + np.arange(starts * step + 8) * HOUR
    space = {"latitude": np.linspace(58, 50, 4), "longitude": np.linspace(-10, 4, 5)}
    dims = ("time", *space)
    truth = xr.Dataset({n: (dims, rng.normal(size=(len(times), 4, 5)), {"units": "K"}) for n in ("t", "q")}, {"time": times, **space})
    coords = {"init_time": times[: starts * step : step], "member": np.arange(members), "lead_time": np.arange(1, leads + 1) * HOUR, **space}
    values = {n: (("init_time", "member", "lead_time", *space), rng.normal(size=(starts, members, leads, 4, 5)), {"units": "K"}) for n in ("t", "q")}
    if hole:
        truth["q"][step + 2] = np.nan
    return xr.Dataset(values, coords), truth


@pytest.mark.parametrize("hole", [False, True])
def test_means_of_starts_are_scores_by_lead_time(hole):
    forecast, truth = pair(hole=hole)
    table = start_scores(forecast, truth, SCORES)
    assert table["crps"].dims == ("variable", "init_time", "lead_time") and "spread_skill_part1" in table
    means, direct = mean_scores(table, SCORES), evaluate(forecast, truth, SCORES)
    for name in SCORES:
        assert means[name].dims == direct[name].dims
        # the same sums in another order
        np.testing.assert_allclose(means[name], direct[name], rtol=1e-12)
    np.testing.assert_array_equal(means["cases"], direct["cases"])


def test_a_forecast_that_is_missing_is_not_passed_over():
    forecast, truth = pair()
    forecast["t"][3, :, 1] = np.nan
    means = mean_scores(start_scores(forecast, truth, SCORES), SCORES)
    assert np.isnan(means["crps"].sel(variable="t").values).tolist() == [False, True, False]


def test_regions_and_the_marks_of_the_truth():
    forecast, truth = pair()
    north = truth["latitude"] > 54
    box = (north & (truth["longitude"] > -99)).transpose("latitude", "longitude")
    table = start_scores(forecast, truth, {"crps": crps}, regions={"north": box, "south": ~box})
    means = mean_scores(table, {"crps": crps})
    direct = evaluate(forecast, truth, {"crps": crps}, by=("region", "lead_time"), regions={"north": box, "south": ~box})
    np.testing.assert_allclose(means["crps"], direct["crps"].transpose(*means["crps"].dims), rtol=1e-12)
    one = truth["t"].sel(time=table["init_time"][2] + table["lead_time"][1]).sel(latitude=north)
    weights = np.sin(np.deg2rad(one["latitude"] + 4 / 3)) - np.sin(np.deg2rad(one["latitude"] - 4 / 3))
    # cells of the edge row end at its latitude or half a step beyond: the mark is compared where all rows are inner ones, so loosely here
    assert abs(float(table["truth_mean"].sel(variable="t", region="north")[2, 1]) - float(one.weighted(weights).mean())) < 0.2


def test_intervals_hold_the_means_and_roots_are_roots():
    forecast, truth = pair()
    table = start_scores(forecast, truth, SCORES)
    means = mean_scores(table, SCORES)
    found = with_bounds(means, table, SCORES, level=0.9)
    assert found["crps_bounds"].dims == ("variable", "lead_time", "bounds")
    assert "90 % confidence interval of crps" in found["crps_bounds"].attrs["long_name"]
    for name in SCORES:
        low, high = found[f"{name}_bounds"].transpose("bounds", ...).values
        assert (low < means[name].values).all() and (means[name].values < high).all()
    # one standard error of independent starts, times 1.645: the blocks are short here and few, so within a factor of two
    each = np.sqrt(table["ensemble_rmse_part0"].sel(variable="t").values)
    width = np.diff(found["ensemble_rmse_bounds"].sel(variable="t").values, axis=-1)[:, 0]
    assert ((width / (2 * 1.645 * each.std(0, ddof=1) / np.sqrt(8)) > 0.5) & (width / (2 * 1.645 * each.std(0, ddof=1) / np.sqrt(8)) < 2)).all()


def test_intervals_of_shares_stay_between_zero_and_one():
    forecast, truth = pair()
    rare = lambda members, truth, weights=None: (truth.mean((-2, -1)) > 0.25).to(truth)  # noqa: E731 - one start in some
    often = lambda members, truth, weights=None: (truth.mean((-2, -1)) < 0.25).to(truth)  # noqa: E731
    scores = {"frequency": rare, "coverage": often, "crps": crps}
    table = start_scores(forecast, truth, scores)
    found = with_bounds(mean_scores(table, scores), table, scores)
    assert bool((table["frequency"].mean("init_time") > 0).any()), "the event happens in some start"
    for name in ("frequency", "coverage"):
        assert float(found[f"{name}_bounds"].min()) >= 0 and float(found[f"{name}_bounds"].max()) <= 1
        assert bool((found[f"{name}_bounds"].isin([0, 1])).any()), "eight starts are few enough to stretch beyond"


def test_few_starts_have_no_intervals():
    forecast, truth = pair(starts=4)
    table = start_scores(forecast, truth, SCORES)
    means = mean_scores(table, SCORES)
    assert with_bounds(means, table, SCORES) is means


def test_seasons_are_those_of_the_time_that_is_forecast():
    forecast, truth = pair()
    table = start_scores(forecast, truth, {"crps": crps})
    season = season_of(table)
    # 1 and 21 February, 13 March, 2 and 22 April, 12 May, 1 and 21 June
    assert season.isel(lead_time=0).values.tolist() == ["DJF"] * 2 + ["MAM"] * 4 + ["JJA"] * 2
    spring = mean_scores(table, {"crps": crps}, where=season == "MAM")
    direct = evaluate(forecast.isel(init_time=slice(2, 6)), truth, {"crps": crps})
    np.testing.assert_allclose(spring["crps"], direct["crps"], rtol=1e-12)
    assert spring["cases"].values.tolist() == [4, 4, 4]
    with pytest.raises(DataError, match="calendar times"):
        season_of(table.assign_coords(init_time=np.arange(8.0)))
