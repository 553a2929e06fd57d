"""The command of the data sets' script: a recipe with the numbers of its specification, written to a file.

As in ``python datasets/generate.py fno_darcy --out darcy.nc --samples 8 --change resolution=64``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.recipes.recipe import check_at_least
from physdiff.data.recipes.table import recipe

__all__ = ["run_recipe"]


def run_recipe(specification: Mapping[str, Any], argv: Sequence[str] | None = None) -> Path:
    """Read the arguments, make the data set of a specification, write one file.

    Args:
        specification: With `recipe` (a name of the table), `parameters` of it, `samples` and `seed`.
        argv: Arguments; those of the process if None.

    Returns:
        The file's path.

    Raises:
        InputError: If a number cannot be changed as asked for.
    """
    parser = argparse.ArgumentParser(description=f"The data set {specification['name']} as CF netCDF.")
    parser.add_argument("--out", type=Path, required=True, help="file to write (.nc, .h5, .zarr)")
    parser.add_argument("--samples", type=int, default=specification["samples"], help="number of samples")
    parser.add_argument("--seed", type=int, default=specification["seed"], help="seed of everything random")
    parser.add_argument("--batch-size", type=int, default=8, help="samples solved at once")
    parser.add_argument("--change", nargs="*", default=[], metavar="NAME=VALUE", help="numbers of the recipe to change")
    options = parser.parse_args(argv)
    check_at_least(options.samples, 1, "samples")
    check_at_least(options.batch_size, 1, "batch-size")
    made = recipe(specification["recipe"], **{**specification["parameters"], **dict(_changed(text) for text in options.change)})
    made.generate(options.samples, Rng(options.seed), options.out, batch_size=options.batch_size)
    print(f"wrote {options.samples} samples of {made.times.numel()} frames to {options.out}")
    path: Path = options.out
    return path


def _changed(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--change: expected NAME=VALUE as in resolution=64, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
