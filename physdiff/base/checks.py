"""Small checks for the doors of the package: each returns its argument or raises a worded error."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from torch import Tensor

from physdiff.base.errors import InputError, ShapeError

__all__ = ["check_finite", "check_one_of", "check_positive", "check_shape", "per_axis"]

T = TypeVar("T")


def check_shape(x: Tensor, expected: Sequence[int | None], what: str) -> Tensor:
    """Return `x` if its shape is `expected` (None: any length), else raise ShapeError."""
    if x.ndim != len(expected) or any(e is not None and n != e for n, e in zip(x.shape, expected, strict=True)):
        wanted = "(" + ", ".join("any" if e is None else str(e) for e in expected) + ")"
        raise ShapeError(f"{what}: expected shape {wanted}, got {tuple(x.shape)}")
    return x


def check_positive(value: float, what: str, *, zero: bool = False) -> float:
    """Return `value` if it is a finite number above zero (or zero, if allowed), else raise InputError."""
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise InputError(f"{what}: expected a {'non-negative' if zero else 'positive'} finite number, got {value!r}")
    return value


def check_finite(x: Tensor, what: str, remedy: str = "look for missing values upstream") -> Tensor:
    """Return `x` if all its entries are finite, else raise InputError with the number of entries that are not."""
    bad = int((~x.isfinite()).sum())
    if bad:
        raise InputError(f"{what}: expected finite numbers, got {bad} of {x.numel()} entries NaN or infinite; {remedy}")
    return x


def check_one_of(name: str, allowed: Iterable[str], what: str) -> str:
    """Return `name` if it is one of `allowed`, else raise InputError which names the nearest ones."""
    known = sorted(allowed)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise InputError(f"{what}: expected one of {', '.join(known)}; got {name!r}{hint}")
    return name


def per_axis(value: T | Sequence[T], ndim: int, what: str) -> tuple[T, ...]:
    """Repeat a single value for each of `ndim` axes, or check that a sequence has `ndim` entries."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != ndim:
            raise InputError(f"{what}: expected one value or {ndim} (one per axis, storage order), got {len(value)}: {value!r}")
        return tuple(value)
    return (value,) * ndim
