"""``physdiff assimilate``: a twin of a law, real readings with a prior, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cli.command import refuses, untouched, works
from tests.cli.conftest import weather
from tests.data.files import save

RING = "--pde Lorenz96 --grid.shape 40 --grid.extent 40 --std 1 --twin.substeps 1"
HEAD = "longitude,latitude,time,t2m [K]\n"


def test_a_twin_of_a_law(tmp_path):
    """Far below the noise of the readings after 60 cycles from climate; the same seed, the same file."""
    words = (RING, "--analysis.members 40 --analysis.inflation 1.05 --twin.count 80 --out")
    said = works("assimilate", *words, tmp_path / "a.nc")
    assert "wrote 40 members at 80 times, 80 cycles, 3200 readings" in said and "innovation ratio" in said and "analysis     state" in said
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert dict(found["state"].sizes) == {"member": 40, "time": 80, "x": 40} and found.attrs["Conventions"] == "CF-1.8"
        assert float(found["rmse_state"][60:].mean()) < 0.4 and found["state_truth"].dims == ("time", "x")
        first = found["state"].values
    works("assimilate", *words, tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "b.nc") as again:
        assert np.array_equal(again["state"].values, first)


def test_some_places_and_a_local_method(tmp_path):
    said = works(
        "assimilate",
        RING,
        "--analysis.method letkf --analysis.radius 7 --analysis.members 8 --twin.sensors 20 --twin.every 2 --twin.count 3 --twin.spin_up 1 --out",
        tmp_path / "a.nc",
    )
    assert "8 members at 6 times, 3 cycles, 60 readings" in said


@pytest.mark.parametrize(("method", "more"), [("etkf", "--analysis.inflation adaptive"), ("Guided", "--analysis.steps 4 --analysis.every 2")])
def test_real_readings_with_a_prior(tmp_path, era, era_prior, method, more):
    lines = [f"2.5,47.2,2020-01-05T{h:02d}:00,281\n10,42,2020-01-05T{h:02d}:00,282\n" for h in (6, 12, 18)]
    (tmp_path / "table.csv").write_text(HEAD + "".join(lines))
    words = ("--real.prior", era_prior, "--real.sensors", tmp_path / "table.csv", "--real.initial", era, "--real.truth", era)
    said = works("assimilate --std 0.3 --analysis.members 4", *words, f"--analysis.method {method}", more, "--out", tmp_path / "a.nc")
    assert "6 readings" in said and "no readings  t2m" in said
    with xr.open_dataset(tmp_path / "a.nc") as found:
        # the last frame before the first reading is at 03:00; windows of two steps end after the last one
        assert str(found["time"].values[0]).startswith("2020-01-05T06") and str(found["time"].values[-1])[:13] in ("2020-01-05T18", "2020-01-05T21")
        assert found["t2m"].dims == ("member", "time", "latitude", "longitude") and bool(found["t2m"].notnull().all())
        assert found["rmse_t2m_free"].attrs["units"] == "K" and float(found["readings"].sum()) == 6
        assert ("inflation" in found) == ("adaptive" in more)
    page = (tmp_path / "a.nc.report" / "index.html").read_text()
    assert "Assimilation: t2m" in page and "no readings" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--std 1", "expected a law (--pde, a twin experiment) or a prior (--real.prior), got both or neither"),
        ("--pde Lorenz96 --std 1", "expected the grid of the law"),
        (f"{RING} --analysis.method ekf", "got 'ekf'"),
        (f"{RING} --analysis.method letkf", "radius with 'letkf'"),
        (f"{RING} --analysis.members 1", "analysis.members: expected a whole number, at least 2, got 1"),
        (f"{RING} --analysis.inflation 0", "inflation: expected a positive finite number"),
        (f"{RING} --analysis.inflation much", "analysis.inflation"),
        (f"{RING} --twin.sensors 41", "expected at most the 40 grid points, got 41"),
        (f"{RING} --twin.dt 0", "twin.dt: expected a positive finite number"),
        (f"{RING} --analysis.method Guided --twin.spin_up 0", "expected a PriorModel of a DiffusionPrior"),
        ("--std 0 --pde Lorenz96 --grid.shape 40", "std: expected a positive finite number, got 0.0"),
    ],
)
def test_nonsense_is_refused(tmp_path, words, said):
    with untouched(tmp_path):
        assert said in refuses("assimilate", words, "--out", tmp_path / "a.nc")


def test_readings_that_do_not_fit_are_refused(tmp_path, era, era_prior, frame_prior):
    tables = {"early": "2020-01-01T00:00", "odd": "2020-01-05T07:30"}
    for name, when in tables.items():
        (tmp_path / f"{name}.csv").write_text(HEAD + f"2.5,47.2,{when},281\n")
    (tmp_path / "places.csv").write_text("longitude,latitude,t2m\n2.5,47.2,281\n")
    base = ("assimilate", "--std 0.3 --analysis.members 3 --out", tmp_path / "a.nc", "--real.initial", era, "--real.prior")
    scaled = weather()
    scaled["t2m"] = ((scaled["t2m"] - scaled["t2m"].mean()) / scaled["t2m"].std()).assign_attrs(units="K")
    save(scaled, tmp_path / "scaled.nc")
    with untouched(tmp_path):
        words = (*base, era_prior, "--real.sensors", tmp_path / "odd.csv", "--real.initial", tmp_path / "scaled.nc")
        assert "real.initial: expected t2m like the training data" in refuses(*words)
        assert "2 frames before the first reading at 2020-01-01T00:00, got 0" in refuses(*base, era_prior, "--real.sensors", tmp_path / "early.csv")
        assert "whole steps of 10800 s" in refuses(*base, era_prior, "--real.sensors", tmp_path / "odd.csv")
        assert "expected a column 'time', got none" in refuses(*base, era_prior, "--real.sensors", tmp_path / "places.csv")
        assert "given known frames, got one without" in refuses(*base, frame_prior, "--real.sensors", tmp_path / "odd.csv")
        assert "real.sensors: expected a file" in refuses("assimilate", "--std 0.3 --out", tmp_path / "a.nc", "--real.prior", era_prior)
