"""The page of a forecast from data sets in house conventions, samples, holes and odd names among them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.evaluation.evaluate import evaluate
from physdiff.report.forecast_page import forecast_report, forecast_sections, training_section
from physdiff.scores.coverage import coverage
from physdiff.scores.crps import biased_crps, crps
from physdiff.scores.pointwise import ensemble_rmse
from physdiff.scores.rank_histogram import rank_histogram
from physdiff.scores.spread_skill import spread, spread_skill
from tests.report.page import Page

SCORES = {"crps": crps, "ensemble_rmse": ensemble_rmse, "spread": spread, "spread_skill": spread_skill, "coverage": coverage}
HOUR = np.timedelta64(3600 * 10**9, "ns")


def hourly(name="t2m", members=20, starts=3, leads=4):
    """A truth of 12 hours on 6 x 8 points, and forecasts drawn from the same law."""
    rng = np.random.default_rng(0)
    times = np.datetime64("2019-03-01T00", "ns") + np.arange(12) * HOUR
    space = {"latitude": np.linspace(58, 50, 6), "longitude": np.linspace(-10, 4, 8)}
    attrs = {"units": "K", "long_name": "2 metre temperature"}
    truth = xr.Dataset({name: (("time", *space), 280 + rng.normal(size=(12, 6, 8)), attrs)}, coords={"time": times, **space})
    values = 280 + rng.normal(size=(starts, members, leads, 6, 8))
    coords = {"init_time": times[[1, 4, 7][:starts]], "member": np.arange(members), "lead_time": np.arange(1, leads + 1) * HOUR, **space}
    return xr.Dataset({name: (("init_time", "member", "lead_time", *space), values, attrs)}, coords=coords), truth


def boxes(hole=False):
    """Two samples on a periodic box with plain numbers for times."""
    rng = np.random.default_rng(1)
    axis = {"periodic": "true", "units": "1"}
    space = {"y": ("y", np.arange(6) / 6, axis), "x": ("x", np.arange(8) / 6, axis)}
    coords = {"sample": [3, 5], **space}
    truth = xr.Dataset({"vorticity": (("sample", "time", "y", "x"), rng.normal(size=(2, 9, 6, 8)))}, coords={**coords, "time": 0.5 * np.arange(9)})
    values = rng.normal(size=(2, 2, 20, 4, 6, 8))
    more = {"init_time": [0.5, 1.5], "member": np.arange(20), "lead_time": 0.5 * np.arange(1, 5)}
    forecast = xr.Dataset({"vorticity": (("sample", "init_time", "member", "lead_time", "y", "x"), values)}, coords={**coords, **more})
    if hole:
        forecast, truth = (ds.where((ds["x"] > 0.2) | (ds["y"] > 0.2)) for ds in (forecast, truth))
        for ds in (forecast, truth):
            for name, (_, _, attrs) in space.items():
                ds[name].attrs.update(attrs)
    return forecast, truth


def test_a_whole_page(tmp_path):
    name = "<script>t2m$"
    forecast, truth = hourly(name)
    single = forecast.isel(member=[0])
    tables = {
        "physdiff": evaluate(forecast, truth, {**SCORES, "rank_histogram": rank_histogram}),
        "persistence": evaluate(single, truth, {"crps": biased_crps, "ensemble_rmse": ensemble_rmse}),
    }
    extra = [training_section(np.arange(30), np.linspace(1, 0.1, 30))]
    path = forecast_report(tmp_path, forecast, truth, tables=tables, facts={"Command": "x"}, timings={"forecast": 1.0}, extra=extra)
    page = Page(path)
    page.check_self_contained()
    assert page.texts["h2"] == [f"Scores: {name}", "Training", "What was run"]
    assert page.texts["h3"] == ["Calibration", "Maps", "Spectra"]
    assert "20 members from 3 starts, 4 lead times; compared with persistence." in page.texts["p"]
    alts = [a["alt"] for a in page.all("img")]
    # lines, spread and error, ranks, a map of each of four lead times, a place, spectra, training
    assert len(alts) == 10 and all(name in alt for alt in alts[:9])
    numbers = {f"{float(v):.3f}" for v in tables["physdiff"]["crps"].values.reshape(-1)}
    assert numbers <= set(page.texts["td"]) | set(page.texts["strong"])


def test_samples_and_plain_times(tmp_path):
    forecast, truth = boxes()
    sections = forecast_sections(forecast, truth, tables={"model": evaluate(forecast, truth, SCORES)})
    assert [s.title for s in sections] == ["Scores: vorticity", "Calibration", "Maps", "Spectra"]
    maps = sections[2].figures[0]
    assert [name for name, _ in maps.frames] == ["+0.5", "+1", "+1.5", "+2"] and "start 1.5, sample 5" in maps.caption


def test_fields_with_holes_have_no_spectra_and_the_rest_is_there():
    forecast, truth = boxes(hole=True)
    sections = forecast_sections(forecast, truth, tables={"model": evaluate(forecast, truth, {"crps": crps})})
    assert [s.title for s in sections] == ["Scores: vorticity", "Calibration", "Maps"]
    assert len(sections[2].figures) == 2


def test_one_member_has_scores_and_spectra_only():
    forecast, truth = hourly(members=1)
    sections = forecast_sections(forecast, truth, tables={"persistence": evaluate(forecast, truth, {"crps": biased_crps})})
    assert [s.title for s in sections] == ["Scores: t2m", "Spectra"]


def test_starts_beyond_the_truth_are_left_out():
    forecast, truth = hourly(leads=3)
    late = truth.isel(time=slice(0, 6))
    sections = forecast_sections(forecast, late, tables={"model": evaluate(forecast, late, {"crps": crps})})
    assert "start 2019-03-01T01:00" in sections[2].figures[0].caption


def test_one_dimension_of_space():
    forecast, truth = boxes()
    line, real = forecast.isel(y=0, lead_time=[0, 1], drop=True), truth.isel(y=0, drop=True)
    sections = forecast_sections(line, real, tables={"model": evaluate(line, real, {"crps": crps})})
    assert "all lead times" in sections[2].figures[0].caption


def test_what_is_missing_is_named():
    forecast, truth = hourly()
    with pytest.raises(InputError, match="at least one forecast"):
        forecast_sections(forecast, truth, tables={})
    with pytest.raises(InputError, match="among t2m, got u10"):
        forecast_sections(forecast, truth, tables={"m": evaluate(forecast, truth, {"crps": crps})}, variables=["u10"])
