"""``physdiff forecast``: layout, selection of starts, going on, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from physdiff.base.saved import write
from physdiff.data.open import open_forecast
from physdiff.networks.mlp import MLP
from tests.cli.command import TINY, physdiff, refuses, untouched, works
from tests.cli.conftest import weather
from tests.data.files import earth, save

SHORT = "--lead 2 --members 2"


def test_starts_leads_and_members(tmp_path, era, era_prior):
    words = ("--prior", era_prior, "--initial", era, "--out", tmp_path / "fc.nc", "--lead 5 --members 3 --every 8 --select.start 2020-01-03")
    assert str(tmp_path / "fc.nc") in works("forecast", *words)
    fc = open_forecast(tmp_path / "fc.nc")
    assert dict(fc["t2m"].sizes) == {"init_time": 4, "member": 3, "lead_time": 5, "latitude": 6, "longitude": 8}
    # two known frames: the first start is the second frame of what was selected
    assert fc["init_time"].values[0] == np.datetime64("2020-01-03T03", "ns") and fc["lead_time"].values[0] == np.timedelta64(3, "h")
    assert fc["t2m"].attrs["units"] == "K" and np.isfinite(fc["t2m"].values).all()
    assert not (tmp_path / "fc.nc.parts").exists()


def test_seeds_make_forecasts_and_nothing_else_does(tmp_path, era, era_prior):
    found = {}
    for name, options in (("a", ""), ("b", ""), ("c", "--seed 1")):
        works("forecast", SHORT, "--every 20 --prior", era_prior, "--initial", era, "--out", tmp_path / name, options)
        found[name] = open_forecast(tmp_path / name)["t2m"].values
    assert np.array_equal(found["a"], found["b"]) and not np.array_equal(found["a"], found["c"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--lead 0", "lead: expected a whole number, at least 1, got 0"),
        ("--members 0", "members: expected a whole number, at least 1, got 0"),
        ("--every 0", "every: expected a whole number, at least 1, got 0"),
        ("--seed -1", "seed: expected a whole number, at least 0, got -1"),
        ("--select.start 2031-01-01", "got none from 2031-01-01"),
        ("--select.start 2020-01-06T09:00", "expected at least 2 known frames in a row, got 1 in all"),
    ],
)
def test_nonsense_is_refused(tmp_path, era, era_prior, words, said):
    with untouched(tmp_path):
        assert said in refuses("forecast", SHORT, "--prior", era_prior, "--initial", era, "--out", tmp_path / "fc.nc", words)


def test_what_is_no_prior_is_refused(tmp_path, era, frame_prior, era_prior):
    (tmp_path / "text.prior").write_text("no prior")
    (tmp_path / "empty.prior").touch()
    whole = era_prior.read_bytes()
    (tmp_path / "cut.prior").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "net.prior", MLP(1, 1, width=4))
    with untouched(tmp_path):
        for path, said in (
            (tmp_path / "none.prior", "expected a file written by physdiff, found none"),
            (tmp_path, "expected a file written by physdiff, found none"),
            (tmp_path / "text.prior", "expected a file written by physdiff (safetensors), got something else or a damaged one"),
            (tmp_path / "empty.prior", "got something else or a damaged one"),
            (tmp_path / "cut.prior", "got something else or a damaged one"),
            (era, "got something else or a damaged one"),
            (tmp_path / "net.prior", "expected a WindowPrior, got MLP"),
            (frame_prior, "expected a prior given known frames, got one without"),
        ):
            assert said in refuses("forecast", SHORT, "--prior", path, "--initial", era, "--out", tmp_path / "fc.nc")


def test_data_of_another_grid_unit_step_or_name_are_refused(tmp_path, era_prior, burgers):
    shifted = weather().assign_coords(longitude=np.arange(8) * 2.5 + 1)
    celsius = weather()
    celsius["t2m"].attrs["units"] = "degC"
    normalised = weather()
    normalised["t2m"] = (normalised["t2m"] - normalised["t2m"].mean()) / normalised["t2m"].std()
    normalised["t2m"].attrs["units"] = "K"
    others = {
        "values": (normalised, "they look normalised; give them as they were measured"),
        "grid": (earth(8), "expected LatLonGrid with latitude 6 (50 to 40) x longitude 8 (0 to 17.5), got LatLonGrid with latitude 4"),
        "place": (shifted, "longitude 8 (1 to 18.5); regrid one of them first"),
        "unit": (celsius, "t2m: expected the unit 'K', got 'degC'; convert the file"),
        "step": (weather().isel(time=slice(None, None, 2)), "expected a time step of 10800 s, got 21600 s; subsample it in time"),
        "name": (weather().rename(t2m="sst"), "expected a variable 't2m', got only sst"),
        "one": (weather(1), "expected at least 2 known frames in a row, got 1 in all"),
        "time": (weather().isel(time=0), "expected a time dimension"),
    }
    paths = {name: save(ds, tmp_path / f"{name}.nc") for name, (ds, _) in others.items()}
    with untouched(tmp_path):
        for name, (_, said) in others.items():
            assert said in refuses("forecast", SHORT, "--prior", era_prior, "--initial", paths[name], "--out", tmp_path / "fc.out")
        assert "expected a variable 't2m', got only u" in refuses(
            "forecast", SHORT, "--prior", era_prior, "--initial", burgers, "--out", tmp_path / "x"
        )


def test_places_that_are_none_are_refused(tmp_path, era, era_prior):
    (tmp_path / "file").write_text("x")
    with untouched(tmp_path):
        words = ("forecast", SHORT, "--prior", era_prior, "--initial", era)
        assert "got the folder" in refuses(*words, "--out", tmp_path)
        assert "expected a folder to write into" in refuses(*words, "--out", tmp_path / "file" / "fc.nc")


def test_missing_values_in_the_known_frames_are_filled(tmp_path, era_prior):
    ds = weather()
    ds["t2m"][-1, :3] = np.nan
    words = ("--select.start 2020-01-06 --prior", era_prior, "--initial", save(ds, tmp_path / "a.nc"), "--out", tmp_path / "fc.nc")
    done = physdiff("forecast", SHORT, *words)
    assert done.code == 0, done.err
    assert np.isfinite(open_forecast(tmp_path / "fc.nc")["t2m"].values).all()


@pytest.mark.slow
@pytest.mark.parametrize("process", ["interpolant", "bridge"])
def test_paired_states_are_trained_and_forecast_but_serve_no_posterior(process: str, tmp_path: Path, burgers: Path) -> None:
    prior = tmp_path / "i.prior"
    works(f"fit --recipe.process {process} --recipe.horizon 2", *TINY, "--data", burgers, "--out", prior)
    works("forecast --lead 3 --members 2 --every 8 --prior", prior, "--initial", burgers, "--out", tmp_path / "f.nc")
    with xr.open_dataset(tmp_path / "f.nc") as found:
        assert bool(found["u"].notnull().all()) and found.sizes["lead_time"] == 3
    assert "expected a DiffusionPrior, got InterpolantPrior" in refuses("diagnose", "--prior", prior, "--data", burgers, "--out", tmp_path / "d")
