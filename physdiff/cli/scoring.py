"""What ``physdiff evaluate`` scores: forecasts start by start, their means with intervals, regions, seasons, events; and the sections of these."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import xarray as xr

from physdiff.cli.splits import Event
from physdiff.data.cases import matched
from physdiff.data.timeline import show_time
from physdiff.evaluation.evaluate import evaluate as score
from physdiff.evaluation.part_cases import levels_of
from physdiff.evaluation.start_scores import mean_scores, season_of, start_scores, with_bounds
from physdiff.report.event_page import event_section
from physdiff.report.html import Section
from physdiff.report.restless_section import restless_section
from physdiff.report.score_tables import holm_of, parted_table
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
        events: `evaluate` of the forecast for each event, with intervals.
        part_starts: By start and ``region``, by the forecast's name.
        event_starts: Brier score by event and start, by the name of each forecast that has members.
        event_scores: Its means by event with intervals, likewise.
    """

    tables: dict[str, xr.Dataset]
    starts: dict[str, xr.Dataset]
    parts: dict[str, dict[str, xr.Dataset]]
    events: dict[Event, xr.Dataset]
    part_starts: dict[str, xr.Dataset] = field(default_factory=dict)
    event_starts: dict[str, xr.DataArray] = field(default_factory=dict)
    event_scores: dict[str, xr.Dataset] = field(default_factory=dict)


def scored(forecasts: Mapping[str, xr.Dataset], job: Job, *, level: float) -> Found:
    """Scores of each forecast; intervals at `level`."""
    tables, starts, part_starts = {}, {}, {}
    parts: dict[str, dict[str, xr.Dataset]] = {}
    for name, fc in forecasts.items():
        scores = job.scores(fc.sizes.get("member", 1))
        starts[name] = start_scores(fc, job.truth, scores)
        tables[name] = with_bounds(mean_scores(starts[name], scores), starts[name], scores, level=level)
        if job.regions:
            each = part_starts[name] = start_scores(fc, job.truth, scores, regions=job.regions)
            parts.setdefault("region", {})[name] = with_bounds(mean_scores(each, scores), each, scores, level=level)
        if job.seasons:
            parts.setdefault("season", {})[name] = _seasons(starts[name], scores, level)
    found = Found(tables, starts, parts, {}, part_starts)
    for event in job.events:
        _score_event(found, event, forecasts, job, level=level)
    return found


def _seasons(table: xr.Dataset, scores: Mapping[str, Score], level: float) -> xr.Dataset:
    """Means and intervals of the frames that came true in each season."""
    season, each = season_of(table), {}
    for name in ("DJF", "MAM", "JJA", "SON"):
        now = season == name
        if bool(now.any()):
            some = table.where(now).sel(init_time=now.any("lead_time"))
            each[name] = with_bounds(mean_scores(table, scores, where=now), some, scores, level=level)
    return xr.concat(list(each.values()), xr.Variable("season", list(each)), join="outer")


def _score_event(found: Found, event: Event, forecasts: Mapping[str, xr.Dataset], job: Job, *, level: float) -> None:
    """The event's reliability by the forecast, and its Brier score by all forecasts with members."""
    table = score(job.forecast[[event.variable]], job.truth, event.scores)
    for name, fc in forecasts.items():
        if fc.sizes.get("member", 1) < 2:
            continue
        scores = event.by_start if name == next(iter(forecasts)) else {"brier": event.scores["brier"]}
        starts = start_scores(fc[[event.variable]], job.truth, scores)
        means = with_bounds(mean_scores(starts, scores), starts, scores, level=level)
        if name == next(iter(forecasts)):
            table = table.assign({n: v for n, v in means.data_vars.items() if str(n).endswith("_bounds")})
        label = {"event": [str(event)]}
        one = starts["brier"].sel(variable=event.variable, drop=True).expand_dims(label).drop_vars("cases", errors="ignore")
        kept = [n for n in ("brier", "brier_bounds") if n in means]
        mean = means[kept].sel(variable=event.variable, drop=True).expand_dims(label).drop_vars("cases", errors="ignore")
        first = name not in found.event_starts
        found.event_starts[name] = one if first else xr.concat([found.event_starts[name], one], "event")
        found.event_scores[name] = mean if first else xr.concat([found.event_scores[name], mean], "event")
    found.events[event] = table


def part_sections(found: Found, job: Job, *, tests: xr.Dataset | None = None) -> list[Section]:
    """Regions, seasons, levels and events on the page.

    Args:
        found: The scores.
        job: What was scored.
        tests: The forecast against its baselines, as `against_baselines` gives it; marks the baselines that differ by more than chance.
    """
    sections = []
    for by, tables in found.parts.items():
        cells = tuple(
            parted_table(tables, s, by=by, variable=n, unit=job.unit(n), tests=holm_of(tests, s, n, by=by))
            for n in job.names
            for s in _parted(tables)
        )
        sections.append(Section(f"By {by}", tables=cells))
    for base, names in levels_of(job.names).items():
        levels = {n: _by_level(table, base, names) for n, table in found.tables.items()}
        unit = job.unit(next(iter(names.values())))
        cells = tuple(
            parted_table(levels, s, by="level", variable=base, unit=unit, tests=holm_of(tests, s, base, by="level")) for s in _parted(levels)
        )
        sections.append(Section(f"By level: {base}", tables=cells))
    for k, (event, table) in enumerate(found.events.items()):
        if k == 0:
            text = ("How probable the forecast held an event, and how often it happened.",)
            several = len(found.event_scores) > 1
            beside = {n: v.expand_dims(variable=["events"]) for n, v in found.event_scores.items()} if several else {}
            about = holm_of(tests, "brier", "events", by="event")
            cells = (parted_table(beside, "brier", by="event", variable="events", tests=about),) if several else ()
            sections.append(Section("Events", text, tables=cells))
        sections.append(event_section(str(event), table, variable=event.variable, unit=job.unit(event.variable)))
    if "trajectory_variance" in job.forecast:
        sections.append(restless_section(job.forecast["trajectory_variance"]))
    return sections


def _parted(tables: Mapping[str, xr.Dataset]) -> list[str]:
    first = next(iter(tables.values()))
    return [s for s in ("crps", "ensemble_rmse", "spread_skill", "coverage_90", "band_coverage", "interval_score") if s in first]


def _by_level(table: xr.Dataset, base: str, names: Mapping[str, str]) -> xr.Dataset:
    """Scores of the fields of one quantity with a dimension ``level``."""
    kept = table[[n for n, v in table.data_vars.items() if set(v.dims) - {"bounds"} == {"variable", "lead_time"}]]
    return kept.sel(variable=list(names.values())).rename(variable="level").assign_coords(level=list(names)).expand_dims(variable=[base])
