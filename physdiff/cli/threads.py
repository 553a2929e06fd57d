"""How many threads a job of the command line gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["threads_for"]

_SMALL = 128 * 128


@contextmanager
def threads_for(points: int) -> Iterator[None]:
    """One thread while a solver works on a small grid, the usual number after it and on larger ones.

    A step on 64 x 64 points is many transforms of some microseconds each: waking a second thread costs more than it computes (the demo's
    data took 51 s with two threads and 20 s with one).

    Args:
        points: Number of points of the grid.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if points <= _SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
