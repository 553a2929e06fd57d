"""Runs that are cut into batches: the same numbers however they are cut, killed or written."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.data.generate import generate
from physdiff.data.open import open_dataset
from physdiff.data.stream import Run, make
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.solvers.etdrk import ETDRK2, ETDRK4
from physdiff.solvers.initial import RandomField

GRID = CartesianGrid((12, 16), (1.0, 1.5))
TIMES = torch.linspace(0, 1, 3, dtype=torch.float64)
needs_zarr = pytest.mark.skipif(importlib.util.find_spec("zarr") is None, reason="the package zarr is not installed")


def made(out=None, *, viscosity=0.1, seed=0, stepper=ETDRK4, length=0.3, **options):
    options = {"samples": 5, "substeps": 4, "batch_size": 2, **options}
    return generate(stepper(Burgers(viscosity), Spectral(GRID)), RandomField(length=length), TIMES, rng=Rng(seed), out=out, **options)


@pytest.mark.parametrize("name", ["a.nc", "a.h5", "a", pytest.param("a.zarr", marks=needs_zarr)])
def test_a_file_holds_what_memory_would(tmp_path, name):
    ds, want = made(tmp_path / name), made()
    np.testing.assert_array_equal(ds.u.values, want.u.values)
    assert ds.u.dtype == np.float64 and ds.sample.values.tolist() == [0, 1, 2, 3, 4]
    again = open_dataset(tmp_path / name)
    np.testing.assert_array_equal(again.u, want.u.astype("float32"))
    np.testing.assert_array_equal(again.time, want.time)
    assert again.u.attrs["units"] == "1" and "Burgers" in again.attrs["source"] and again.x.attrs["periodic"] == "true"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_h5_is_hdf5(tmp_path):
    made(tmp_path / "a.h5", samples=1)
    assert (tmp_path / "a.h5").read_bytes()[:4] == b"\x89HDF"


@pytest.mark.parametrize("name", ["a.nc", pytest.param("a.zarr", marks=needs_zarr)])
def test_what_is_finished_is_opened_and_not_computed_again(tmp_path, name):
    made(tmp_path / name)
    before = (tmp_path / name).stat().st_mtime_ns
    np.testing.assert_array_equal(made(tmp_path / name).u, made().u)
    assert (tmp_path / name).stat().st_mtime_ns == before


@pytest.mark.parametrize("moment", ["while writing", "before the name"])
def test_a_run_killed_at_its_card_leaves_none_or_a_whole_one(tmp_path, monkeypatch, moment):
    """The card tells what the parts are of; half of one would block the folder for ever."""
    write, replace, killed = Path.write_text, os.replace, []

    def half(self, text, **options):
        if moment == "while writing" and "run.json" in self.name and not killed:
            killed.append(write(self, text[: len(text) // 2], **options))
            raise Killed
        return write(self, text, **options)

    def not_renamed(source, target):
        if moment == "before the name" and Path(target).name == "run.json" and not killed:
            killed.append(source)
            raise Killed
        return replace(source, target)

    monkeypatch.setattr(Path, "write_text", half)
    monkeypatch.setattr(os, "replace", not_renamed)
    with pytest.raises(Killed):
        made(tmp_path / "a.nc")
    assert killed and not (tmp_path / "a.nc.parts" / "run.json").exists() and not (tmp_path / "a.nc").exists()
    np.testing.assert_array_equal(made(tmp_path / "a.nc").u, made().u)


class Killed(BaseException):
    """No error that anybody handles."""


CHILD = """
import sys, time, torch
from physdiff.data import stream
slow = stream.write_dataset
def write(ds, path):
    slow(ds, path)
    time.sleep(0.5)
