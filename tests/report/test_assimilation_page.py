"""The page of an assimilation holds the numbers of its data set, pictures with alternative text, and no more than is known."""

from __future__ import annotations

import numpy as np
import xarray as xr

from physdiff.forecast.twin import assimilation_scores
from physdiff.report.assimilation_page import assimilation_report
from physdiff.report.posterior_page import Readings
from tests.report.page import Page


def assimilated(members: int = 20, times: int = 6) -> tuple[xr.Dataset, xr.Dataset]:
    """What `assimilate` returns, of a field on a small region, and its truth."""
    rng = np.random.default_rng(0)
    dims = ("member", "time", "latitude", "longitude")
    coords = {
        "time": np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(3, "h"),
        "latitude": ("latitude", [50.0, 48.0, 46.0], {"units": "degrees_north"}),
        "longitude": ("longitude", [0.0, 2.0, 4.0, 6.0], {"units": "degrees_east"}),
    }
    truth = 280 + rng.normal(size=(times, 3, 4))
    fields = {n: truth + s * rng.normal(size=(1, times, 3, 4)) + s * rng.normal(size=(members, times, 3, 4)) for n, s in _SPREADS.items()}
    ds = xr.Dataset({n: (dims, x, {"units": "K"}) for n, x in fields.items()}, coords)
    cycle = {"innovation": [0.9, 1.0, 1.4], "readings": [5.0, 5.0, 5.0]}
    ds = ds.assign({n: ("cycle", np.array(v)) for n, v in cycle.items()}).assign_coords(cycle_time=("cycle", coords["time"][1::2]))
    return ds, xr.Dataset({"t2m": (dims[1:], truth, {"units": "K"})}, coords)


_SPREADS = {"t2m": 0.5, "t2m_forecast": 0.8, "t2m_free": 1.5}


def test_the_page_says_what_is_known(tmp_path) -> None:
    ds, truth = assimilated()
    read = Readings(np.array([[1.0, 47.0], [3.0, 49.0]]), {}, ds["cycle_time"].values[:2])
    bare = Page(assimilation_report(tmp_path / "bare", ds, readings=read)).source
    assert "20 members, 3 cycles, 15 readings; innovation ratio 1.12: spread and noise are about right." in bare
    assert "coverage of 90" not in bare
    scored = assimilation_scores(ds, truth)
    whole = Page(assimilation_report(tmp_path / "whole", scored, readings=read)).source
    assert "Scores of t2m" in whole and "no readings" in whole and "rank" in whole and whole.count("<figure") > bare.count("<figure")
