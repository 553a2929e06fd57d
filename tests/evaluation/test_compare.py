"""Comparisons find what is there, keep the family-wise error, and refuse what cannot be compared."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.data.write import write_dataset
from physdiff.evaluation.compare import against_baselines, compare, read_scores
from physdiff.evaluation.significance import paired_difference, score_interval

HOUR = np.timedelta64(3600 * 10**9, "ns")


def run(shift=0.0, seed=0, starts=40, leads=4, noise=0.1, drop=()):
    """Scores as `physdiff evaluate` writes them: those of one model are `shift` larger on starts that are hard for all alike."""
    hard = np.random.default_rng(99).gamma(4.0, 0.25, (2, starts, leads))
    own = np.random.default_rng(seed).normal(0, noise, (2, starts, leads))
    crps = np.stack([hard + own + shift, 2 * hard])
    coords = {
        "forecast": ["forecast", "persistence"],
        "variable": ["t2m", "q"],
        "init_time": np.datetime64("2019-03-01", "ns") + 6 * np.arange(starts) * HOUR,
        "lead_time": np.arange(1, leads + 1) * HOUR,
    }
    dims = tuple(coords)
    each = {"crps": crps, "ensemble_rmse_part0": crps**2}
    data = {f"{n}_by_start": (dims, v) for n, v in each.items()}
    short = ("forecast", "variable", "lead_time")
    data |= {"crps": (short, crps.mean(2)), "ensemble_rmse": (short, np.sqrt((crps**2).mean(2)))}
    data |= {f"truth_{n}_by_start": (dims[1:], hard) for n in ("mean", "square")}
    data["unit"] = ("variable", ["K", "kg/kg"])
    return xr.Dataset(data, coords).drop_vars(list(drop))


def in_parts(shift=0.0, seed=0, **more):
    """With two regions (the south has no difference), a season and an event."""
    whole = run(shift, seed, **more)
    region = xr.DataArray(["north", "south"], dims="region", coords={"region": ["north", "south"]}).region
    south = run(0.0, seed + 50, **more)
    for name in ("crps", "ensemble_rmse_part0"):
        whole[f"{name}_by_region_start"] = xr.concat([whole[f"{name}_by_start"], south[f"{name}_by_start"]], region)
    for name in ("crps", "ensemble_rmse"):
        whole[f"{name}_by_region"] = xr.concat([whole[name], south[name]], region)
        whole[f"{name}_by_season"] = whole[name].expand_dims(season=["MAM"])
    whole["truth_mean_by_region_start"] = xr.concat([whole["truth_mean_by_start"]] * 2, region)
    brier = whole["crps_by_start"].isel(variable=0, drop=True).where(whole["forecast"] == "forecast")
    whole["brier_by_event_start"] = brier.expand_dims(event=["t2m > 1"])
    whole["brier_by_event"] = whole["brier_by_event_start"].mean("init_time")
    return whole


def test_regions_seasons_and_events_have_intervals_and_tests_of_their_own():
    runs = {"a": in_parts(), "b": in_parts(0.1, seed=1)}
    found = compare(runs, baselines=("persistence",))
    pair = found["pair"].values.tolist()
    assert pair == ["a − b", "a − persistence", "b − persistence"]
    # 3 pairs, 2 regions, 4 leads are one family: Holm's values of the pairs' own tests
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        p = []
        for r in ("north", "south"):
            each = {n: v[["crps_by_region_start"]].sel(region=r, forecast="forecast", drop=True) for n, v in runs.items()}
            each["persistence"] = runs["a"][["crps_by_region_start"]].sel(region=r, forecast="persistence", drop=True)
            for one, other in (("a", "b"), ("a", "persistence"), ("b", "persistence")):
                made = paired_difference(each[one], each[other], draws=5000)["crps_by_region_start"]
                p.append(made.sel(bound="p_value").sel(variable="t2m").values)
    known = np.sort(np.ravel(p))
    wanted = np.minimum(np.maximum.accumulate(known * np.arange(24, 0, -1)), 1.0)
    np.testing.assert_allclose(np.sort(found["crps_p_by_region"].sel(variable="t2m").values.ravel()), wanted)
    north, south = (found["crps_p_by_region"].sel(variable="t2m", pair="a − b", region=r).values for r in ("north", "south"))
    assert north.max() < 0.05 < south.min()
    name = "ensemble_rmse_part0_by_region_start"
    own = score_interval(runs["b"][[name]].isel(forecast=0).sel(region="south"))[name]
    ends = found["ensemble_rmse_bounds_by_region"].sel(model="b", region="south").transpose("bounds", "variable", "lead_time")
    np.testing.assert_allclose(ends, np.sqrt(own.sel(bound=["lower", "upper"])))
    # one season is the whole; the baseline has no members, so that no event is tested against it
    np.testing.assert_allclose(found["crps_p_by_season"].isel(season=0).transpose(*found["crps_p"].dims), found["crps_p"])
    event = found["brier_p_by_event"].sel(event="t2m > 1")
    assert bool(event.sel(pair="a − b").notnull().all()) and bool(event.drop_sel(pair="a − b").isnull().all())
    assert found["brier_bounds_by_event"].sel(model="a").notnull().all() and bool(found["brier_by_event"].sel(model="persistence").isnull().all())


def test_regions_of_one_name_must_be_the_same_cells_and_few_starts_have_no_test():
    other = in_parts(seed=1)
    other["truth_mean_by_region_start"][1] *= 1.01
    with pytest.raises(DataError, match="regions of one name to be the same cells, got another truth in south in a than in b"):
        compare({"a": in_parts(), "b": other})
    assert not any("_by_" in str(n) for n in compare({"a": in_parts(starts=4), "b": in_parts(seed=1, starts=4)}).data_vars)
    # a run that was scored by regions beside one that was not: the whole alone
    assert "crps_p_by_region" not in compare({"a": in_parts(), "b": run(seed=1)})


def test_a_forecast_is_tested_against_its_baselines_in_every_part():
    found = against_baselines(in_parts().assign_coords(variable=["t_500", "t_850"]))
    assert found["crps_p_by_region"].dims == ("pair", "variable", "region", "lead_time")
    assert found["crps_p_by_level"].dims == ("pair", "quantity", "level", "lead_time") and "brier_p_by_event" not in found
    assert bool((found["crps_p_by_level"] < 0.05).all()) and float(found["crps_difference_by_season"].sel(bound="mean").max()) < 0


def test_all_pairs_and_leads_of_a_variable_are_one_family():
    """Holm's p-values of the pairs' own tests, twelve at a time; with a score missing at a lead, nine."""
    runs = {"a": run(), "b": run(shift=0.1, seed=1), "c": run(seed=2)}
    runs["a"]["crps_by_start"][0, 1, :, 3] = np.nan
    found = compare(runs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        each = {pair: paired_difference(*(runs[k][["crps_by_start"]].isel(forecast=0) for k in pair), draws=5000) for pair in ("ab", "ac", "bc")}
    for v, family in ((0, 12), (1, 10)):
        p = np.stack([d["crps_by_start"].sel(bound="p_value")[v].values for d in each.values()])
        known = np.sort(p[np.isfinite(p)])
        assert known.size == family
        wanted = np.minimum(np.maximum.accumulate(known * np.arange(family, 0, -1)), 1.0)
        got = found["crps_p"].isel(variable=v).values
        np.testing.assert_allclose(np.sort(got[np.isfinite(got)]), wanted)
        assert np.isnan(got).tolist() == np.isnan(p).tolist()


def test_a_small_difference_on_hard_starts_is_found_where_intervals_overlap():
    found = compare({"a": run(), "b": run(shift=0.25, seed=1), "c": run(seed=2)})
    assert found["crps"].dims == ("model", "variable", "lead_time") and found.attrs["scores"] == ["crps", "ensemble_rmse"]
    np.testing.assert_array_equal(found["crps"].sel(model="b"), run(shift=0.25, seed=1)["crps"].sel(forecast="forecast"))
    assert found["pair"].values.tolist() == ["a − b", "a − c", "b − c"] and found["second"].values.tolist() == ["b", "c", "c"]
    p = found["crps_p"]
    assert float(p.sel(pair="a − b").max()) < 0.05 and float(p.sel(pair="b − c").max()) < 0.05 and float(p.sel(pair="a − c").min()) > 0.05
    # 0.25 is eleven standard errors of the paired difference, 0.1 sqrt(2/40), and two of the unpaired one, 0.5 sqrt(2/40)
    low, high = found["crps_bounds"].sel(model=["a", "b"]).transpose("bounds", "model", ...).values
    assert (high[0] > low[1]).any(), "the intervals of the models overlap"
    direct = run()["crps_by_start"][0] - run(shift=0.25, seed=1)["crps_by_start"][0]
    np.testing.assert_allclose(found["crps_difference"].sel(pair="a − b", bound="mean"), direct.mean("init_time"), rtol=1e-12)
    root = found["ensemble_rmse_bounds"].sel(model="a").values
    mean = found["ensemble_rmse"].sel(model="a").values
    assert (root[..., 0] < mean).all() and (mean < root[..., 1]).all()


@pytest.mark.slow
def test_equal_models_are_rarely_told_apart():
    """Of 100 families of tests (one variable: 4 leads, 3 pairs of three equal models) some false mark may show in 5 %."""
    wrong = 0
    for seed in range(50):
        p = compare({k: run(seed=3 * seed + i + 10) for i, k in enumerate("abc")})["crps_p"]
        wrong += int((p.min(("pair", "lead_time")) < 0.05).sum())
    # 100 families at 5 % or less: 5, plus four standard errors
    assert wrong <= 5 + 4 * np.sqrt(100 * 0.05 * 0.95)


def test_baselines_of_the_first_and_few_starts():
    found = compare({"a": run(starts=4), "b": run(seed=1, starts=4)}, baselines=("persistence",))
    assert found["model"].values.tolist() == ["a", "b", "persistence"] and "crps_p" not in found and "crps_bounds" not in found
    with pytest.raises(InputError, match="baselines among persistence, got 'climatology'"):
        compare({"a": run(), "b": run()}, baselines=("climatology",))


def test_a_forecast_against_its_baselines_is_one_family_of_those_pairs_alone():
    whole = run()
    third = whole.isel(forecast=[1]).assign_coords(forecast=["climatology"])
    whole = xr.concat([whole, third], "forecast", data_vars="minimal", coords="minimal", compat="override")
    found = against_baselines(whole)
    assert found["crps_p"].sizes == {"pair": 2, "variable": 2, "lead_time": 4}  # not the pair of the baselines
    ours, other = (whole[["crps_by_start"]].isel(forecast=k) for k in (0, 1))
    own = paired_difference(ours, other, draws=5000)["crps_by_start"]
    np.testing.assert_allclose(found["crps_difference"].isel(pair=0).sel(bound="mean"), own.sel(bound="mean"))
    # two equal pairs at four leads: Holm's factors are 8, 8, 6, 6, ... on sorted p-values, so that none is below eight times the smallest
    p = own.sel(bound="p_value").isel(variable=0).values
    assert found["crps_p"].isel(variable=0).values.min() == pytest.approx(min(1.0, 8 * p.min()))
    assert bool((found["crps_p"] < 0.05).all()) and float(found["crps_difference"].sel(bound="mean").max()) < 0
    assert against_baselines(run(starts=4)) is None and against_baselines(run().isel(forecast=[0])) is None


def test_samples_are_the_cases_where_there_are_enough():
    def several(seed):
        each = [run(seed=seed + 10 * k, starts=2) for k in range(8)]
        by = [n for n in each[0].data_vars if str(n).endswith("_by_start")]
        whole = xr.concat([e[by] for e in each], xr.Variable("sample", np.arange(8)))
        return each[0].drop_vars(by).merge(whole)

    found = compare({"a": several(0), "b": several(1)})
    assert found.attrs["over"] == "sample" and bool(found["crps_p"].notnull().all())


def changed(run, **data):
    return run.assign(data)


def test_what_cannot_be_compared_says_what_differs():
    one = run()
    late = one.assign_coords(init_time=one["init_time"] + HOUR)
    other = changed(one, truth_square_by_start=one["truth_square_by_start"] * np.where(np.arange(40) == 3, 1.001, 1.0)[:, None])
    for wrong, said in (
        (run(starts=20), "the same starts in all runs, got 40 from 2019-03-01T00:00 to 2019-03-10T18:00 in a and 20 from"),
        (late, "the same starts"),
        (run(leads=2), "the same lead times in all runs, got 1 h, 2 h, 3 h, 4 h in a and 1 h, 2 h in b"),
        (one.isel(variable=[0]), "the same fields in all runs, got t2m, q in a and t2m in b"),
        (changed(one, unit=("variable", ["degC", "kg/kg"])), "the same units in all runs, got t2m in K in a and in degC in b"),
        (other, r"got a mean square of t2m of .* \(8 of 320 frames differ, the first at start 2019-03-01T18:00, lead time 1"),
    ):
        with pytest.raises(DataError, match=said):
            compare({"a": one, "b": wrong})
    with pytest.raises(InputError, match="two evaluated forecasts or more, got a"):
        compare({"a": one})
    with pytest.raises(InputError, match="compare level: expected a number between 0 and 1"):
        compare({"a": one, "b": one}, level=95)
    bare = {"crps", "ensemble_rmse"}
    with pytest.raises(DataError, match="share a score of crps, ensemble_rmse, interval_score"):
        compare({"a": one, "b": one.drop_vars([*bare, "crps_by_start"])})


def test_files_that_are_no_scores(tmp_path):
    with pytest.raises(DataError, match="got nothing at"):
        read_scores(tmp_path / "none")
    with pytest.raises(DataError, match="a folder without scores.nc"):
        read_scores(tmp_path)
    (tmp_path / "scores.nc").write_text("text")
    with pytest.raises(DataError, match="something else or a damaged file"):
        read_scores(tmp_path)
    write_dataset(run(drop=("truth_square_by_start",)), tmp_path / "scores.nc")
    with pytest.raises(DataError, match="scores by start .*run physdiff evaluate again"):
        read_scores(tmp_path)
    write_dataset(run(), tmp_path / "scores.nc")
    xr.testing.assert_allclose(read_scores(tmp_path)["crps_by_start"], run()["crps_by_start"])
