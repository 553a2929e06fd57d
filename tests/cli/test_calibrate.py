"""``physdiff calibrate``: bands with their guarantee, scored by ``evaluate``; what cannot calibrate is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.data.write import write_dataset
from tests.cli.command import refuses, untouched, works
from tests.data.files import earth, save

HOUR = np.timedelta64(3600 * 10**9, "ns")
FRAMES = 200


def truth():
    """Independent hours, so that past and new starts are exchangeable."""
    values = np.random.default_rng(0).normal(280, 1, (FRAMES, 4, 5)).astype("float32")
    return earth(hours=np.arange(FRAMES), ny=4, nx=5, t2m=values)


def forecast(starts, members=20, leads=2, **attrs):
    """Members of half the true spread about its mean: bands must be wider."""
    real = truth()
    values = np.random.default_rng(1).normal(280, 0.5, (len(starts), members, leads, 4, 5))
    coords = {"init_time": real["time"].values[starts], "member": np.arange(members), "lead_time": np.arange(1, leads + 1) * HOUR}
    coords |= {d: real[d] for d in ("latitude", "longitude")}
    dims = ("init_time", "member", "lead_time", "latitude", "longitude")
    return xr.Dataset({"t2m": (dims, values, {"units": "K", **attrs})}, coords)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bands")
    save(truth(), folder / "truth.nc")
    for name, made in {
        "past": forecast(range(0, 120, 3)),
        "few": forecast(range(0, 15, 3)),
        "every": forecast(range(120)),
        "new": forecast(range(120, 190, 3)),
        "next": forecast(range(120, 190)),
        "grid": forecast(range(120, 190, 3)).isel(latitude=slice(3)),
        "unit": forecast(range(120, 190, 3), units="degC"),
        "members": forecast(range(120, 190, 3), members=8),
    }.items():
        write_dataset(made, folder / f"{name}.nc")
    return folder


def words(files, past="past", new="new"):
    return ("--truth", files / "truth.nc", "--past", files / f"{past}.nc", "--forecast", files / f"{new}.nc", "--out")


@pytest.mark.parametrize("extra", ["", "--band.together field", "--band.together trajectory --band.share 0.8 --band.scale none"])
def test_bands_carry_their_guarantee_and_hold(tmp_path, files, extra):
    said = works("calibrate", *words(files), tmp_path / "bands.nc", extra)
    with xr.open_dataset(tmp_path / "bands.nc", decode_timedelta=True) as band:
        assert band.attrs["guarantee"] in said and "40 calibration cases" in band.attrs["guarantee"] and band.attrs["Conventions"] == "CF-1.8"
        assert band["t2m_lower"].attrs["units"] == "K" and band["t2m_lower"].dims == ("init_time", "lead_time", "latitude", "longitude")
        assert band.sizes["init_time"] == 24
        inside = []
        for k in (1, 2):
            real = truth()["t2m"].sel(time=band["init_time"] + k * HOUR).values
            part = band.isel(lead_time=k - 1)
            inside.append((part["t2m_lower"].values <= real) & (real <= part["t2m_upper"].values))
        if not extra:
            # 20 cells x 2 leads of one calibration set each: mean 0.9, of a cell's coverage sd 0.047, of 24 starts 0.061; the mean of 40 has 0.012
            assert abs(np.mean(inside) - 37 / 41) < 4 * 0.012
        else:
            assert np.mean(inside) > (0.9 if "field" in extra else 0.8)
    assert "mean width of the band of t2m (K): " in said and " at 1 h" in said


def test_evaluate_scores_the_bands(tmp_path, files):
    works("calibrate", *words(files), tmp_path / "bands.nc")
    said = works("evaluate --forecast", tmp_path / "bands.nc", "--truth", files / "truth.nc", "--out", tmp_path / "report")
    assert "interval_score of t2m" in said
    with xr.open_dataset(tmp_path / "report" / "scores.nc") as scores:
        assert abs(float(scores["band_coverage"].mean()) - 0.9) < 0.06 and scores["forecast"].values.tolist() == ["forecast"]
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Coverage of the band" in page and "Interval score (K)" in page and "Bands from 24 starts, 2 lead times." in page
    assert "Band of t2m at latitude" in page and "the truth lies inside at" in page
    assert "Ranks of the truth" not in page and "ensemble mean" not in page, "bounds are no members"


def test_bands_start_by_start(tmp_path, files):
    said = works("calibrate", *words(files, past="every", new="next"), tmp_path / "bands.nc", "--sequential quantiles")
    with xr.open_dataset(tmp_path / "bands.nc", decode_timedelta=True) as band:
        assert band.sizes["init_time"] == 70 and "In the long run" in said and bool(band["t2m_lower"].isel(lead_time=0).notnull().all())


def test_what_cannot_calibrate_is_refused(tmp_path, files):
    with untouched(tmp_path):
        for given, more, said in (
            (dict(past="few"), "", "expected at least 9 calibration cases for a level of 0.9, got 5; give more cases or a level of at most 0.833"),
            (dict(past="past"), "--level 0.99", "expected at least 99 calibration cases for a level of 0.99, got 40"),
            (dict(past="past"), "--level 90", "a probability between 0 and 1"),
            (dict(past="new"), "", "got one file for both"),
            (dict(past="next"), "", "other times than the new ones (2020-01-06T01:00 to 2020-01-08T23:00), got 70 of 70 that share some"),
            (dict(new="grid"), "", "the new forecast: expected LatLonGrid with latitude 4"),
            (dict(new="unit"), "", "t2m of the new forecast: expected the unit 'K', got 'degC'"),
            (dict(new="members"), "", "as many members as in the pairs, 20, got 8"),
            (dict(), "--band.share 0.5", "1 with together='points'"),
            (dict(), "--sequential quantiles --band.together field", "expected none beside --sequential"),
            (dict(past="every", new="new"), "--sequential quantiles", "equally spaced"),
        ):
            assert said in refuses("calibrate", *words(files, **given), tmp_path / "bands.nc", more), said
