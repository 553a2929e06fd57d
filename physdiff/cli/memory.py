"""How freed memory is kept by a job of the command line."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# names of glibc's malloc.h
_TRIM, _MMAP = -1, -3
_LARGEST, _KEPT = 32 << 20, 512 << 20


def keep_freed_memory() -> bool:
    """Make glibc reuse freed blocks instead of giving them back; returns whether it will.

    A solver's step frees and asks for the same few blocks of some hundred kilobytes. Given back to the system each comes again as fresh pages, and
    the first touch of each page is a fault: some 500 a step of eight flows on 128 x 128 points, a third of its time where faults are slow.
    The same is had by MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=536870912 in the environment. Other allocators are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP, _LARGEST)) and bool(mallopt(_TRIM, _KEPT))
