"""``physdiff generate --recipe``."""

from __future__ import annotations

from physdiff.data.open import open_dataset
from physdiff.data.recipes.table import RECIPES
from tests.cli.command import refuses, untouched, works

SMALL = "--recipe pdebench_advection --change.resolution 16 --change.horizon 0.02 --samples 2"


def test_a_recipe_with_changes(tmp_path):
    assert "wrote 2 samples of 3 frames" in works("generate", SMALL, "--change.velocity 1.5", "--out", tmp_path / "a.h5")
    ds = open_dataset(tmp_path / "a.h5")
    assert ds["u"].shape == (2, 3, 16) and '"velocity": 1.5' in ds.attrs["source"]
    with untouched(tmp_path):
        works("generate", SMALL, "--change.velocity 1.5", "--out", tmp_path / "a.h5")
        assert "recipe was" in refuses("generate", SMALL, "--out", tmp_path / "a.h5")


def test_help_lists_every_recipe():
    text = works("generate", "--help")
    words = text.replace("\n", " ").replace("-  ", "-").replace(",", " ").replace(".", " ").split()
    assert [name for name in RECIPES if name not in words] == []


def test_what_is_wrong_is_said(tmp_path):
    with untouched(tmp_path):
        for words, said in (
            ("--recipe fno_navier_stoke", "expected one of fno_burgers"),
            (f"{SMALL} --change.resolutoin 8", "did you mean resolution"),
            (f"{SMALL} --change.velocity fast", "velocity"),
            (f"{SMALL} --change.resolution 1.5", "expected a whole number"),
            (f"{SMALL} --samples 0", "samples: expected a whole number, at least 1"),
            (f"{SMALL} --pde Burgers", "--pde"),
        ):
            assert said in refuses("generate", words, "--out", tmp_path / "x.nc")
