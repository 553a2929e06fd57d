"""A recipe from a specification and arguments; every folder's script is run in tests/datasets."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.open import open_dataset
from physdiff.data.recipes.script import run_recipe
from physdiff.data.recipes.table import recipe

SPECIFICATION = {"name": "flow", "recipe": "fno_darcy", "parameters": {"resolution": 6, "lower": 2.0}, "samples": 3, "seed": 5}


def test_the_specification_decides_and_arguments_change(tmp_path):
    path = run_recipe(SPECIFICATION, ["--out", str(tmp_path / "a.nc")])
    want = recipe("fno_darcy", resolution=6, lower=2.0).generate(3, Rng(5))
    np.testing.assert_array_equal(open_dataset(path).pressure, want.pressure)
    path = run_recipe(SPECIFICATION, ["--out", str(tmp_path / "b.nc"), "--seed", "1", "--samples", "2", "--change", "lower=4", "mean=arithmetic"])
    want = recipe("fno_darcy", resolution=6, lower=4.0, mean="arithmetic").generate(2, Rng(1))
    np.testing.assert_array_equal(open_dataset(path).pressure, want.pressure)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--change", "resolution"], "expected NAME=VALUE"),
        (["--change", "=8"], "expected NAME=VALUE"),
        (["--change", "resolutoin=8"], "did you mean resolution"),
        (["--change", "resolution=fine"], "expected a whole number"),
        (["--samples", "0"], "samples: expected a whole number of at least 1"),
        (["--batch-size", "0"], "batch-size: expected a whole number of at least 1"),
    ],
)
def test_what_is_no_change_is_refused(tmp_path, words, said):
    with pytest.raises(InputError, match=said):
        run_recipe(SPECIFICATION, ["--out", str(tmp_path / "x.nc"), *words])
    assert not (tmp_path / "x.nc").exists()
