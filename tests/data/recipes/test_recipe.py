"""What all recipes share: samples by index, files, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of
from physdiff.data.recipes.pdearena_smoke import PDEArenaSmoke
from physdiff.data.recipes.pdebench_incompressible import PDEBenchIncompressible
from physdiff.data.recipes.recipe import check_at_least, check_divides
from physdiff.data.recipes.table import RECIPES, recipe
from physdiff.data.recipes.wdno_smoke import WDNOSmoke

SMALL = {
    "fno_burgers": {"solved": 64, "resolution": 32, "step": 0.05},
    "fno_darcy": {"resolution": 8},
    "fno_navier_stokes": {"solved": 16, "resolution": 8, "horizon": 0.2, "interval": 0.1, "step": 0.05},
    "pdebench_advection": {"resolution": 32, "horizon": 0.1, "interval": 0.05},
    "pdebench_burgers": {"resolution": 32, "refine": 2, "horizon": 0.02, "nu": 0.1},
    "pdebench_compressible": {"resolution": 16, "horizon": 0.02},
    "pdebench_compressible_plane": {"resolution": 10, "horizon": 0.05},
    "pdebench_diffusion_reaction": {"resolution": 8, "horizon": 0.1},
    "pdebench_diffusion_sorption": {"resolution": 8, "horizon": 10.0},
    "pdebench_reaction_diffusion": {"resolution": 16, "horizon": 0.02},
    "pdebench_shallow_water": {"resolution": 64, "horizon": 0.01},
    "sda_kolmogorov": {"solved": 16, "resolution": 8, "frames": 2, "dropped": 1, "step": 0.05},
    "wdno_burgers": {"resolution": 32, "horizon": 0.1, "intervals": 2, "step": 0.01},
}


@pytest.mark.parametrize("name", SMALL)
def test_samples_depend_on_their_index_alone_and_carry_names_times_and_places(name):
    made = recipe(name, **SMALL[name])
    together = made.generate(3, Rng(0), batch_size=3, dtype=torch.float64)
    apart = made.generate(2, Rng(0), batch_size=1, dtype=torch.float64)
    assert tuple(together.data_vars) == made.names and together.sizes["time"] == made.times.numel()
    for field in made.names:
        # transforms of another batch size may round differently: float64, or float32 where the recipe computes in it
        tolerance = 1e-9 if made.precision == torch.float64 else 2e-4
        np.testing.assert_allclose(together[field][:2], apart[field], atol=tolerance)
        assert not np.allclose(together[field][0], together[field][1])
    # one frame has no step of time, which a spec wants
    assert made.times.numel() == 1 or spec_of(together).grid.same_as(made.grid)
    assert type(made).__name__ in together.attrs["source"]
    np.testing.assert_allclose(together.time, made.times)


def test_a_file_holds_what_memory_would_and_other_numbers_are_refused(tmp_path):
    made = recipe("pdebench_advection", **SMALL["pdebench_advection"])
    ds = made.generate(3, Rng(0), tmp_path / "a.h5", batch_size=2)
    np.testing.assert_array_equal(ds.u, made.generate(3, Rng(0)).u)
    for other, seed in ((recipe("pdebench_advection", **SMALL["pdebench_advection"], velocity=1.0), 0), (made, 1)):
        with pytest.raises(DataError, match="recipe was" if seed == 0 else "rng was"):
            other.generate(3, Rng(seed), tmp_path / "a.h5", batch_size=2)


def test_every_family_is_tried_here():
    own = {PDEArenaSmoke, PDEBenchIncompressible, WDNOSmoke}  # slower: their own files try them
    assert {type(recipe(n)) for n in SMALL} | own == {type(r) for r in RECIPES.values()}


def test_numbers_that_make_no_sense():
    assert check_divides(8, 32, "x") == 4 and check_at_least(2, 2, "x") == 2
    for kept, solved in ((5, 32), (64, 32), (0, 32)):
        with pytest.raises(InputError, match="divides the 32 points"):
            check_divides(kept, solved, "x")
    with pytest.raises(InputError, match="whole number of at least 2, got 1"):
        check_at_least(1, 2, "x")
    for name, change in (
        ("fno_burgers", {"viscosity": -1.0}),
        ("fno_navier_stokes", {"version": "newest"}),
        ("fno_navier_stokes", {"resolution": 100}),
        ("pdebench_advection", {"velocity": float("nan")}),
        ("pdebench_burgers", {"nu": 0.0}),
        ("pdebench_diffusion_reaction", {"resolution": 1}),
        ("fno_darcy", {"lower": -3.0}),
        ("pdebench_reaction_diffusion", {"rho": 0.0}),
        ("sda_kolmogorov", {"frames": 1}),
        ("wdno_burgers", {"refine": 2}),
    ):
        with pytest.raises(InputError, match=type(recipe(name)).__name__):
            recipe(name, **change)
