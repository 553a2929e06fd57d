"""Tables say what `evaluate` said."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.report.score_tables import holm_of, lead_table, model_table, named_score, overall_table, parted_table, plain_scores, score_of


def scored(crps, **more) -> xr.Dataset:
    lead = np.arange(1, len(crps) + 1) * np.timedelta64(3600, "s")
    data = {name: (("variable", "lead_time"), np.array([values], dtype=float)) for name, values in {"crps": crps, **more}.items()}
    return xr.Dataset(data, coords={"variable": ["t2m"], "lead_time": lead})


def test_rows_are_forecasts_columns_leads_and_the_best_is_bold():
    tables = {"model": scored([0.1, 0.5, 0.3]), "persistence": scored([0.2, 0.4, np.nan])}
    table = lead_table(tables, "crps", variable="t2m", unit="K")
    assert table.caption == "Fair CRPS (K) of t2m by lead time"
    assert table.columns == ("Forecast", "1 h", "2 h", "3 h")
    assert table.rows[0] == ("model", 0.1, 0.5, 0.3) and table.rows[1][:3] == ("persistence", 0.2, 0.4)
    assert table.strong == {(0, 1), (1, 2), (0, 3)}


def test_ratios_have_no_best_and_a_single_forecast_has_none():
    tables = {"a": scored([1.0], spread_skill=[0.9]), "b": scored([1.0], spread_skill=[1.1])}
    assert lead_table(tables, "spread_skill", variable="t2m").strong == frozenset()
    assert lead_table({"a": tables["a"]}, "crps", variable="t2m").strong == frozenset()


def test_many_leads_are_thinned_with_the_first_and_the_last():
    table = lead_table({"a": scored(np.arange(1.0, 31.0))}, "crps", variable="t2m")
    assert table.columns[1:] == ("1 h", "2 h", "3 h", "4 h", "6 h", "8 h", "12 h", "16 h", "20 h", "24 h", "30 h")
    assert table.rows[0][1:] == (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 30)


def test_scores_of_one_model_in_one_table():
    table = model_table("m", scored([1.0, 2.0], coverage=[0.9, 0.8]), ["crps", "coverage"], variable="t2m", unit="K")
    assert table.rows == (("Fair CRPS (K)", 1.0, 2.0), ("Coverage", 0.9, 0.8))


def test_overall_table_averages_over_frames_and_marks_the_best():
    by_time = scored([1.0, 3.0]).rename(lead_time="time").assign(ranks=(("variable", "time", "ranks_bin"), np.ones((1, 2, 3))))
    whole = xr.Dataset({"crps": ("variable", [1.5]), "coverage": ("variable", [0.9])}, coords={"variable": ["t2m"]})
    table = overall_table({"kriging": by_time, "guided": whole}, variable="t2m", unit="K")
    assert table.columns == ("Method", "Fair CRPS (K)", "Coverage")
    assert table.rows[0][:2] == ("kriging", 2.0) and np.isnan(table.rows[0][2])
    assert table.rows[1] == ("guided", 1.5, 0.9)
    assert table.strong == {(1, 1)} and "Means over frames" in table.note


def test_what_is_found_and_what_is_not():
    tables = {"a": scored([1.0], rmse=[2.0]), "b": scored([1.0]).assign(h=(("variable", "lead_time", "h_bin"), np.ones((1, 1, 2))))}
    assert plain_scores(tables) == ["crps", "rmse"]
    assert list(score_of(tables, "rmse", "t2m")) == ["a"] and score_of(tables, "rmse", "u10") == {}
    assert named_score("my_score", "K") == "my score"
    with pytest.raises(InputError, match="evaluate with it"):
        lead_table(tables, "rmse", variable="u10")


def test_intervals_stand_under_their_numbers():
    table = scored([0.1, 0.5]).assign(crps_bounds=(("variable", "lead_time", "bounds"), [[[0.05, 0.2], [np.nan, np.nan]]]))
    found = lead_table({"persistence": scored([0.2, 0.4]), "model": table}, "crps", variable="t2m")
    assert found.below == {(1, 1): "0.0500 to 0.200"} and plain_scores({"model": table}) == ["crps"]


def test_parts_have_a_best_forecast_each():
    def parted(values):
        coords = {"variable": ["t2m"], "region": ["n", "s"], "lead_time": [1.0, 2.0]}
        return xr.Dataset({"crps": (tuple(coords), np.array([values]))}, coords)

    table = parted_table({"a": parted([[1.0, 2], [3, 4]]), "b": parted([[2.0, 1], [5, 3]])}, "crps", by="region", variable="t2m", unit="K")
    assert table.columns == ("Region", "Forecast", "1", "2") and table.caption == "Fair CRPS (K) of t2m by region and lead time"
    assert table.rows == (("n", "a", 1.0, 2.0), ("n", "b", 2.0, 1.0), ("s", "a", 3.0, 4.0), ("s", "b", 5.0, 3.0))
    # column 0 is the part, 1 the forecast
    assert table.strong == {(0, 2), (1, 3), (2, 2), (3, 3)}


def test_parts_have_intervals_and_stars_where_tests_say():
    def parted(values, ends):
        coords = {"variable": ["t2m"], "region": ["n", "s"], "lead_time": [1.0, 2.0]}
        table = xr.Dataset({"crps": (tuple(coords), np.array([values]))}, coords)
        return table.assign(crps_bounds=((*coords, "bounds"), np.array([ends])))

    ends = [[[0.5, 1.5], [np.nan, np.nan]], [[2.0, 4.0], [3.0, 5.0]]]
    tables = {"a": parted([[1.0, 2], [3, 4]], ends), "b": parted([[2.0, 1], [5, 3]], ends)}
    coords = {"pair": ["a − b"], "region": ["n", "s"], "lead_time": [1.0, 2.0], "first": ("pair", ["a"]), "second": ("pair", ["b"])}
    p = xr.DataArray([[[[0.01, 0.01], [0.2, np.nan]]]], dims=("variable", "pair", "region", "lead_time"), coords={**coords, "variable": ["t2m"]})
    tests = xr.Dataset({"crps_p_by_region": p}, attrs={"level": 0.95})
    found = holm_of(tests, "crps", "t2m", by="region")
    assert holm_of(tests, "crps", "q", by="region") is None and holm_of(tests, "crps", "t2m") is None and holm_of(None, "crps", "t2m") is None
    table = parted_table(tables, "crps", by="region", variable="t2m", tests=found)
    # b is told from a in the north at both leads, whichever is better
    assert table.marks == {(1, 2): " *", (1, 3): " *"} and table.note.startswith("* differs from 'a' by more than chance")
    assert table.below[2, 3] == "3.00 to 5.00" and (0, 3) not in table.below and len(table.below) == 6
    # the best of the north is a at the first lead and b at the second: the other of each is worse
    assert parted_table(tables, "crps", by="region", variable="t2m", tests=found, best=True).marks == {(1, 2): " *", (0, 3): " *"}


def test_a_table_by_lead_marks_what_differs_from_the_first():
    p = xr.DataArray([[[0.01, 0.06, np.nan]]], dims=("variable", "pair", "lead_time"), coords={"variable": ["t2m"]})
    p = p.assign_coords(first=("pair", ["model"]), second=("pair", ["other"]))
    tables = {"model": scored([1.0, 2, 3]), "other": scored([3.0, 2, 1]), "untested": scored([1.0, 1, 1])}
    tests = holm_of(xr.Dataset({"crps_p": p}, attrs={"level": 0.95}), "crps", "t2m")
    assert lead_table(tables, "crps", variable="t2m", tests=tests).marks == {(1, 1): " *"}
    bounded = scored([1.0, 2]).assign(crps_bounds=(("variable", "lead_time", "bounds"), [[[0.5, 1.5], [1.0, 3.0]]]))
    assert model_table("m", bounded, ["crps"], variable="t2m").below == {(0, 1): "0.500 to 1.50", (0, 2): "1.00 to 3.00"}
