"""Rows of a benchmark as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["tell"]


def tell(row: Mapping[str, Any], folder: str | Path, name: str) -> None:
    """Print a row with its numbers to three digits, and append it to the file `name` of a folder."""
    line = json.dumps({k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()})
    print(line, flush=True)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with (Path(folder) / name).open("a") as file:
        file.write(line + "\n")
