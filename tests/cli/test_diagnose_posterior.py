"""``physdiff diagnose --sensors``: from a prior and places of sensors to a verdict and a page."""

from __future__ import annotations

import pytest
import xarray as xr

from tests.cli.command import refuses, untouched, works

FEW = "--trials.cases 10 --trials.places 1 --draws.steps 4 --std 0.3"


def calibrated(out, *words) -> xr.Dataset:
    said = works("diagnose", FEW, *words, "--out", out)
    assert "t2m mean" in said and "distance to a random point" in said and "10 cases" in said
    assert (out / "index.html").is_file() and (out / "calibration.png").is_file()
    assert len(list((out / "cases").glob("case_*.nc"))) == 10
    with xr.open_dataset(out / "calibration.nc") as found:
        return found.load()


def test_truths_of_the_prior(tmp_path, era, frame_prior, sensors) -> None:
    found = calibrated(tmp_path, "--prior", frame_prior, "--sensors", sensors, "--data", era)
    assert found.sizes["case"] == 10 and found.attrs["truths"] == "prior" and found.attrs["mean_nfe"] > 0


@pytest.mark.slow
def test_truths_of_the_data(tmp_path, era, frame_prior, sensors) -> None:
    found = calibrated(tmp_path, "--prior", frame_prior, "--sensors", sensors, "--data", era, "--draws.truths data")
    assert found.attrs["truths"] == "data"


def test_refusals(tmp_path, frame_prior, sensors) -> None:
    words = ("--prior", frame_prior, "--sensors", sensors, "--out", tmp_path / "a")
    with untouched(tmp_path):
        assert "for a prior with conditions, got none; add --data" in refuses("diagnose", FEW, *words)
        assert "std: expected a positive finite number" in refuses("diagnose", "--std 0", *words)
        assert "cases >= 10" in refuses("diagnose", "--std 1 --trials.cases 3", *words)
        assert "did you mean TwistedSMC" in refuses("diagnose", "--std 1 --method TwistdSMC", *words)
