"""The folder of every recipe: its specification is the recipe's, and the script makes what the specification says."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from physdiff.data.open import open_dataset
from physdiff.data.recipes.table import RECIPES, recipe

FOLDERS = Path(__file__).resolve().parents[2] / "datasets"
SMALL = {
    "fno_burgers": {"solved": 16, "resolution": 8, "step": 0.25},
    "fno_darcy": {"resolution": 6},
    "fno_navier_stokes": {"solved": 16, "resolution": 8, "horizon": 1.0, "step": 0.5},
    "pdearena_smoke": {"resolution": 12, "frames": 2, "dropped": 1, "interval": 0.5, "step": 0.25},
    "pdebench_advection": {"resolution": 16, "horizon": 0.02},
    "pdebench_burgers": {"resolution": 16, "horizon": 0.02, "refine": 1},
    "pdebench_compressible": {"resolution": 16, "horizon": 0.02},
    "pdebench_compressible_plane": {"resolution": 12, "horizon": 0.05},
    "pdebench_diffusion_reaction": {"resolution": 6, "horizon": 0.1, "step": 0.05},
    "pdebench_diffusion_sorption": {"resolution": 8, "horizon": 10.0},
    "pdebench_incompressible": {"resolution": 12, "frames": 2, "step": 0.0025},
    "pdebench_reaction_diffusion": {"resolution": 16, "horizon": 0.02},
    "pdebench_shallow_water": {"resolution": 64, "horizon": 0.01},
    "sda_kolmogorov": {"solved": 32, "resolution": 16, "frames": 2, "dropped": 1, "step": 0.1},
    "wdno_burgers": {"resolution": 16, "intervals": 2, "horizon": 0.1, "step": 0.01},
    "wdno_smoke": {"intervals": 1, "every": 1},
}
SAME = {"lift", "target"}  # one number for all samples, or nothing yet in so short a time
MANY = {"pdebench_advection", "pdebench_burgers", "pdebench_reaction_diffusion"}  # published for many values of a number


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("datasets_generate", FOLDERS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_recipe_has_a_folder_or_is_a_variant(script):
    assert script.names() == sorted(SMALL)
    variants = [v for name in SMALL for v in script.specification(name).get("variants", {})]
    assert sorted([*SMALL, *variants]) == sorted(RECIPES)


@pytest.mark.parametrize("name", SMALL)
def test_the_specification_is_the_recipe(script, name):
    spec = script.specification(name)
    made = RECIPES[name]
    assert spec["name"] == name and spec["recipe"] == name
    assert list(spec["parameters"].items()) == [(f.name, getattr(made, f.name)) for f in dataclasses.fields(made)]
    assert spec["dims"] == ["sample", "time", *made.grid.dims] and spec["periodic"] == list(made.grid.periodic)
    assert spec["sizes"] == {"time": made.times.numel(), **dict(zip(made.grid.dims, made.grid.shape, strict=True))}
    for variant, changes in spec.get("variants", {}).items():
        assert recipe(name, **changes) == RECIPES[variant]
    card = (FOLDERS / name / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n") and f"python datasets/generate.py {name} " in card and ("published" in card or name not in MANY)


@pytest.mark.parametrize("name", SMALL)
def test_the_script_makes_what_the_specification_says(script, name, tmp_path):
    path = tmp_path / "made.nc"
    changes = [f"{key}={value}" for key, value in SMALL[name].items()]
    assert script.main([name, "--out", str(path), "--samples", "2", "--change", *changes]) == path
    spec, ds, small = script.specification(name), open_dataset(path), recipe(name, **SMALL[name])
    assert list(ds.data_vars) == list(spec["fields"])
    for field, told in spec["fields"].items():
        assert ds[field].dims == tuple(spec["dims"]) and ds[field].attrs["units"] == told["units"] and str(ds[field].dtype) == spec["dtype"]
        assert ds[field].shape == (2, small.times.numel(), *small.grid.shape)
        assert bool(ds[field].notnull().all()) and (field in SAME or not bool((ds[field][0] == ds[field][1]).all()))


@pytest.mark.parametrize("given", [[], ["fno_burger", "--out", "x.nc"], ["kolmogorov_flow"]])
def test_another_name_is_refused(script, given):
    with pytest.raises(SystemExit, match="expected the name of a data set first, one of fno_burgers, fno_darcy"):
        script.main(given)
