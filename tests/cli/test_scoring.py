"""What is scored, and the sections of it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from physdiff.cli.scoring import Clock, Job, part_sections, scored, standard_scores
from physdiff.cli.splits import Event
from physdiff.evaluation.start_scores import mean_scores, start_scores
from tests.evaluation.test_start_scores import pair


def test_coverage_needs_enough_members():
    assert list(standard_scores(1)) == ["crps", "ensemble_rmse"]
    assert "coverage_90" not in standard_scores(18) and "coverage_90" in standard_scores(19)


def test_a_clock_tells_each_stage_once():
    clock = Clock()
    clock.lap("reading")
    clock.lap("scores")
    assert list(clock.laps) == ["reading", "scores"] and all(0 <= s < 5 for s in clock.laps.values())


def test_everything_asked_for_is_scored_and_shown():
    forecast, truth = pair()
    box = xr.DataArray(np.ones((4, 5), dtype=bool), dims=("latitude", "longitude"))
    job = Job(forecast, truth, regions={"all of it": box}, events=(Event("t", 0.0), Event("q", 0.5, True)), seasons=True)
    found = scored({"forecast": forecast, "one": forecast.isel(member=[0])}, job, level=0.9)
    assert "crps_bounds" in found.tables["one"] and list(found.parts) == ["region", "season"]
    np.testing.assert_allclose(found.parts["region"]["forecast"]["crps"].isel(region=0), found.tables["forecast"]["crps"], rtol=1e-12)
    assert found.parts["season"]["one"]["season"].values.tolist() == ["DJF", "MAM", "JJA"]
    sections = part_sections(found, job)
    assert [s.title for s in sections] == ["By region", "By season", "Events", "Reliability: t > 0 K", "Reliability: q < 0.5 K"]
    assert sections[1].tables[0].rows[0][:2] == ("DJF", "forecast") and len(sections[1].tables[0].rows) == 6
    # every number has its interval, of seasons where they have five starts; one member has no probabilities
    region, season = sections[0].tables[0], sections[1].tables[0]
    assert set(region.below) == {(i, j) for i in (0, 1) for j in (2, 3, 4)} and season.below == {}
    (brier,) = sections[2].tables if sections[2].tables else (None,)
    assert brier is None and list(found.event_scores) == ["forecast"]
    table = sections[3].tables[0]
    assert {(i, j) for i in range(4) for j in (1, 2, 3)} == set(table.below)
    # the rows of the table are the means of what is kept by start
    one, event = found.event_starts["forecast"].sel(event="t > 0"), job.events[0]
    np.testing.assert_allclose(table.rows[0][1:], one.mean("init_time"), rtol=1e-6)
    each = mean_scores(start_scores(forecast[["t"]], truth, event.by_start), event.by_start)
    for row, name in zip(table.rows, ("brier", "skill", "frequency", "probability"), strict=True):
        np.testing.assert_allclose(row[1:], each[name][0], rtol=1e-6)
    facts = job.facts({"Forecast": "none.nc", "Truth": ["a", "b"]}, 3)
    assert facts["Fields"] == "t (K), q (K)" and facts["Truth"] == "a, b" and facts["Seed of baselines"] == "3"
    assert facts["Starts"].startswith("8, 2019-02-01")


def test_fields_on_levels_stand_together():
    forecast, truth = pair(starts=2)
    names = {"t": "t_850", "q": "t_500"}
    job = Job(forecast.rename(names), truth.rename(names))
    found = scored({"forecast": job.forecast, "one": job.forecast.isel(member=[0])}, job, level=0.95)
    (section,) = part_sections(found, job)
    assert section.title == "By level: t"
    table = section.tables[0]
    assert table.columns[0] == "Level"
    assert [row[:2] for row in table.rows] == [("500", "forecast"), ("500", "one"), ("850", "forecast"), ("850", "one")]
    np.testing.assert_allclose(table.rows[2][2:], found.tables["forecast"]["crps"].sel(variable="t_850"))