stream.write_dataset = write
from tests.data.test_stream import made
from pathlib import Path
torch.set_num_threads(1)
made(Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    out, parts = tmp_path / "a.nc", tmp_path / "a.nc.parts"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(out)], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while len(list(parts.glob("0*.nc"))) < 2 and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    left = {p.name: p.stat().st_mtime_ns for p in parts.glob("0*.nc")}
    assert len(left) >= 2 and not out.exists(), "the process was to be killed half-way"
    with pytest.raises(DataError, match=r"unfinished run lies in .*law was .*0\.1.* is .*0\.2"):
        made(out, viscosity=0.2)
    with pytest.raises(DataError, match="rng was"):
        made(out, seed=1)
    assert {p.name: p.stat().st_mtime_ns for p in parts.glob("0*.nc")} == left
    torn = parts / f".{next(iter(left))}.dead.part"
    torn.write_bytes(b"half a file")  # what a process killed while writing leaves
    np.testing.assert_array_equal(made(out).u.values, made().u.values)
    assert not parts.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"viscosity": 0.2}, "law was"),
        ({"seed": 1}, "rng was"),
        ({"samples": 4}, "samples was 5, is 4"),
        ({"batch_size": 3}, "batch_size was 2, is 3"),
        ({"substeps": 5}, "options was"),
        ({"stepper": ETDRK2}, "solver was ETDRK4"),
        ({"length": 0.4}, "initial was"),
    ],
)
def test_another_run_is_not_written_over_a_file(tmp_path, change, said):
    made(tmp_path / "a.nc")
    with pytest.raises(DataError, match=said):
        made(tmp_path / "a.nc", **change)


def test_places_that_do_not_do(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.nc, .*got '\.npz'"):
        made(tmp_path / "a.npz")
    (tmp_path / "a.nc").write_text("something else")
    with pytest.raises(DataError, match="got a file of something else"):
        made(tmp_path / "a.nc")
    assert (tmp_path / "a.nc").read_text() == "something else"
    with pytest.raises(DataError, match="expected a folder to write into"):
        made(tmp_path / "a.nc" / "b.nc")
    (tmp_path / "c.nc.parts").mkdir()
    (tmp_path / "c.nc.parts" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="got other files"):
        made(tmp_path / "c.nc")
    with pytest.raises(InputError, match="did you mean substeps"):
        made(substep=3)


def test_zarr_that_is_not_installed_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install .physdiff\[zarr\]"):
        made(tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())


def test_memory_holds_one_batch(tmp_path):
    """The arrays alive together while a run is written are those of a batch: no more than the largest count asked for."""
    counts = []

    def batch(start, count, tick):
        counts.append(count)
        tick(count * 2)
        return {"u": torch.full((count, 2, 3), float(start))}

    spec = FieldSpec(("u",), ("1",), CartesianGrid(3), 1.0)
    ds = make(Run(spec, torch.tensor([0.0, 1.0]).double(), batch, {}, {}), 7, 3, out=tmp_path / "a.nc")
    assert counts == [3, 3, 1] and ds.u[:, 0, 0].values.tolist() == [0, 0, 0, 3, 3, 3, 6]
    assert json.loads(ds.attrs["physdiff_run"]) == {"samples": "7", "batch_size": "3"}


def test_what_diverges_leaves_the_samples_done_and_the_last_good_state(tmp_path):
    def batch(start, count, tick):
        if start == 2:
            error = Diverged("u", 0.5, "take shorter steps")
            error.last_good, error.last_time = {"u": torch.full((count, 3), 7.0)}, 0.25
            raise error
        return {"u": torch.zeros(count, 2, 3)}

    spec = FieldSpec(("u",), ("1",), CartesianGrid(3), 1.0)
    out = tmp_path / "a.nc"
    said = r"samples 2 to 3 are concerned, .*time 0\.25\) is .*a\.nc\.diverged\.nc, those done before lie in .*a\.nc\.parts"
    with pytest.raises(Diverged, match=said):
        make(Run(spec, torch.tensor([0.0, 1.0]).double(), batch, {}, {}), 6, 2, out=out)
    bad = open_dataset(tmp_path / "a.nc.diverged.nc")
    assert bad.sample.values.tolist() == [2, 3] and bad.time.values.tolist() == [0.25] and (bad.u == 7).all()
    assert open_dataset(tmp_path / "a.nc.parts" / "00000000.nc").sizes["sample"] == 2 and not out.exists()
