"""What ``physdiff evaluate`` scores: forecasts start by start, their means with intervals, regions, seasons, events; and the sections of these."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import xarray as xr

from physdiff.cli.splits import Event
from physdiff.data.cases import matched
from physdiff.data.timeline import show_time
from physdiff.evaluation.evaluate import evaluate as score
from physdiff.evaluation.start_scores import mean_scores, season_of, start_scores, with_bounds
from physdiff.report.event_page import event_section
from physdiff.report.html import Section
from physdiff.report.restless_section import restless_section
from physdiff.report.score_tables import parted_table
from physdiff.scores.band import band_coverage, band_width, interval_score
from physdiff.scores.coverage import coverage, members_needed
from physdiff.scores.crps import crps
from physdiff.scores.pointwise import ensemble_rmse, mae
from physdiff.scores.reduce import Score
from physdiff.scores.spread_skill import spread, spread_skill

__all__ = ["Clock", "Found", "Job", "part_sections", "scored", "standard_scores"]


def standard_scores(members: int) -> dict[str, Score]:
    """The scores that suit an ensemble of this size; the CRPS of one member is its absolute error."""
    found: dict[str, Score] = {"crps": crps if members > 1 else mae, "ensemble_rmse": ensemble_rmse}
    if members > 1:
        found.update(spread_skill=spread_skill, spread=spread)
    if members >= members_needed(0.9):
        found["coverage_90"] = partial(coverage, level=0.9)
    return found


class Clock:
    """Seconds of each stage since the last."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a stage."""
        now = time.monotonic()
        self.laps[name], self._last = now - self._last, now


@dataclass(frozen=True, eq=False)
class Job:
    """What is scored.

    Args:
        forecast: The forecast, or bands as two members.
        truth: What came true.
        train: What baselines learn from, if anything.
        regions: Boolean fields by name.
        events: Thresholds.
        seasons: Whether to score seasons.
        band: Level of the bands, if they are what is scored.
    """

    forecast: xr.Dataset
    truth: xr.Dataset
    train: xr.Dataset | None = None
    regions: Mapping[str, xr.DataArray] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    seasons: bool = False
    band: float | None = None

    @property
    def names(self) -> list[str]:
        """The fields that are forecast."""
        return [str(n) for n, v in self.forecast.data_vars.items() if "lead_time" in v.dims]

    def unit(self, name: str) -> str:
        """Unit of a field."""
        return str(self.forecast[name].attrs.get("units", "1"))

    def scores(self, members: int) -> dict[str, Score]:
        """Those that suit a forecast of so many members, or bands."""
        if self.band is None:
            return standard_scores(members)
        return {"band_coverage": band_coverage, "band_width": band_width, "interval_score": partial(interval_score, level=self.band)}

    def facts(self, files: Mapping[str, str | list[str] | None], seed: int) -> dict[str, str]:
        """On what: files, their sizes, what is in them, and what made them."""
        said = {name: _files(given) for name, given in files.items() if given}
        cases = matched(self.forecast, self.truth)
        starts = self.forecast["init_time"].values.reshape(-1)
        said["Fields"] = ", ".join(f"{n} ({self.unit(n)})" for n in self.names)
        said["Grid"] = cases.grid.summary()
        said["Starts"] = f"{starts.size}, {show_time(starts.min())} to {show_time(starts.max())}"
        said["Members"] = "bands" if self.band is not None else str(cases.members)
        said["Seed of baselines"] = str(seed)
        for what, ds in (("forecast", self.forecast), ("truth", self.truth)):
            for key in ("history", "source"):
                made = str(ds.attrs.get(key, "")).strip()
                if made:
                    said[f"{key.capitalize()} of the {what}"] = made[:600]
        return said


def _files(given: str | list[str]) -> str:
    names = [given] if isinstance(given, str) else given
    return ", ".join(f"{n} ({os.path.getsize(n) / 2**20:.3g} MiB)" if os.path.isfile(n) else n for n in names)


