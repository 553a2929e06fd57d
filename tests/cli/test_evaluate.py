"""``physdiff evaluate``: scores beside baselines, the page, and what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.rng import Rng
from physdiff.cli.evaluate import Baselines, _warn_of_leaks, baseline_forecasts, show_table
from physdiff.cli.main import main
from physdiff.cli.scoring import Job
from physdiff.data.open import open_dataset, open_forecast
from physdiff.data.write import write_dataset
from tests.cli.command import physdiff, refuses, untouched, works
from tests.cli.conftest import weather
from tests.data.files import save
from tests.evaluation.analyses import balanced
from tests.evaluation.test_start_scores import pair


@pytest.fixture(scope="module")
def forecast(made, era, era_prior):
    words = "--lead 3 --members 4 --every 5 --select.start 2020-01-05 --select.stop 2020-01-05T21"
    works("forecast", words, "--prior", era_prior, "--initial", era, "--out", made / "era_forecast.nc")
    return made / "era_forecast.nc"


def test_scores_stand_beside_all_baselines(tmp_path, era, forecast):
    said = works(
        "evaluate --baselines.stop 2020-01-04 --forecast", forecast, "--truth", era, "--baselines.train", era, "--out", tmp_path / "a" / "report"
    )
    with xr.open_dataset(tmp_path / "a" / "report" / "scores.nc") as scores:
        names = scores["forecast"].values.tolist()
        assert names == ["forecast", "persistence", "damped persistence", "dressed persistence", "climatology", "linear inverse model"]
        assert all(name in said for name in names) and "3 h" in said and "9 h" in said
        # persistence has one member, whose CRPS is its absolute error: computed here again
        with xr.open_dataset(forecast) as fc:
            start = fc["init_time"].values
        truth = weather()["t2m"]
        error = [np.abs(truth.sel(time=start + k * np.timedelta64(3, "h")).values - truth.sel(time=start).values) for k in (1, 2, 3)]
        area = np.cos(np.deg2rad(truth["latitude"].values))[:, None] * np.ones(8)
        # cells at the edges are as wide as the others: areas from sines of the edges differ from cosines by 1e-3 at most
        expected = [np.average(e.mean(0), weights=area) for e in error]
        assert np.allclose(scores["crps"].sel(forecast="persistence", variable="t2m"), expected, rtol=5e-3)
        assert np.isnan(scores["spread_skill"].sel(forecast="persistence")).all()
        assert "physdiff" in scores.attrs["history"]
    assert "linear inverse model" in (tmp_path / "a" / "report" / "index.html").read_text()


def test_training_data_that_reach_into_the_forecasts_are_pointed_out(caplog):
    fc, truth = pair(starts=2)
    first = fc["init_time"].values.min()
    _warn_of_leaks(Job(fc, truth, train=truth.sel(time=slice(None, first))), "truth.nc", Baselines())
    assert not caplog.records
    _warn_of_leaks(Job(fc, truth, train=truth), "truth.nc", Baselines())
    assert "the baselines learn from times that are forecast" in caplog.text


@pytest.mark.slow
def test_baselines_that_learn_from_what_is_forecast_are_pointed_out(tmp_path, era, forecast):
    done = physdiff("evaluate --forecast", forecast, "--truth", era, "--baselines.train", era, "--out", tmp_path)
    assert done.code == 0 and "the baselines learn from times that are forecast" in done.err


@pytest.mark.slow
def test_baselines_that_learn_from_the_samples_that_are_forecast_are_pointed_out(tmp_path, burgers, burgers_forecast):
    done = physdiff("evaluate --forecast", burgers_forecast, "--truth", burgers, "--baselines.train", burgers, "--out", tmp_path)
    assert done.code == 0 and "the baselines learn from the samples that are forecast" in done.err


def test_baselines_are_of_the_samples_that_are_forecast_and_events_have_their_error(tmp_path):
    rng = np.random.default_rng(0)
    axis = {"x": ("x", np.arange(8) / 8, {"units": "1", "periodic": "true"})}
    size = np.array([1.0, 1.0, 10.0, 10.0])[:, None, None]
    ds = xr.Dataset({"u": (("sample", "time", "x"), size * rng.normal(size=(4, 6, 8)))}, {"sample": np.arange(4), "time": np.arange(6.0), **axis})
    fc = xr.Dataset(
        {"u": (("sample", "init_time", "member", "lead_time", "x"), rng.normal(size=(2, 2, 3, 2, 8)))},
        {"sample": [0, 1], "init_time": [0.0, 2.0], "member": np.arange(3), "lead_time": [1.0, 2.0], **axis},
    )
    write_dataset(ds, tmp_path / "truth.nc")
    write_dataset(fc, tmp_path / "fc.nc")
    parts = "--parts.events u>1 --parts.returns 20"
    works("evaluate --forecast", tmp_path / "fc.nc", "--truth", tmp_path / "truth.nc", "--out", tmp_path / "report", parts)
    with xr.open_dataset(tmp_path / "report" / "scores.nc") as scores:
        here = ds["u"].isel(sample=slice(2))
        expected = np.abs(here.isel(time=[1, 3]).values - here.isel(time=[0, 2]).values).mean()
        assert float(scores["crps"].sel(forecast="persistence")[0, 0]) == pytest.approx(expected, rel=1e-5)
        assert scores.sizes["sample"] == 2
    with xr.open_dataset(tmp_path / "report" / "events.nc") as events, xr.open_dataset(tmp_path / "report" / "returns.nc") as returns:
        np.testing.assert_allclose(events["probability"].transpose(*fc["u"].isel(member=0).dims), (fc["u"] > 1).mean("member"))
        assert bool(((events["lower"] <= events["probability"]) & (events["probability"] <= events["upper"])).all())
        # passed once in twenty blocks: above the median of the twelve maxima that there are
        maxima = fc["u"].max("lead_time").stack(block=("sample", "init_time", "member"))
        assert returns["return_level"].dims == ("x",) and bool((returns["return_level"] > maxima.median("block")).all())
        assert bool((returns["lower"] <= returns["upper"]).all())
    assert "Return levels of u" in (tmp_path / "report" / "index.html").read_text()


def test_a_table_does_without_a_linear_model_that_has_too_few_days(tmp_path, era, forecast):
    done = physdiff("evaluate --baselines.stop 2020-01-02 --forecast", forecast, "--truth", era, "--baselines.train", era, "--out", tmp_path)
    assert done.code == 0 and "no linear inverse model: " in done.err and "climatology" in done.out and "linear inverse model" not in done.out


def test_a_table_shows_some_leads_of_many():
    leads = xr.DataArray(np.arange(1, 101.0), dims="lead_time")
    table = xr.Dataset({"crps": (("variable", "lead_time"), leads.values[None] / 10)}, coords={"variable": ["u"], "lead_time": leads.values})
    lines = show_table({"mine": table, "other": table.drop_vars("crps")}, "crps", "u").splitlines()
    heads, row = lines[0].removeprefix("crps of u").split(), lines[1].removeprefix("mine").split()
    assert len(lines) == 2 and heads[0] == "1" and heads[-1] == "100" and len(heads) == 8
    assert [float(h) / 10 for h in heads] == [float(v) for v in row]


def test_what_is_no_forecast_or_no_truth_is_refused(tmp_path, era, forecast, burgers, burgers_forecast, era_prior):
    (tmp_path / "text.nc").write_text("not data")
    words = ("--truth", era, "--out", tmp_path / "report", "--forecast")
    with untouched(tmp_path):
        for path, said in (
            (tmp_path / "none.nc", "found nothing there; check the path"),
            (tmp_path / "text.nc", "a damaged"),
            (era_prior, "a damaged"),
            (era, "expected t2m with init_time and lead_time, got time, latitude, longitude"),
            (burgers_forecast, "expected a variable 'u', got only t2m"),
        ):
            assert said in refuses("evaluate", *words, path)
        for path, said in (
            (tmp_path / "none.nc", "found nothing there"),
            (forecast, "expected t2m with time, got init_time, member, lead_time, latitude, longitude"),
            (burgers, "expected a variable 't2m', got only u"),
        ):
            assert said in refuses("evaluate", "--forecast", forecast, "--out", tmp_path / "report", "--truth", path)


def test_truth_and_training_data_that_do_not_fit_are_refused(tmp_path, era, forecast):
    celsius = weather()
    celsius["t2m"].attrs["units"] = "degC"
    paths = {
        name: save(ds, tmp_path / f"{name}.nc")
        for name, ds in (
            ("unit", celsius),
            ("grid", weather().isel(longitude=slice(5))),
            ("early", weather(20)),
            ("one", weather(1)),
            ("short", weather(4)),
        )
    }
    words = ("--forecast", forecast, "--out", tmp_path / "report")
    with untouched(tmp_path):
        for name, said in (
            ("unit", "t2m of the truth: expected the unit 'K', got 'degC'"),
            ("grid", "expected LatLonGrid with latitude 6 (50 to 40)"),
            ("early", "got 2020-01-05T03:00, which has not"),
            ("one", "expected at least two time steps, got 1"),
        ):
            assert said in refuses("evaluate", *words, "--truth", paths[name])
        for name, said in (
            ("unit", "t2m: expected the unit 'K', got 'degC'"),
            ("grid", "baselines.train: expected LatLonGrid with latitude 6 (50 to 40)"),
            ("one", "time of the training part: expected at least two time steps, got 1"),
            ("short", "climatology: expected training frames at every hour that is forecast, got none at some"),
        ):
            assert said in refuses("evaluate", *words, "--truth", era, "--baselines.train", paths[name])
        assert "got none from 2020-01-01T00:00 to 1990-01-01" in refuses(
            "evaluate", *words, "--truth", era, "--baselines.train", era, "--baselines.stop 1990-01-01"
        )
        assert "baselines.members: expected a whole number, at least 1, got 0" in refuses("evaluate", *words, "--truth", era, "--baselines.members 0")
        assert "which is none; choose another place" in refuses("evaluate", "--forecast", forecast, "--truth", era, "--out", paths["one"])


def test_physics_of_an_analysis(tmp_path, capsys):
    write_dataset(balanced(), tmp_path / "good.nc")
    assert main(["evaluate", "--physics", str(tmp_path / "good.nc"), "--out", str(tmp_path / "good")]) == 0
    assert "all 3 relations hold" in capsys.readouterr().out
    assert (tmp_path / "good" / "index.html").is_file() and (tmp_path / "good" / "physics.nc").is_file()
    write_dataset(balanced(v=lambda f: -f), tmp_path / "bad.nc")
    assert main(["evaluate", "--physics", str(tmp_path / "bad.nc"), "--out", str(tmp_path / "bad")]) == 2
    assert "v has the opposite sign" in capsys.readouterr().err
    assert main(["evaluate", "--out", str(tmp_path / "none")]) == 2
    assert "--forecast and --truth, or --physics" in capsys.readouterr().err


def test_lead_times_beyond_the_truth_are_told(tmp_path, era, era_prior):
    works("forecast --lead 6 --members 3 --every 20 --prior", era_prior, "--initial", era, "--out", tmp_path / "fc.nc")
    with xr.open_dataset(era) as whole, xr.open_dataset(tmp_path / "fc.nc") as fc:
        last = int(np.flatnonzero(whole["time"].values == fc["init_time"].values[0])[0])
        save(whole.isel(time=slice(0, last + 4)), tmp_path / "truth.nc")
        save(fc.isel(init_time=[0]), tmp_path / "one.nc")
    done = physdiff("evaluate --forecast", tmp_path / "one.nc", "--truth", tmp_path / "truth.nc", "--out", tmp_path / "page")
    assert done.code == 0 and "3 of 6 lead times have no score, the first is number 4" in done.err


@pytest.mark.slow
def test_events_and_return_levels_have_their_monte_carlo_error(tmp_path, era, era_prior):
    drawn = "--lead 2 --members 12 --every 20"
    works("forecast", drawn, "--prior", era_prior, "--initial", era, "--out", tmp_path / "fc.nc")
    words = ("--forecast", tmp_path / "fc.nc", "--truth", era, "--out", tmp_path / "page")
    works("evaluate", *words, "--parts.events t2m>281 --parts.returns 20")
    with xr.open_dataset(tmp_path / "page" / "events.nc") as events, xr.open_dataset(tmp_path / "page" / "returns.nc") as returns:
        assert set(events["probability"].dims) == {"init_time", "lead_time", "latitude", "longitude"}
        assert bool(((events["lower"] <= events["probability"]) & (events["probability"] <= events["upper"])).all())
        assert returns["return_level"].dims == ("latitude", "longitude") and bool((returns["lower"] <= returns["upper"]).all())
    assert "Return levels of t2m" in (tmp_path / "page" / "index.html").read_text()


def test_baselines_stand_at_the_leads_of_the_forecast(burgers, burgers_forecast):
    truth, whole = open_dataset(burgers), open_forecast(burgers_forecast)
    every = baseline_forecasts(truth, whole, train=truth, members=3, rng=Rng(0))
    some = baseline_forecasts(truth, whole.isel(lead_time=[1, 2]), train=truth, members=3, rng=Rng(0))
    first = whole.assign_coords(lead_time=whole["lead_time"] - whole["lead_time"].values[0])  # steps 0, 1, 2
    two = baseline_forecasts(truth, whole.isel(lead_time=[0, 1]), train=truth, members=3, rng=Rng(0))
    begun = baseline_forecasts(truth, first, train=truth, members=3, rng=Rng(0))
    assert float(abs(every["damped persistence"]["u"].diff("lead_time")).min("lead_time").max()) > 0  # it changes with the lead time
    for name in ("persistence", "damped persistence"):
        np.testing.assert_array_equal(some[name]["u"].values, every[name]["u"].isel(lead_time=[1, 2]).values)
        np.testing.assert_array_equal(begun[name]["u"].isel(lead_time=[1, 2]).values, two[name]["u"].values)
        assert bool(begun[name]["u"].isel(lead_time=0).isnull().all())
