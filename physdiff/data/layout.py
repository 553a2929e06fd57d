"""How fields lie in their files, and what that costs windows of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from physdiff.data.lazy import LazyField

__all__ = ["chunks_in_file", "window_cost"]

_WINDOW = 4


def chunks_in_file(field: xr.DataArray) -> dict[str, int] | None:
    """Lengths of the chunks of a lazy field by dimension, in the first of its files; None if it does not lie in chunks."""
    data: Any = field.variable._data
    while not isinstance(data, LazyField):
        if not hasattr(data, "array"):
            return None
        data = data.array
    piece = data.pieces[0]
    encoding = data.files.get(piece.path).variables[piece.variable].encoding
    sizes = encoding.get("chunksizes") or encoding.get("chunks")
    if not sizes or encoding.get("contiguous") or isinstance(sizes, Mapping):
        return None
    return {axis: int(n) for axis, n in zip(piece.axes, sizes, strict=True) if isinstance(axis, str)}


def window_cost(field: xr.DataArray, chunks: Mapping[str, int], frames: int = _WINDOW) -> float:
    """How many values are read for each value of a window of so many frames at a random place: 1 at best.

    A window of w frames meets 1 + (w - 1)/c chunks of c frames on average, of which each is read as a whole, and those of levels, samples
    and members that lie in the same chunk with it.
    """
    c = min(chunks.get("time", 1), field.sizes["time"])
    over_time = (1 + (frames - 1) / c) * c / frames
    others = 1
    for name in ("sample", "member"):
        others *= min(chunks.get(name, 1), field.sizes.get(name, 1))
    return over_time * others
