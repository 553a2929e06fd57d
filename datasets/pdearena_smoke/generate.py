"""Make the data set of this folder, as spec.yaml says.

    python datasets/pdearena_smoke/generate.py --out pdearena_smoke.nc

Sample i depends on the seed and on i alone: fewer samples are the first ones of more. Needs physdiff and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded: waiting threads that spin make shared cores slow

import yaml  # noqa: E402

from physdiff.data.recipes.script import run_recipe  # noqa: E402

__all__ = ["main", "specification"]


def specification() -> dict[str, Any]:
    """The contents of spec.yaml."""
    found: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("spec.yaml").read_text(encoding="utf-8"))
    return found


def main(argv: Sequence[str] | None = None) -> Path:
    """Read the arguments, make the data, write one file; returns its path."""
    return run_recipe(specification(), argv)


if __name__ == "__main__":
    main()
