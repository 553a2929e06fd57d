"""The recipes by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.data.recipes.fno_burgers import FNOBurgers
from physdiff.data.recipes.fno_darcy import FNODarcy
from physdiff.data.recipes.fno_navier_stokes import FNONavierStokes
from physdiff.data.recipes.pdearena_smoke import PDEArenaSmoke
from physdiff.data.recipes.pdebench_advection import PDEBenchAdvection
from physdiff.data.recipes.pdebench_burgers import PDEBenchBurgers
from physdiff.data.recipes.pdebench_compressible import PDEBenchCompressible
from physdiff.data.recipes.pdebench_compressible_plane import PDEBenchCompressiblePlane
from physdiff.data.recipes.pdebench_diffusion_reaction import PDEBenchDiffusionReaction
from physdiff.data.recipes.pdebench_diffusion_sorption import PDEBenchDiffusionSorption
from physdiff.data.recipes.pdebench_incompressible import PDEBenchIncompressible
from physdiff.data.recipes.pdebench_reaction_diffusion import PDEBenchReactionDiffusion
from physdiff.data.recipes.pdebench_shallow_water import PDEBenchShallowWater
from physdiff.data.recipes.recipe import DataRecipe
from physdiff.data.recipes.sda_kolmogorov import SDAKolmogorov
from physdiff.data.recipes.wdno_burgers import WDNOBurgers
from physdiff.data.recipes.wdno_smoke import WDNOSmoke

__all__ = ["RECIPES", "recipe"]

RECIPES: dict[str, DataRecipe] = {
    "fno_burgers": FNOBurgers(),
    "fno_burgers_script": FNOBurgers(viscosity=1e-3, sigma=49.0, tau=7.0, alpha=2.5, solved=1024, resolution=1024, intervals=200, step=1e-3),
    "fno_darcy": FNODarcy(),
    "fno_darcy_script": FNODarcy(lower=4.0),
    "fno_navier_stokes": FNONavierStokes(),
    "fno_navier_stokes_1e-4": FNONavierStokes(viscosity=1e-4, horizon=30.0),
    "fno_navier_stokes_1e-5": FNONavierStokes(viscosity=1e-5, horizon=20.0),
    "pdearena_smoke": PDEArenaSmoke(),
    "pdearena_smoke_conditioned": PDEArenaSmoke(lift_low=0.2),
    "pdebench_advection": PDEBenchAdvection(),
    "pdebench_burgers": PDEBenchBurgers(),
    "pdebench_compressible": PDEBenchCompressible(),
    "pdebench_compressible_shock": PDEBenchCompressible("shock", 0.0, 0.0, horizon=0.4, interval=0.005),
    "pdebench_compressible_plane": PDEBenchCompressiblePlane(),
    "pdebench_compressible_turbulence": PDEBenchCompressiblePlane("turbulence", 1e-8, 1e-8, resolution=512, mach=1.0),
    "pdebench_diffusion_reaction": PDEBenchDiffusionReaction(),
    "pdebench_diffusion_sorption": PDEBenchDiffusionSorption(),
    "pdebench_incompressible": PDEBenchIncompressible(),
    "pdebench_reaction_diffusion": PDEBenchReactionDiffusion(),
    "pdebench_shallow_water": PDEBenchShallowWater(),
    "sda_kolmogorov": SDAKolmogorov(),
    "wdno_burgers": WDNOBurgers(),
    "wdno_burgers_super": WDNOBurgers(resolution=1920, intervals=1280),
    "wdno_smoke": WDNOSmoke(),
}
"""Each with the numbers of the literature."""


def recipe(name: str, **changes: Any) -> DataRecipe:  # noqa: ANN401 - whatever fields the recipe has
    """A data set of the literature by name, with some of its numbers changed.

    Args:
        name: One of `RECIPES`.
        **changes: Fields of the recipe, as in ``recipe("fno_navier_stokes", viscosity=1e-4, resolution=32)``.

    Raises:
        InputError: If there is no such recipe or field (names those there are), or a value makes no sense.
    """
    found = RECIPES[check_one_of(name, RECIPES, "recipe")]
    fields = [f.name for f in dataclasses.fields(found)]  # type: ignore[arg-type]
    for change, value in changes.items():
        check_one_of(change, fields, f"recipe {name}")
        _check_kind(value, getattr(found, change), f"recipe {name} {change}")
    made: DataRecipe = dataclasses.replace(found, **changes)  # type: ignore[type-var]
    return made


def _check_kind(value: object, default: object, what: str) -> None:
    kinds = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}[type(default)]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[type(default)]
        raise InputError(f"{what}: expected {words}, as in {default!r}, got {value!r}")
