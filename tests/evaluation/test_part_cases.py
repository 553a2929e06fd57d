"""Parts of a forecast are those of its scores by start."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.evaluation.part_cases import levels_of, part_cases
from tests.evaluation.test_compare import in_parts, run

COLUMNS = {"crps": "crps", "ensemble_rmse": "ensemble_rmse_part0"}


def test_levels_stand_together_by_their_numbers():
    names = ["t_850", "t_500", "z_500", "q", "u_ml10", "u_ml9", "v10"]
    assert levels_of(names) == {"t": {"500": "t_500", "850": "t_850"}, "u": {"ml9": "u_ml9", "ml10": "u_ml10"}}
    entry = run().isel(forecast=0).assign_coords(variable=["t_850", "t_500"])
    found = part_cases(entry, "level", COLUMNS)
    assert list(found) == ["500", "850"] and found["500"]["variable"].values.tolist() == ["t"]
    np.testing.assert_array_equal(found["850"]["crps"][0], entry["crps_by_start"][0])
    assert part_cases(run().isel(forecast=0), "level", COLUMNS) == {}


def test_regions_seasons_and_events_are_taken_from_what_is_kept():
    entry = in_parts().isel(forecast=0)
    north = part_cases(entry, "region", COLUMNS)["north"]
    np.testing.assert_array_equal(north["ensemble_rmse"], entry["ensemble_rmse_part0_by_region_start"].sel(region="north"))
    event = part_cases(entry, "event", {})["t2m > 1"]
    assert event["brier"].dims == ("variable", "init_time", "lead_time") and event["variable"].values.tolist() == ["event"]
    # six-hourly from 24 February: 20 starts before March, of which the last comes true in March from 6 h on... leads are hours
    entry = entry.assign_coords(init_time=np.datetime64("2019-02-24", "ns") + 6 * np.arange(40) * np.timedelta64(3600 * 10**9, "ns"))
    seasons = part_cases(entry, "season", COLUMNS)
    assert list(seasons) == ["DJF", "MAM"] and [s.sizes["init_time"] for s in seasons.values()] == [20, 20]
    xr.testing.assert_equal(seasons["MAM"]["crps"], entry["crps_by_start"].isel(init_time=slice(20, None)).rename("crps"))
    bare = run().isel(forecast=0)
    assert all(part_cases(bare, by, COLUMNS) == {} for by in ("region", "season", "event"))
    with pytest.raises(InputError, match="part_cases by"):
        part_cases(bare, "month", COLUMNS)
