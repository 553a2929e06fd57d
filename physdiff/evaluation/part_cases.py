"""Scores by start of parts of a forecast, which is what intervals and paired tests of parts are made of: regions, seasons, levels, events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import xarray as xr

from physdiff.base.checks import check_one_of
from physdiff.evaluation.start_scores import season_of

__all__ = ["PARTS", "levels_of", "part_cases"]

PARTS = ("region", "season", "level", "event")
_SEASONS = ("DJF", "MAM", "JJA", "SON")


def levels_of(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Fields on two levels or more: quantity -> level -> name, as t -> 850 -> t_850, the lowest number first."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        parts = re.fullmatch(r"(.+)_((?:ml)?\d+(?:\.\d+)?)", name)
        if parts:
            found.setdefault(parts[1], {})[parts[2]] = name
    ordered = {base: dict(sorted(group.items(), key=lambda item: float(item[0].removeprefix("ml")))) for base, group in found.items()}
    return {base: group for base, group in ordered.items() if len(group) > 1}


def part_cases(entry: xr.Dataset, by: str, columns: Mapping[str, str]) -> dict[str, xr.Dataset]:
    """What is kept by start of each part of one forecast, by the part's name; empty if it was not scored by such parts.

    Args:
        entry: One forecast of what ``physdiff evaluate`` writes (`read_scores`).
        by: One of `PARTS`.
        columns: Score -> name of what is kept of it by start, as in ``{"ensemble_rmse": "ensemble_rmse_part0"}``; events have ``brier`` alone.

    Returns:
        Dims (variable, sample?, init_time?, lead_time). With levels the variable is the quantity, NaN at levels it does not have; with events
        there is one, called ``event``.

    Raises:
        InputError: If `by` is none of `PARTS`.
    """
    check_one_of(by, PARTS, "part_cases by")
    if by == "event":
        if "brier_by_event_start" not in entry:
            return {}
        table = entry["brier_by_event_start"].expand_dims(variable=["event"])
        return {str(e): xr.Dataset({"brier": table.sel(event=e, drop=True)}) for e in table["event"].values}
    if by == "region":
        names = {s: f"{column}_by_region_start" for s, column in columns.items()}
        if any(n not in entry for n in names.values()):
            return {}
        regions = entry[next(iter(names.values()))]["region"].values
        return {str(r): xr.Dataset({s: entry[n].sel(region=r, drop=True) for s, n in names.items()}) for r in regions}
    whole = xr.Dataset({s: entry[f"{column}_by_start"] for s, column in columns.items()})
    if by == "level":
        groups = levels_of([str(v) for v in whole["variable"].values])
        labels = list(dict.fromkeys(label for group in groups.values() for label in group))
        each = {label: {base: group[label] for base, group in groups.items() if label in group} for label in labels}
        return {label: whole.sel(variable=list(names.values())).assign_coords(variable=list(names)) for label, names in each.items()}
    if not any(str(n).endswith("_by_season") for n in entry.data_vars):
        return {}
    season = season_of(whole)
    there = {s: season == s for s in _SEASONS if bool((season == s).any())}
    return {s: whole.where(now).sel(init_time=now.any("lead_time")) for s, now in there.items()}
