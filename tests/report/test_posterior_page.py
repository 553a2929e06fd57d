"""The page of a reconstruction: sensors where they are, misfits as computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.evaluation.evaluate import evaluate
from physdiff.report.posterior_page import Readings, posterior_report_page, posterior_sections
from physdiff.scores.crps import crps
from tests.report.page import Page


def members(frames=4, seed=0):
    rng = np.random.default_rng(seed)
    times = np.datetime64("2019-03-01T00", "ns") + np.arange(frames) * np.timedelta64(3600 * 10**9, "ns")
    space = {"latitude": np.linspace(58, 50, 5), "longitude": np.linspace(-10, 2, 7)}
    values = 280 + rng.normal(size=(6, frames, 5, 7))
    coords = {"member": np.arange(6), "time": times, **space}
    return xr.Dataset({"t2m": (("member", "time", *space), values, {"units": "K"})}, coords=coords)


def on_points(ds):
    """Readings at two grid points in frames 1 and 3: the ensemble mean there plus 1 and minus 3 K, and one that was not read."""
    places = np.array([[-10.0, 58.0], [2.0, 50.0], [0.0, 54.0]])
    mean = ds["t2m"].mean("member")
    values = np.array([float(mean[1, 0, 0]) + 1.0, float(mean[3, 4, 6]) - 3.0, np.nan])
    return Readings(places, {"t2m": values}, ds["time"].values[[1, 3, 3]])


def test_a_whole_page(tmp_path):
    ds = members()
    truth = members(6, seed=1).isel(member=0, drop=True)
    table = evaluate(ds, truth, {"crps": crps}, by=())
    path = posterior_report_page(tmp_path, ds, readings=on_points(ds), truth=truth, tables={"guided": table}, timings={"infer": 2.0})
    page = Page(path)
    page.check_self_contained()
    assert page.texts["h2"] == ["Reconstruction: t2m", "What was run"]
    assert "6 members from 3 readings, 4 frames." in page.texts["p"]
    assert f"{float(table['crps'][0]):.3f}" in page.texts["td"]
    assert len(page.all("img")) == 2


def test_misfit_by_hand():
    ds = members()
    (section,) = posterior_sections(ds, readings=on_points(ds))
    (table,) = section.tables
    spread = np.sqrt((ds["t2m"][:, 1, 0, 0].var(ddof=1) + ds["t2m"][:, 3, 4, 6].var(ddof=1)) / 2)
    # linear interpolation at a grid point is exact to rounding
    assert table.rows[0][:2] == ("t2m", 2)
    assert table.rows[0][2:] == pytest.approx((np.sqrt(5.0), -1.0, float(spread)), rel=1e-9)


def test_without_truth_there_are_maps_only():
    (section,) = posterior_sections(members(1).isel(time=0, drop=True))
    assert len(section.figures) == 1 and section.tables == ()
    assert "truth" not in section.figures[0].alt


def test_readings_belong_to_frames():
    ds = members()
    readings = on_points(ds)
    assert readings.at(ds["time"].values, 3).tolist() == [False, True, True]
    assert Readings(readings.places).at(ds["time"].values, 0).all()
    with pytest.raises(InputError, match="expected 3 entries"):
        Readings(readings.places, {"t2m": np.zeros(2)})


def test_what_does_not_fit_is_named():
    ds = members()
    with pytest.raises(InputError, match="at least two members"):
        posterior_sections(ds.isel(member=[0]))
    with pytest.raises(InputError, match="expected a truth at some times"):
        posterior_sections(ds.isel(time=[2, 3]), truth=ds.isel(member=0, time=slice(0, 2), drop=True))


def test_frames_without_truth_are_not_drawn():
    ds = members()
    (section,) = posterior_sections(ds, truth=ds.isel(member=0, time=[1, 2], drop=True), readings=on_points(ds))
    assert "at 2019-03-01T01:00, 2019-03-01T02:00." in section.figures[0].caption
