"""State and viscosity together from the command line: data, prior, readings, law, posterior; and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.data.open import open_dataset
from tests.cli.command import refuses, untouched, works

BURGERS = "--pde Burgers --pde.viscosity 1 --vary.viscosity [0.01,0.1] --grid.shape 32 --frames.count 5 --frames.dt 0.03 --frames.substeps 4"
SMOOTH = "--initial RandomField --initial.length 0.2 --initial.std 0.5"
RECIPE = "--recipe.history 0 --recipe.horizon 5 --recipe.wavelet none --recipe.parameters [viscosity] --recipe.gaussian modes"
LAW = "--law.pde Burgers --law.pde.viscosity 1"
DRAWN = "--std 0.03 --members 4 --against.steps 6"


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """A folder with training data, one true trajectory, readings of it, and a prior of fields and viscosity."""
    folder = tmp_path_factory.mktemp("joint")
    works("generate", BURGERS, SMOOTH, "--samples 40 --out", folder / "train.nc")
    works("generate", BURGERS, SMOOTH, "--samples 1 --seed 5 --out", folder / "true.nc")
    works("fit", RECIPE, "--training.max_steps 3 --data", folder / "train.nc", "--out", folder / "a.prior")
    u = open_dataset(folder / "true.nc")["u"].isel(sample=0)
    lines = [f"{float(u.x[i])},{float(u.time[t])},{float(u[t, i])}" for t, i in ((0, 3), (0, 12), (1, 30), (2, 7), (3, 20), (4, 25))]
    (folder / "sensors.csv").write_text("\n".join(["x,time,u", *lines]) + "\n", encoding="utf-8")
    return folder


def given(joint, sensors="sensors.csv"):
    return ("--prior", joint / "a.prior", "--sensors", joint / sensors)


def test_from_readings_and_law_to_state_and_viscosity(joint, tmp_path):
    beside = ("--law.truth", joint / "train.nc", "--against.truth", joint / "true.nc")
    said = works("infer", DRAWN, LAW, *given(joint), *beside, "--out", tmp_path / "a.nc")
    assert "4 draws at 5 times, 0 to 0.12, from 6 readings" in said and "viscosity: median" in said and "; truth 0.0" in said and "crps" in said
    drawn = xr.open_dataset(tmp_path / "a.nc").load()
    assert drawn["u"].dims == ("member", "time", "x") and drawn["viscosity"].dims == ("member",)
    assert np.isfinite(drawn["u"].values).all() and (drawn["viscosity"].values > 0).all() and len(set(drawn["viscosity"].values)) == 4
    assert drawn.attrs["history"] and drawn["time"].values[0] == 0
    works("infer", DRAWN, LAW, *given(joint), "--law.shared false --law.truth", joint / "train.nc", "--out", tmp_path / "own.nc")
    own = xr.open_dataset(tmp_path / "own.nc").load()["u"].values
    # one derivative for all draws is near each draw's own, and not the same
    assert 0 < np.abs(own - drawn["u"].values).max() < 0.5 * drawn["u"].values.std()
    works("infer", DRAWN, *given(joint), "--initial 0 --out", tmp_path / "b.nc")
    alone = xr.open_dataset(tmp_path / "b.nc").load()
    # the law moves every draw: the same noise without it gives others
    assert not np.allclose(alone["u"].values, drawn["u"].values, atol=1e-3)


def test_what_does_not_fit_is_refused(joint, tmp_path):
    (joint / "late.csv").write_text("x,time,u\n0.1,0.06,0.2\n0.1,0.24,0.2\n", encoding="utf-8")
    (joint / "still.csv").write_text("x,u\n0.1,0.2\n", encoding="utf-8")
    words = (DRAWN, *given(joint), "--out", tmp_path / "a.nc")
    with untouched(tmp_path):
        assert "expected law.truth (true windows, the tolerance is measured on them) or law.tolerance" in refuses("infer", *words, LAW)
        assert "got both" in refuses("infer", *words, LAW, "--law.tolerance 1 --law.truth", joint / "train.nc")
        assert "law.tolerance: expected a positive finite number, got 0.0" in refuses("infer", *words, LAW, "--law.tolerance 0")
        said = refuses("infer", *words, "--law.pde AllenCahn --law.pde.diffusivity 1 --law.tolerance 1")
        assert "expected the prior's parameters to be some of AllenCahn, which are diffusivity, rate" in said and "got viscosity" in said
        assert "law.truth: expected 8 windows of 5 frames or more, got 1" in refuses("infer", *words, LAW, "--law.truth", joint / "true.nc")
        assert "expected a number, in 1, as this prior's times are, got the date" in refuses("infer", *words, "--initial 2019-03-16")
        assert "initial: expected the time of the first frame, a number or a date" in refuses("infer", *words, "--initial soon")
        words = (DRAWN, "--out", tmp_path / "a.nc")
        assert "times of the window, 0.06 to 0.18 by 0.03 1, got 0.24" in refuses("infer", *words, *given(joint, "late.csv"))
        assert "expected a column 'time' in the readings, for windows of 5 frames" in refuses("infer", *words, *given(joint, "still.csv"))
