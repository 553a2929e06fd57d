"""Regions and events as they are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.scores.events import brier_score, events_by_count
from physdiff.scores.reduce import Averaged, Score, within

__all__ = ["Event", "as_list", "events_of", "ranges_of", "regions_of"]

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*(?P<axis>\w+)\s+(?P<low>{_NUMBER})\s+to\s+(?P<high>{_NUMBER})\s*")
_EVENT = re.compile(rf"\s*(?P<name>\w+)\s*(?P<sign>[<>])\s*(?P<value>{_NUMBER})\s*")


@dataclass(frozen=True)
class Event:
    """A threshold that is passed.

    Args:
        variable: Name of the field.
        threshold: In its units.
        below: Whether the event is to lie below it.
    """

    variable: str
    threshold: float
    below: bool = False

    def __str__(self) -> str:
        return f"{self.variable} {'<' if self.below else '>'} {self.threshold:g}"

    @property
    def scores(self) -> dict[str, Score]:
        """Brier score, and shares of the area by the number of members that have the event, where it happened and where not."""
        sign = -1.0 if self.below else 1.0
        level = sign * self.threshold
        return {
            "brier": partial(_turned, score=partial(brier_score, threshold=level), sign=sign),
            "hits": partial(_turned, score=partial(events_by_count, threshold=level, happened=True), sign=sign),
            "others": partial(_turned, score=partial(events_by_count, threshold=level, happened=False), sign=sign),
        }

    @property
    def by_start(self) -> dict[str, Score]:
        """Scores of which each is one number for a frame: Brier score, frequency, mean probability, and the skill over the frequency."""
        made = self.scores
        happened = partial(_counted, hits=made["hits"])
        given = partial(_counted, hits=made["hits"], others=made["others"])
        return {"brier": made["brier"], "frequency": happened, "probability": given, "skill": Averaged((made["brier"], happened), _skill)}


def _counted(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, hits: Score, others: Score | None = None) -> Tensor:
    """How often the event happened, or with `others` how probable it was said to be."""
    seen = hits(members, truth, weights)
    if others is None:
        return seen.sum(-1)
    share = torch.linspace(0, 1, seen.shape[-1]).to(seen)
    return ((seen + others(members, truth, weights)) * share).sum(-1)


def _skill(brier: Tensor, rate: Tensor) -> Tensor:
    least = rate * (1 - rate)
    return torch.where(least > 0, 1 - brier / least, torch.nan)


def _turned(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, score: Score, sign: float) -> Tensor:
    return score(sign * members, sign * truth, weights)


def events_of(given: str | Sequence[str] | None, units: dict[str, str]) -> list[Event]:
    """Events written as ``t2m > 283.15`` or ``t2m < 273.15``.

    Args:
        given: One or several.
        units: Unit by name of the fields there are.

    Raises:
        InputError: If one is written otherwise or is about another field.
    """
    found = []
    for text in as_list(given) or ():  # type: ignore[arg-type]
        parts = _EVENT.fullmatch(text)
        if parts is None:
            raise InputError(f"events: expected a field, > or <, and a number, as in 't2m > 283.15', got {text!r}")
        if parts["name"] not in units:
            raise InputError(f"events: expected one of the fields {', '.join(units)}, got {parts['name']!r} in {text!r}")
        found.append(Event(parts["name"], float(parts["value"]), parts["sign"] == "<"))
    return found


def as_list(given: str | list[str] | None) -> list[str] | None:
    """One name or several as a list."""
    return [given] if isinstance(given, str) else given


def regions_of(given: str | Sequence[str] | None, ds: xr.Dataset, dims: Sequence[str]) -> dict[str, xr.DataArray]:
    """Boxes written as ``north: latitude 54 to 58`` or ``box: latitude 51 to 53, longitude -3 to 1``, as boolean fields by name.

    Args:
        given: One or several.
        ds: Data with the coordinates of the grid.
        dims: Those of its space.

    Raises:
        InputError: If one is written otherwise, names another axis, holds no point, or two have one name.
    """
    found: dict[str, xr.DataArray] = {}
    for text in as_list(given) or ():  # type: ignore[arg-type]
        name, colon, ranges = text.partition(":")
        parts = [_RANGE.fullmatch(part) for part in ranges.split(",")]
        if not colon or not name.strip() or not all(parts):
            raise InputError(f"regions: expected a name and ranges, as in 'north: latitude 54 to 58, longitude -10 to 2', got {text!r}")
        if name.strip() in found:
            raise InputError(f"regions: expected each name once, got {name.strip()!r} twice")
        inside = xr.DataArray(np.ones([ds.sizes[d] for d in dims], dtype=bool), dims=dims)
        for part in parts:
            assert part is not None
            inside = inside & _range(ds, dims, part, text)
        if not inside.any():
            spans = ", ".join(f"{d} {float(ds[d].min()):g} to {float(ds[d].max()):g}" for d in dims)
            raise InputError(f"regions: expected a region with points of the grid ({spans}), got none in {text!r}")
        found[name.strip()] = inside.transpose(*dims)
    return found


def ranges_of(text: str) -> dict[str, tuple[float, float]]:
    """Ranges written as ``latitude 51 to 53, longitude -3 to 1``, by axis.

    Raises:
        InputError: If they are written otherwise.
    """
    parts = [_RANGE.fullmatch(part) for part in text.split(",")]
    if not all(parts):
        raise InputError(f"region: expected ranges of axes, as in 'latitude 54 to 58, longitude -10 to 2', got {text!r}")
    return {p["axis"]: (float(p["low"]), float(p["high"])) for p in parts if p is not None}


def _range(ds: xr.Dataset, dims: Sequence[str], part: re.Match[str], text: str) -> xr.DataArray:
    axis, low, high = part["axis"], float(part["low"]), float(part["high"])
    if axis not in dims:
        raise InputError(f"regions: expected axes among {', '.join(dims)}, got {axis!r} in {text!r}")
    place = torch.from_numpy(np.asarray(ds[axis].values, dtype=np.float64).copy())
    return xr.DataArray(within(place, low, high, period=360.0 if axis == "longitude" else None).numpy(), dims=[axis])
