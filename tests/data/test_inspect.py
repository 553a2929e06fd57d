from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.inspect import inspect_file, inspection
from tests.data.files import box, earth, save


def test_numbers_are_those_of_the_field(tmp_path):
    ds = earth(20)
    ds.t2m[:, 0, 0] = np.nan
    text = inspect_file(save(ds, tmp_path / "a.nc"))
    line = next(row for row in text.splitlines() if row.startswith("t2m"))
    name, unit, low, mean, high, std, missing = line.split()
    assert (name, unit, missing) == ("t2m", "K", "4.17%")
    field = ds.t2m.astype("float64")
    for shown, value in ((low, field.min()), (mean, field.mean()), (high, field.max()), (std, field.std())):
        # five digits are shown
        assert float(shown) == pytest.approx(float(value), rel=1e-4)
    assert "20 frames, 2020-01-01T00:00 to 2020-01-01T19:00, step 3600 s (1 h)" in text
    assert "float32 windows (1, time, 4, 6)" in text and "warning" not in text


def test_gaps_constant_fields_missing_units_and_empty_fields_are_told(tmp_path):
    hours = np.delete(np.arange(12), [5, 6])
    ds = earth(10, hours=hours, t2m=np.ones((10, 4, 6), "float32"), u10=np.full((10, 4, 6), np.nan, "float32"))
    del ds.t2m.attrs["units"]
    text = inspect_file(save(ds, tmp_path / "a.nc"))
    assert "gap     2 frames missing between 2020-01-01T04:00 and 2020-01-01T07:00" in text
    assert "warning: t2m does not change in time" in text and "warning: t2m has no unit" in text
    assert "warning: u10 has no value at all" in text and "physdiff will refuse this: u10" in text


@pytest.mark.parametrize(("hours", "message"), [([0, 1, 1, 2], "the same time twice at index 2"), ([0, 2, 4, 5], "expected a uniform time step")])
def test_a_bad_time_axis_is_told_not_raised(tmp_path, hours, message):
    text = inspect_file(save(earth(4, hours=np.array(hours)), tmp_path / "a.nc"))
    assert f"warning: time: expected {'increasing times, got ' if 'twice' in message else ''}{message.removeprefix('expected ')}" in text
    assert "physdiff will refuse this" in text


def test_the_reason_for_a_refusal_is_told_apart_from_the_text(tmp_path):
    good, bad = save(earth(), tmp_path / "good.nc"), save(earth(1), tmp_path / "bad.nc")
    assert inspection(good).refusal == "" and inspection(good).text == inspect_file(good)
    found = inspection(bad)
    assert found.refusal.startswith("time: expected at least two time steps, got 1") and f"physdiff will refuse this: {found.refusal}" in found.text


def test_samples_and_several_files(tmp_path):
    path = save(box(), tmp_path / "a.nc")
    text = inspect_file(path)
    assert "rows    sample 3" in text and "from 3 trajectories of 8 frames" in text and "step 0.5 1" in text
    assert "u " in inspect_file([str(path)], variables=["u"])
    with pytest.raises(DataError, match="found nothing there"):
        inspect_file(tmp_path / "none.nc")


def test_real_storm(shared_data):
    text = inspect_file(shared_data / "reanalysis" / "northamerica_storm_6h_1996-01-05_15_missing.nc")
    assert "44 frames" in text and "(6 h)" in text and "18.86%" in text
