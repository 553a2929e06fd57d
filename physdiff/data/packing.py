r"""Packed numbers unpacked in place: $x = s\,n + o$, missing where $n$ is a fill value (CF conventions, section 8.1).

The result is, bit for bit, what xarray decodes and rounds to float32: the arithmetic is float64 where scale or offset are, in blocks that
stay in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Packing", "packing_of", "unpack"]

_BLOCK = 2**14  # of float64: 128 KiB, half of a second-level cache
_KNOWN = {"_FillValue", "missing_value", "scale_factor", "add_offset"}


@dataclass(frozen=True)
class Packing:
    """How stored numbers become values.

    Args:
        scale: Factor; None: none.
        offset: Added afterwards; None: none.
        fills: Stored numbers that mean that there is no value.
        wide: Whether the arithmetic is float64.
    """

    scale: float | None = None
    offset: float | None = None
    fills: tuple[float, ...] = ()
    wide: bool = True


def packing_of(encoding: Mapping[str, Any], attrs: Mapping[str, Any], decoded: np.dtype) -> Packing | None:
    """The packing of a variable that xarray has opened and decodes to `decoded`; None if it is of another kind (unsigned integers in signed ones).

    Args:
        encoding: Of the variable.
        attrs: Of the variable.
        decoded: Type that xarray computes in.
    """
    if "_Unsigned" in encoding or "_Unsigned" in attrs or decoded.kind not in "fiu":
        return None
    found = {k: np.atleast_1d(np.asarray(encoding[k])) for k in _KNOWN if encoding.get(k) is not None}
    if any(v.dtype.kind not in "fiu" for v in found.values()):
        return None
    fills = np.concatenate([found[k].astype(np.float64) for k in ("_FillValue", "missing_value") if k in found] or [np.empty(0)])
    scale, offset = (float(found[k].item()) if k in found else None for k in ("scale_factor", "add_offset"))
    return Packing(scale, offset, tuple(sorted({float(v) for v in fills if np.isfinite(v)})), decoded != np.float32)


def unpack(raw: np.ndarray, out: np.ndarray, packing: Packing) -> None:
    """Write the values of `raw` to `out` (float32, same shape, contiguous).

    Args:
        raw: Stored numbers.
        out: Where the values go.
        packing: What they mean.
    """
    if packing.scale is None and packing.offset is None:
        np.copyto(out, raw, casting="unsafe")
    else:
        _scaled(np.ascontiguousarray(raw).reshape(-1), out.reshape(-1), packing)
    for fill in packing.fills:
        missing = raw == fill
        if missing.any():
            out[missing] = np.nan


def _scaled(raw: np.ndarray, out: np.ndarray, packing: Packing) -> None:
    kind = np.float64 if packing.wide else np.float32
    scale, offset = (None if v is None else kind(v) for v in (packing.scale, packing.offset))
    room: Any = np.empty(min(_BLOCK, raw.size), dtype=kind)
    for start in range(0, raw.size, _BLOCK):
        part = raw[start : start + _BLOCK]
        block: Any = room[: part.size]
        np.copyto(block, part, casting="unsafe")
        if scale is not None:
            block *= scale
        if offset:
            block += offset
        out[start : start + _BLOCK] = block
