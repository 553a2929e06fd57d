"""``physdiff generate --recipe``."""

from __future__ import annotations

import math

from physdiff.base.rng import Rng
from physdiff.cli.options import check_at_least, checked_file
from physdiff.cli.processes import joined_processes
from physdiff.cli.threads import threads_for
from physdiff.data.recipes.table import recipe as find_recipe

__all__ = ["generate_recipe"]

Value = int | float | bool | str


def generate_recipe(
    out: str,
    recipe: str,
    *,
    change: dict[str, Value] | None = None,
    samples: int = 16,
    batch_size: int = 8,
    seed: int = 0,
) -> None:
    """Make a data set of the literature and write it as CF netCDF, batch by batch; a run that was stopped is gone on with.

    Args:
        out: File to write (.nc, .h5, .zarr).
        recipe: Name of the recipe; physdiff generate --help lists them.
        change: Numbers of the recipe to change, as in ``--change.resolution 32 --change.viscosity 1e-4``.
        samples: Number of trajectories.
        batch_size: Trajectories solved at once.
        seed: Seed of everything random.
    """
    made = find_recipe(recipe, **(change or {}))
    target = checked_file(out, store=True)
    check_at_least(samples, 1, "samples")
    check_at_least(batch_size, 1, "batch_size")
    with joined_processes() as first, threads_for(math.prod(made.grid.shape)):
        made.generate(samples, Rng(seed), target, batch_size=batch_size)
    if first:
        print(f"wrote {samples} samples of {made.times.numel()} frames to {target}")
