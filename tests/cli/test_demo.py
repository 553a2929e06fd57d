"""``physdiff demo`` in small."""

from __future__ import annotations

import math

import pytest
import xarray as xr

from physdiff.cli.demo import Size, turbulence
from physdiff.data.convert import spec_of
from tests.cli.command import refuses, untouched, works

TINY = "--size.points 32 --size.samples 8 --size.frames 30 --size.seconds 2 --size.floor 5 --size.cases 2"


def test_turbulence_keeps_its_last_trajectories_apart(tmp_path):
    train, test = turbulence(tmp_path, Size(points=16, samples=7, frames=8, lead=4, cases=3), 0)
    assert train.sizes["sample"] == 6 and test.sizes["sample"] == 1
    grid = spec_of(train).grid
    assert grid.periodic == (True, True) and grid.extent == pytest.approx((2 * math.pi, 2 * math.pi))
    # the mean of the vorticity of a periodic flow is zero, to rounding in float32
    assert abs(float(train["vorticity"].mean(("x", "y")).max())) < 1e-5 < 0.1 < float(train["vorticity"].std())
    assert (tmp_path / "turbulence.nc").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--members 0", "members: expected a whole number, at least 1, got 0"),
        ("--seed -1", "seed: expected a whole number, at least 0, got -1"),
        ("--size.points 8", "size.points: expected a whole number, at least 16, got 8"),
        ("--size.samples 1", "size.samples: expected a whole number, at least 2, got 1"),
        ("--size.frames 21", "size.frames: expected a whole number, at least 22, got 21"),
        ("--size.lead 0", "size.lead: expected a whole number, at least 1, got 0"),
        ("--size.cases 0", "size.cases: expected a whole number, at least 1, got 0"),
        ("--size.seconds 0", "size.seconds: expected a positive finite number, got 0.0"),
        ("--size.sensors 2", "size.sensors: expected a share above 0, at most 1, got 2.0"),
    ],
)
def test_nonsense_is_refused_before_the_work(tmp_path, words, said):
    with untouched(tmp_path):
        assert said in refuses("demo", TINY, "--out", tmp_path / "demo", words)


@pytest.mark.slow
def test_the_whole_chain(tmp_path):
    said = works("demo", TINY, "--members 19 --out", tmp_path / "demo")
    for stage in ("generate turbulence", "train the prior", "forecast", "score against baselines", "reconstruct from sensors", "write the report"):
        assert f"== {stage}" in said
    assert str(tmp_path / "demo" / "report" / "index.html") in said
    page = (tmp_path / "demo" / "report" / "index.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and 'src="http' not in page and "data:image" in page
    for name in ("turbulence.nc", "forecast.nc", "scores.nc", "posterior.nc", "sensors.csv", "turbulence.prior"):
        assert (tmp_path / "demo" / name).is_file()
    with xr.open_dataset(tmp_path / "demo" / "scores.nc") as scores:
        assert {"diffusion", "persistence", "damped persistence", "dressed persistence", "climatology"} == set(scores["forecast"].values.tolist())
        assert scores.sizes["lead_time"] == 20 and bool(scores["crps"].notnull().all())
