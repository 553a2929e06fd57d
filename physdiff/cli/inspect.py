"""``physdiff inspect``."""

from __future__ import annotations

from typing import Literal

from physdiff.base.errors import DataError, InputError
from physdiff.base.saved import is_saved
from physdiff.cli.inspect_saved import saved_text
from physdiff.cli.options import checked_file
from physdiff.data.field_statistics import field_statistics
from physdiff.data.inspect import inspection
from physdiff.data.open import open_dataset
from physdiff.data.write import write_dataset

__all__ = ["inspect"]


def inspect(
    path: str | list[str], *, statistics: str | None = None, by: Literal["all", "hour", "month", "day"] = "all", points: bool = False
) -> None:
    """Print what files hold (grid, time step, units, gaps) and what physdiff will do with them; exit code 2 if it will refuse them.

    Of a prior, coder or network: what it is of, what it wants to know, how it was made.

    Args:
        path: A netCDF file, several, or a pattern; or one file of a prior.
        statistics: File to write counts, means, standard deviations and ranges to, from one pass over all frames.
        by: Of all times together, by hour of the day, month, or day of the year.
        points: Whether each point of the grid has its own.
    """
    if isinstance(path, str) and is_saved(path):
        if statistics is not None:
            raise InputError(f"inspect: expected data for statistics, got {path}, which is no data; leave statistics out")
        print(saved_text(path), flush=True)
        return
    target = None if statistics is None else checked_file(statistics)
    found = inspection(path)
    print(found.text, flush=True)
    if found.refusal:
        raise DataError(found.refusal)
    if target is not None:
        print(f"\nwrote {write_dataset(field_statistics(open_dataset(path), by=by, points=points), target)}", flush=True)
