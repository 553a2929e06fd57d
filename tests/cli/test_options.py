"""Selections in time, and places to write to that are looked at before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.cli.options import Select, Times, Training, check_at_least, checked_file, checked_folder, cut_to, opened, opened_for, tasks_of
from physdiff.cli.splits import as_list
from physdiff.data.convert import grid_of
from physdiff.data.open import open_dataset
from physdiff.diffusion.window_prior import WindowPrior
from tests.cli.command import TINY, refuses, untouched, works
from tests.data.files import box, earth, save


def test_dates_select_whole_days_and_numbers_their_range(tmp_path):
    path = str(save(earth(hours=6 * np.arange(12)), tmp_path / "a.nc"))
    # a date without an hour means all of that day
    assert opened(path, Select(start="2020-01-02", stop="2020-01-02")).sizes["time"] == 4
    assert opened(path, Select(stop="2020-01-01T06")).sizes["time"] == 2
    assert opened(path, Select("t2m")).sizes["time"] == 12
    numbers = str(save(box(8), tmp_path / "b.nc"))
    chosen = opened(numbers, Select(["u"], start="0.5", stop="1.5"))
    assert chosen["time"].values.tolist() == [0.5, 1.0, 1.5] and list(chosen.data_vars) == ["u"]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (Select(start="2030-01-01"), "expected times within 2020-01-01T00:00 to 2020-01-01T11:00, got none from 2030-01-01 to 2020-01-01T11:00"),
        (Select(start="2020-01-01T08", stop="2020-01-01T03"), "got none from 2020-01-01T08 to 2020-01-01T03"),
        (Select(start="yesterday"), "expected dates as 2019-03-15 for start and stop, got yesterday and None"),
        (Select("rain"), "expected a variable 'rain'"),
    ],
)
def test_a_selection_of_nothing_is_refused(tmp_path, select, message):
    path = str(save(earth(), tmp_path / "a.nc"))
    with pytest.raises(DataError, match=message):
        opened(path, select)


def test_a_region_and_a_mask_by_name(tmp_path):
    land = np.ones((4, 6), "float32")
    land[0, :2] = 0
    ds = earth()
    path = str(save(ds.assign(land=(("latitude", "longitude"), land)), tmp_path / "a.nc"))
    north = float(ds["latitude"].max())
    part = opened(path, Select("t2m", region=f"latitude {north - 1e-3} to {north}"))
    assert part.sizes["latitude"] == 1 and list(part.data_vars) == ["t2m"]
    masked = opened(path, Select(mask="land"))
    assert list(masked.data_vars) == ["t2m"] and bool((masked["t2m"].isnull() == (land == 0)).all())
    assert list(opened(path, Select("t2m", mask="land"), statics=("land",)).data_vars) == ["t2m", "land"]  # told as well
    with pytest.raises(DataError, match="select.mask: expected a variable 'sea'"):
        opened(path, Select(mask="sea"))
    with pytest.raises(InputError, match="region: expected points of latitude"):
        opened(path, Select(region="latitude -80 to -70"))
    empty = str(save(ds.assign(land=(("latitude", "longitude"), 0 * land)), tmp_path / "b.nc"))
    with pytest.raises(DataError, match="got zeros alone"):
        opened(empty, Select(mask="land"))


def test_a_selection_by_the_wrong_kind_of_time_is_refused(tmp_path):
    path = str(save(box(), tmp_path / "a.nc"))
    with pytest.raises(DataError, match="expected numbers for start and stop, got monday"):
        opened(path, Select(start="monday"))
    mixed = str(save(earth().isel(time=[0, 3, 2, 4]), tmp_path / "mixed.nc"))
    with pytest.raises(DataError, match="expected increasing times, got a step backwards at index 2"):
        opened(mixed, Select(start="2020-01-01"))


@pytest.mark.parametrize(
    "wrong",
    [{"floor": 0}, {"max_steps": 0}, {"batch_size": 0}, {"save_every": 0}, {"seed": -1}, {"seconds": 0.0}, {"seconds": float("nan")}]
    + [{"lr": 0.0}, {"ema": 1.0}, {"ema": -0.1}, {"input_noise": -1.0}],
)
def test_a_training_plan_that_makes_no_sense_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=rf"training\.{name}: expected"):
        Training(**wrong)


def test_small_checks():
    assert as_list(None) is None and as_list("a") == ["a"] and as_list(["a", "b"]) == ["a", "b"]
    assert Times() == Times(None, None)
    check_at_least(None, 1, "x")
    check_at_least(1, 1, "x")
    with pytest.raises(InputError, match="x: expected a whole number, at least 1, got 0"):
        check_at_least(0, 1, "x")


def test_places_to_write_to_are_checked_and_left_alone(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    with untouched(tmp_path):
        assert checked_file("new.nc").name == "new.nc" and str(checked_file("a/b/new.nc")) == os.path.join("a", "b", "new.nc")
        assert checked_file("file").name == "file"  # an old file is replaced once the new one is whole
        assert checked_folder("folder") == checked_folder("folder/") and checked_folder("folder/new/one").name == "one"
        for path, message in (("folder", "got the folder folder"), ("new/", "got the folder new/"), ("", "got none"), ("file/x.nc", "which is none")):
            with pytest.raises(DataError, match=message):
                checked_file(path)
        for path, message in (("file", "which is none"), ("file/sub", "which is none"), ("", "got none")):
            with pytest.raises(DataError, match=message):
                checked_folder(path)
        # whoever runs the tests may be allowed everything
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(DataError, match="expected a folder that may be written to, got .*, which may not; check its permissions"):
            checked_file("new.nc")


@pytest.fixture(scope="module")
def told(tmp_path_factory, era) -> tuple[Path, Path]:
    """A prior of a region that is told a height and has no values on land, and the file of both."""
    folder = tmp_path_factory.mktemp("told")
    height, sea = np.random.default_rng(1).random((6, 8)).astype("float32") * 900, np.ones((6, 8), dtype="float32")
    sea[2, 3] = 0
    at = ("latitude", "longitude")
    grid = xr.open_dataset(era)[["latitude", "longitude"]]
    fixed = save(grid.assign(height=(at, height, {"units": "m"}), sea=(at, sea, {"units": "1"})), folder / "fixed.nc")
    region = Path("latitude 42 to 48, longitude 2 to 13")
    words = ("--recipe.statics [height] --select.mask sea --select.region", region, "--data", Path(f"[{era}, {fixed}]"))
    works("fit --recipe.horizon 2", *TINY, *words, "--out", folder / "a.prior")
    return folder / "a.prior", fixed


def test_data_that_reach_further_are_cut_to_the_grid_of_the_prior(told, era):
    prior = WindowPrior.load(told[0])
    ds = opened_for([str(era), str(told[1])], prior)
    assert ds["latitude"].values.tolist() == [48.0, 46.0, 44.0, 42.0] and ds["longitude"].values.tolist() == [2.5, 5.0, 7.5, 10.0, 12.5]
    sea = xr.open_dataset(told[1])["sea"].sel(latitude=ds["latitude"], longitude=ds["longitude"]).values != 0
    assert prior.spec.mask is not None and np.array_equal(prior.spec.mask.numpy(), sea) and not sea.all()
    plain = open_dataset(era)
    assert cut_to(plain, grid_of(plain[["t2m"]])) is plain


def test_forecast_and_scores_from_the_whole_map_are_those_of_the_region(told, era, tmp_path):
    prior, fixed = told
    words = ("--lead 2 --members 2 --every 8 --prior", prior)
    works("forecast", *words, "--initial", Path(f"[{era}, {fixed}]"), "--out", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as made:
        t2m = made["t2m"].values
    assert t2m.shape[-2:] == (4, 5) and np.isnan(t2m).all((0, 1, 2)).sum() == np.isnan(t2m).any((0, 1, 2)).sum() == 1  # land
    works("evaluate --forecast", tmp_path / "a.nc", "--truth", era, "--out", tmp_path / "scores")
    with xr.open_dataset(tmp_path / "scores" / "scores.nc") as scores:
        assert np.isfinite(scores["crps"].sel(forecast="forecast").values).all()
    said = refuses("forecast", *words, "--initial", era, "--out", tmp_path / "b.nc")
    assert "static field 'height' too" in said and "as in [fields.nc, height.nc]" in said
    part = save(xr.open_dataset(era, decode_times=False).isel(latitude=slice(0, 2)), tmp_path / "north.nc")
    assert "expected LatLonGrid with latitude 4" in refuses("forecast", *words, "--initial", Path(f"[{part}, {fixed}]"), "--out", tmp_path / "b.nc")


def test_assimilate_takes_static_fields_beside_the_known_frames(told, era, tmp_path):
    prior, fixed = told
    lines = "".join(f"7.5,44,2020-01-05T{h:02d}:00,281\n" for h in (6, 12))
    (tmp_path / "table.csv").write_text("longitude,latitude,time,t2m [K]\n" + lines)
    words = ("--std 0.3 --analysis.members 3 --real.prior", prior, "--real.sensors", tmp_path / "table.csv")
    works("assimilate", *words, "--real.initial", Path(f"[{era}, {fixed}]"), "--out", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert found["t2m"].shape[-2:] == (4, 5) and int(np.isfinite(found["t2m"][0, 0]).sum()) == 19  # all but land
    assert "static field 'height' too" in refuses("assimilate", *words, "--real.initial", era, "--out", tmp_path / "b.nc")


def test_infer_takes_static_fields_of_a_prior_without_a_past(told, era, sensors, tmp_path):
    _, fixed = told
    data = Path(f"[{era}, {fixed}]")
    works("fit --recipe.history 0 --recipe.horizon 1 --recipe.statics [height]", *TINY, "--data", data, "--out", tmp_path / "a.prior")
    words = ("--std 0.5 --members 3 --against.steps 4 --prior", tmp_path / "a.prior", "--sensors", sensors)
    works("infer", *words, "--initial", data, "--out", tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert found["t2m"].shape == (3, 2, 6, 8) and bool(found["t2m"].notnull().all())
    assert "expected data with height, which this prior is told (initial), got None" in refuses("infer", *words, "--out", tmp_path / "b.nc")


def test_tasks_are_lists_of_frames_or_all():
    assert tasks_of([{"u": [0, -1], "force": "all"}, {}], "tasks") == [{"u": (0, -1), "force": "all"}, {}]
    for wrong in (0, "first"):
        with pytest.raises(InputError, match=f"tasks: expected 'all' or frames in a list for u, .*got {wrong}"):
            tasks_of([{"u": wrong}], "tasks")
