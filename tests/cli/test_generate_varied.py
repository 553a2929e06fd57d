"""``physdiff generate --vary``."""

from __future__ import annotations

import pytest

from physdiff.data.open import open_dataset
from tests.cli.command import refuses, untouched, works

BURGERS = "--pde Burgers --pde.viscosity 1 --grid.shape 16 --samples 3 --frames.count 3 --frames.substeps 4"


def test_each_trajectory_has_its_own_number_beside_it(tmp_path):
    assert "each with its own viscosity" in works("generate", BURGERS, "--vary.viscosity [0.01,0.1] --out", tmp_path / "a.nc")
    ds = open_dataset(tmp_path / "a.nc")
    assert list(ds) == ["u", "viscosity"] and ds["viscosity"].dims == ds["u"].dims
    values = ds["viscosity"].values.reshape(3, -1)
    assert (values == values[:, :1]).all() and len(set(values[:, 0])) == 3 and 0.01 <= values.min() < values.max() <= 0.1
    works("generate", BURGERS, "--vary.viscosity [0.01,0.1] --seed 1 --out", tmp_path / "b.nc")
    assert (open_dataset(tmp_path / "b.nc")["viscosity"].values[:, 0, 0] != values[:, 0]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--vary.forcing [1,2] --vary.nu [1,2]", "vary: expected numbers of Burgers, which are viscosity; got 'forcing'"),
        ("--vary.viscosity [0.1,0.01]", "vary viscosity: expected two positive numbers, the lower first, got [0.1, 0.01]"),
        ("--vary.viscosity 0.1", "--vary: expected a list"),
        ("--vary.viscosity [0.01,0.1] --samples 0", "samples: expected a whole number, at least 1, got 0"),
    ],
)
def test_nonsense_is_refused(tmp_path, words, said):
    with untouched(tmp_path):
        assert said in refuses("generate", BURGERS, words, "--out", tmp_path / "a.nc")
