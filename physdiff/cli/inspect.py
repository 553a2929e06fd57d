"""``physdiff inspect``."""

from __future__ import annotations

from physdiff.data.inspect import inspect_file

__all__ = ["inspect"]


def inspect(path: str) -> None:
    """Print what a file holds (grid, time step, units, gaps) and what physdiff will do with it.

    Args:
        path: A netCDF file.
    """
    print(inspect_file(path))
