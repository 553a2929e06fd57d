"""Make the data set of one of these folders, as its spec.yaml says.

    python datasets/generate.py fno_burgers --out fno_burgers.nc

Sample i depends on the seed and on i alone: fewer samples are the first ones of more. Needs physdiff and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded: waiting threads that spin make shared cores slow

import yaml  # noqa: E402

from physdiff.data.recipes.script import run_recipe  # noqa: E402

__all__ = ["main", "names", "specification"]

HERE = Path(__file__).parent


def names() -> list[str]:
    """The folders with a specification and no script of their own."""
    return sorted(f.parent.name for f in HERE.glob("*/spec.yaml") if not f.with_name("generate.py").exists())


def specification(name: str) -> dict[str, Any]:
    """The contents of the folder's spec.yaml."""
    found: dict[str, Any] = yaml.safe_load((HERE / name / "spec.yaml").read_text(encoding="utf-8"))
    return found


def main(argv: Sequence[str] | None = None) -> Path:
    """Read the arguments, make the data, write one file; returns its path.

    Raises:
        SystemExit: If the first argument is not the name of such a folder.
    """
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["nothing"]
    if name not in names():
        raise SystemExit(f"generate.py: expected the name of a data set first, one of {', '.join(names())}; got {name}")
    return run_recipe(specification(name), rest)


if __name__ == "__main__":
    main()