@dataclass(frozen=True)
class Found:
    """Scores of all forecasts.

    Args:
        tables: By lead time, with intervals, by the forecast's name.
        starts: By start, likewise.
        parts: By ``region`` and ``season``, likewise.
        events: `evaluate` of the forecast for each event.
    """

    tables: dict[str, xr.Dataset]
    starts: dict[str, xr.Dataset]
    parts: dict[str, dict[str, xr.Dataset]]
    events: dict[Event, xr.Dataset]


def scored(forecasts: Mapping[str, xr.Dataset], job: Job, *, level: float) -> Found:
    """Scores of each forecast; intervals at `level`."""
    tables, starts = {}, {}
    parts: dict[str, dict[str, xr.Dataset]] = {}
    for name, fc in forecasts.items():
        scores = job.scores(fc.sizes.get("member", 1))
        starts[name] = start_scores(fc, job.truth, scores)
        tables[name] = with_bounds(mean_scores(starts[name], scores), starts[name], scores, level=level)
        if job.regions:
            parts.setdefault("region", {})[name] = mean_scores(start_scores(fc, job.truth, scores, regions=job.regions), scores)
        if job.seasons:
            season = season_of(starts[name])
            there = [s for s in ("DJF", "MAM", "JJA", "SON") if bool((season == s).any())]
            each = [mean_scores(starts[name], scores, where=season == s) for s in there]
            parts.setdefault("season", {})[name] = xr.concat(each, xr.Variable("season", there))
    events = {event: score(job.forecast[[event.variable]], job.truth, event.scores) for event in job.events}
    return Found(tables, starts, parts, events)


def part_sections(found: Found, job: Job) -> list[Section]:
    """Regions, seasons, levels and events on the page."""
    sections = []
    for by, tables in found.parts.items():
        cells = tuple(parted_table(tables, s, by=by, variable=n, unit=job.unit(n)) for n in job.names for s in _parted(tables))
        sections.append(Section(f"By {by}", tables=cells))
    for base, names in _levels(job.names).items():
        levels = {n: _by_level(table, base, names) for n, table in found.tables.items()}
        cells = tuple(parted_table(levels, s, by="level", variable=base, unit=job.unit(names[0])) for s in _parted(levels))
        sections.append(Section(f"By level: {base}", tables=cells))
    for k, (event, table) in enumerate(found.events.items()):
        sections += [Section("Events", ("How probable the forecast held an event, and how often it happened.",))] if k == 0 else []
        sections.append(event_section(str(event), table, variable=event.variable, unit=job.unit(event.variable)))
    if "trajectory_variance" in job.forecast:
        sections.append(restless_section(job.forecast["trajectory_variance"]))
    return sections


def _parted(tables: Mapping[str, xr.Dataset]) -> list[str]:
    first = next(iter(tables.values()))
    return [s for s in ("crps", "ensemble_rmse", "spread_skill", "coverage_90", "band_coverage", "interval_score") if s in first]


def _levels(names: list[str]) -> dict[str, list[str]]:
    """Fields on two levels or more by the name of the quantity: t_500 and t_850 of t, the lowest number first."""
    found: dict[str, list[str]] = {}
    for name in names:
        parts = re.fullmatch(r"(.+)_(?:ml)?(\d+(?:\.\d+)?)", name)
        if parts:
            found.setdefault(parts[1], []).append(name)
    return {base: sorted(group, key=_level) for base, group in found.items() if len(group) > 1}


def _level(name: str) -> float:
    return float(name.rpartition("_")[2].removeprefix("ml"))


def _by_level(table: xr.Dataset, base: str, names: list[str]) -> xr.Dataset:
    """Scores of the fields of one quantity with a dimension ``level``."""
    kept = table[[n for n, v in table.data_vars.items() if set(v.dims) == {"variable", "lead_time"}]]
    labels = [name.removeprefix(f"{base}_") for name in names]
    return kept.sel(variable=names).rename(variable="level").assign_coords(level=labels).expand_dims(variable=[base])
