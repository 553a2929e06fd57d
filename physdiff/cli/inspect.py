"""``physdiff inspect``."""

from __future__ import annotations

from physdiff.base.errors import DataError
from physdiff.data.inspect import inspection

__all__ = ["inspect"]


def inspect(path: str | list[str]) -> None:
    """Print what files hold (grid, time step, units, gaps) and what physdiff will do with them; exit code 2 if it will refuse them.

    Args:
        path: A netCDF file, several, or a pattern.
    """
    found = inspection(path)
    print(found.text, flush=True)
    if found.refusal:
        raise DataError(found.refusal)
