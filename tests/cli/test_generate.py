"""``physdiff generate``."""

from __future__ import annotations

import pytest
import xarray as xr

from physdiff.data.convert import spec_of
from physdiff.data.open import open_dataset
from tests.cli.command import refuses, untouched, works

BURGERS = "--pde Burgers --pde.viscosity 0.1 --grid.shape 16 --samples 1 --frames.count 3"


def test_the_file_is_netcdf_whatever_its_name_and_says_how_it_was_made(made, burgers):
    assert burgers.read_bytes()[:4] == b"\x89HDF"
    ds = open_dataset(burgers)
    spec = spec_of(ds)
    assert ds["u"].shape == (4, 12, 32) and spec.grid.periodic == (True,) and spec.dt == pytest.approx(0.025)
    with xr.open_dataset(burgers) as raw:
        assert "Burgers" in raw.attrs["source"] and "physdiff" in raw.attrs["history"]


def test_a_sample_depends_on_seed_and_index_alone(tmp_path):
    for name, options in (("two", "--samples 2"), ("five", "--samples 5"), ("other", "--samples 2 --seed 1")):
        works("generate", BURGERS, "--frames.substeps 4", options, "--out", tmp_path / name)
    two, five, other = (open_dataset(tmp_path / name)["u"].values for name in ("two", "five", "other"))
    assert (two == five[:2]).all() and not (two == other).any()


def test_planes_and_other_laws(tmp_path):
    words = "--pde NavierStokes --pde.viscosity 0.01 --grid.shape [12,16] --grid.extent [1.0,2.0] --samples 2 --frames.count 3 --frames.spin_up 0.05"
    assert str(tmp_path / "a" / "ns.nc") in works("generate", words, "--out", tmp_path / "a" / "ns.nc")
    assert open_dataset(tmp_path / "a" / "ns.nc")["vorticity"].shape == (2, 3, 12, 16)
    words = "--pde AdvectionDiffusion --pde.diffusivity 0.1 --pde.velocity [1.0,0.5] --grid.shape [12,16] --initial.length 0.3 --frames.count 3"
    works("generate", words, "--out", tmp_path / "ad.nc")
    words = "--pde AdvectionAdsorption --pde.velocity [1.0] --pde.adsorption 2.0 --pde.desorption 1.0 --grid.shape 16 --samples 1 --frames.count 3"
    works("generate", words, "--out", tmp_path / "aa.nc")
    assert list(open_dataset(tmp_path / "aa.nc")) == ["c", "q"]
    assert open_dataset(tmp_path / "ad.nc")["c"].shape == (16, 3, 12, 16)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--samples 0", "samples: expected a whole number, at least 1, got 0"),
        ("--frames.count 1", "frames.count: expected a whole number, at least 2, got 1"),
        ("--frames.dt 0", "frames.dt: expected a positive finite number, got 0.0"),
        ("--frames.spin_up -1", "frames.spin_up: expected a non-negative finite number, got -1.0"),
        ("--frames.substeps 0", "frames.substeps: expected a whole number, at least 1, got 0"),
        ("--seed -1", "expected a seed that is an integer >= 0, got -1"),
        ("--grid.periodic false --solver etdrk4", "it needs periodic axes"),
        ("--pde NavierStokes --pde.viscosity 0.1", "NavierStokes: expected a plane, got a grid of 1 dimensions"),
        ("--initial RandomField --initial.length 100", "holds no wave of that length; take a shorter one"),
    ],
)
def test_nonsense_is_refused(tmp_path, words, said):
    with untouched(tmp_path):
        assert said in refuses("generate", BURGERS, words, "--out", tmp_path / "a" / "x.nc")


def test_what_diverges_says_where_its_last_state_is(tmp_path):
    said = refuses("generate", BURGERS, "--initial.length 0.1 --initial.std 1e4 --frames.dt 10 --frames.substeps 1", "--out", tmp_path / "x.nc")
    assert "is not finite at time" in said and "none was done before" in said and not (tmp_path / "x.nc").exists()


def test_a_finished_file_is_kept_and_not_written_over_by_another_run(tmp_path):
    works("generate", BURGERS, "--out", tmp_path / "x.nc")
    with untouched(tmp_path):
        works("generate", BURGERS, "--out", tmp_path / "x.nc")
        assert "rng was" in refuses("generate", BURGERS, "--seed 1", "--out", tmp_path / "x.nc")
        assert "expected a file name that ends in .nc" in refuses("generate", BURGERS, "--out", tmp_path / "x.npz")


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with untouched(tmp_path):
        assert "got the folder" in refuses("generate", BURGERS, "--out", tmp_path)
        assert "expected a folder to write into" in refuses("generate", BURGERS, "--out", tmp_path / "file" / "x.nc")
