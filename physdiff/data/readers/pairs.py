"""Pairs of an input and an output without times, as operators are trained on: Darcy flow and Burgers of the FNO's and neuraloperator's files.

They become trajectories of two frames of one field: the input at time 0, the output at time 1. Forecasts of one step are then what the operator says,
and windows, transforms, losses and scores need nothing new. Names of arrays decide: `coeff` and `sol`, `a` and `u` of one shape, `x` and `y` of at
least two directions besides samples and one channel, or PDEBench's `nu` and `tensor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.stored import Indexable

__all__ = ["from_pairs", "pair_of"]

_NAMES = (("coeff", "sol"), ("a", "u"), ("x", "y"), ("nu", "tensor"))
_MOST = 2**33  # bytes of both: they are read as a whole


def pair_of(arrays: Mapping[str, Indexable]) -> tuple[str, str] | None:
    """The names of input and output, or None if the arrays are no pairs."""
    for first, second in _NAMES:
        if first in arrays and second in arrays:
            one, two = (_plain(arrays[n].shape) for n in (first, second))
            enough = len(one) in ((3,) if (first, second) == ("x", "y") else (2, 3))
            if one == two and enough and all(np.dtype(arrays[n].dtype).kind in "fiub" for n in (first, second)):
                return first, second
    return None


def from_pairs(
    arrays: Mapping[str, Indexable], path: str, *, axes: Mapping[str, np.ndarray] | None = None, attrs: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Dims (sample, time, x[, y]): a field `u` whose frame 0 is the input and whose frame 1 is the output.

    Args:
        arrays: By name.
        path: For messages.
        axes: Coordinates where the file has those of the pairs; else nodes of the unit square, walls included, and points i/n of a closed axis in
            one direction.
        attrs: Attributes of the file.

    Raises:
        DataError: If there is no pair, or more than can be read as a whole.
    """
    names = pair_of(arrays)
    if names is None:
        found = ", ".join(f"{n} {tuple(v.shape)}" for n, v in arrays.items())
        raise DataError(f"{path}: expected pairs of an input and an output of one shape, got {found}; rename them a and u")
    shape = _plain(arrays[names[0]].shape)
    if 2 * 4 * int(np.prod(shape, dtype=np.int64)) > _MOST:
        raise DataError(f"{path}: expected pairs of at most 8 GiB, which are read as a whole, got {shape}; split the file")
    values = np.stack([np.asarray(arrays[n][:], dtype=np.float32).reshape(shape) for n in names], axis=1)
    dims = ("x", "y")[: len(shape) - 1]
    if axes is None or any(d not in axes or axes[d].size != n for d, n in zip(dims, shape[1:], strict=True)):
        closed = len(dims) == 1
        points = {d: np.arange(n) / (n if closed else n - 1) for d, n in zip(dims, shape[1:], strict=True)}
        coords = {d: xr.Variable((d,), v, {"periodic": int(closed)}) for d, v in points.items()}
    else:
        coords = {d: xr.Variable((d,), np.asarray(axes[d], dtype=np.float64)) for d in dims}
    coords["time"] = xr.Variable(("time",), np.array([0.0, 1.0]), {"units": "1"})
    told = {str(k): v for k, v in (attrs or {}).items() if np.ndim(v) == 0}
    about = f"input {names[0]} at time 0, output {names[1]} at time 1"
    return xr.Dataset({"u": xr.Variable(("sample", "time", *dims), values)}, coords=coords, attrs={**told, "pairs": about})


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without a channel or time of one."""
    return (shape[0], *shape[2:]) if len(shape) > 2 and shape[1] == 1 else tuple(shape)
