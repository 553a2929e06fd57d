"""Names, changes, and what the literature says of each."""

from __future__ import annotations

import math

import pytest

from physdiff.base.errors import InputError
from physdiff.data.recipes.fno_burgers import FNOBurgers
from physdiff.data.recipes.table import RECIPES, recipe


def test_the_numbers_of_the_literature():
    paper, script = recipe("fno_burgers"), recipe("fno_burgers_script")
    assert isinstance(paper, FNOBurgers) and isinstance(script, FNOBurgers)
    assert (paper.viscosity, paper.sigma**2, paper.tau**2, paper.resolution) == (0.1, 625, 25, 8192)
    assert (script.viscosity, script.sigma, script.alpha, script.times.numel()) == (1e-3, 49, 2.5, 201)
    assert [RECIPES[n].times[-1].item() for n in ("fno_navier_stokes", "fno_navier_stokes_1e-4", "fno_navier_stokes_1e-5")] == [50, 30, 20]
    assert recipe("pdebench_burgers", nu=0.001).viscosity == pytest.approx(0.001 / math.pi)
    assert [RECIPES[n].times.numel() for n in ("pdebench_advection", "pdebench_burgers", "pdebench_diffusion_reaction")] == [201, 201, 101]
    assert RECIPES["wdno_burgers_super"].grid.shape == (1920,) and RECIPES["sda_kolmogorov"].grid.shape == (64, 64)


def test_names_and_numbers_that_are_none():
    with pytest.raises(InputError, match=r"expected one of fno_burgers, .*did you mean fno_navier_stokes"):
        recipe("fno_navierstokes")
    with pytest.raises(InputError, match="recipe fno_burgers: expected one of alpha, .*did you mean viscosity"):
        recipe("fno_burgers", viscocity=1.0)
    wrong = (({"viscosity": "high"}, "expected a number"), ({"resolution": 1.5}, "a whole number"), ({"resolution": True}, "a whole number"))
    for change, said in wrong:
        with pytest.raises(InputError, match=said):
            recipe("fno_burgers", **change)
