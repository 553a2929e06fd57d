"""The page of ``physdiff compare``: several forecasts, the best at each lead time, and which differences are more than chance."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.plots.style import new_axes, show_number
from physdiff.plots.trajectories import scores_plot
from physdiff.report.html import Cell, Section, Table, to_picture, write_report
from physdiff.report.score_tables import MARK, best_of, columns_of, holm_of, interval_text, lead_table, named_score, parted_table

__all__ = ["compare_report", "difference_sections"]

_MOST_SHADED = 3  # intervals of more models hide each other


def compare_report(
    out_dir: str | os.PathLike[str], found: xr.Dataset, *, facts: Mapping[str, str] | None = None, timings: Mapping[str, float] | None = None
) -> Path:
    """Write ``index.html`` with a picture and a table for each score of each variable, and the differences of all pairs.

    Args:
        out_dir: Folder to write to.
        found: What `compare` returned.
        facts: What was run, see `run_facts`.
        timings: Seconds of each stage.

    Returns:
        The file.
    """
    models = [str(m) for m in found["model"].values]
    sections = []
    for name, unit in zip(map(str, found["variable"].values), np.atleast_1d(found.attrs["units"]), strict=True):
        sections += _variable(found, name, str(unit))
    if "brier_by_event" in found:
        sections.append(Section("Events", tables=(_part_table(found, "brier", "events", by="event"),)))
    return write_report(out_dir, "Forecasts compared", sections, facts=facts, timings=timings, summary=f"{_listed(models)}, on the same starts.")


def _listed(models: list[str]) -> str:
    return f"{', '.join(models[:-1])} and {models[-1]}"


def _variable(found: xr.Dataset, name: str, unit: str) -> list[Section]:
    tested = [str(s) for s in np.atleast_1d(found.attrs["scores"])]
    each = {str(m): found.sel(model=m) for m in found["model"].values}
    shaded = f"{tested[0]}_bounds" in found and len(each) <= _MOST_SHADED
    axes = new_axes(1, len(tested), size=(5.6, 3.4))
    for score, panel in zip(tested, axes.reshape(-1), strict=True):
        bounds = {m: v[f"{score}_bounds"].sel(variable=name) for m, v in each.items() if shaded}
        scores_plot({m: v[score].sel(variable=name) for m, v in each.items()}, panel, label=named_score(score, unit), bounds=bounds)
    words = " and ".join(named_score(s, unit) for s in tested)
    ends = "; ".join(f"{m} {show_number(float(v[tested[0]].sel(variable=name)[-1]))}" for m, v in each.items())
    told = f"; shaded: intervals of {100 * found.attrs['level']:g} %" if shaded else ""
    picture = to_picture(
        axes,
        caption=f"{words} of {name} against lead time{told}. Intervals of two models may overlap although the models differ on the same starts.",
        alt=f"Line plots of {words} of {name} against lead time. {named_score(tested[0], unit)} at the last lead time: {ends}.",
        vector=True,
    )
    tables = tuple(_score_table(found, score, name, unit) for score in tested)
    shown = [str(s) for s in found.data_vars if s not in tested and set(found[s].dims) == {"model", "variable", "lead_time"}]
    plain = tuple(lead_table(each, s, variable=name, unit=unit) for s in shown)
    sections = [Section(f"Scores: {name}", (_explained(found),), (picture,), tables + plain)]
    for by in ("region", "season"):
        parted = [s for s in tested if f"{s}_by_{by}" in found]
        if parted:
            sections.append(Section(f"By {by}: {name}", tables=tuple(_part_table(found, s, name, by=by, unit=unit) for s in parted), level=3))
    if f"{tested[0]}_p" in found:
        sections.append(Section(f"Differences of pairs: {name}", tables=_pair_tables(found, name, unit), level=3))
    return sections


def _part_table(found: xr.Dataset, score: str, name: str, *, by: str, unit: str = "1") -> Table:
    """Regions, seasons or events: the best of each part bold, a star where another is worse by more than chance."""
    tables = {}
    for model in found["model"].values:
        one = {score + end: found[f"{score}{end}_by_{by}"].sel(model=model, drop=True) for end in ("", "_bounds")}
        table = xr.Dataset(one) if by != "event" else xr.Dataset(one).expand_dims(variable=[name])
        if bool(table[score].notnull().any()):
            tables[str(model)] = table
    return parted_table(tables, score, by=by, variable=name, unit=unit, tests=holm_of(found, score, name, by=by), best=True)


def difference_sections(found: xr.Dataset) -> list[Section]:
    """A forecast against its baselines: a table of differences for each score and variable.

    Args:
        found: What `against_baselines` returned.
    """
    error, over = 100 * (1 - float(found.attrs["level"])), {"init_time": "starts", "sample": "samples"}[str(found.attrs["over"])]
    text = f"Below zero the forecast is better. Tests are paired on the same {over}, blocks of which are redrawn; Holm's rule over all baselines and "
    text += f"lead times of a table keeps the probability of any false star below {error:g} %."
    units = zip(map(str, found["variable"].values), np.atleast_1d(found.attrs["units"]), strict=True)
    return [Section(f"Against the baselines: {name}", (text,), tables=_pair_tables(found, name, str(unit))) for name, unit in units]


def _pair_tables(found: xr.Dataset, name: str, unit: str) -> tuple[Table, ...]:
    return tuple(_pair_table(found, str(score), name, unit) for score in np.atleast_1d(found.attrs["scores"]))


def _explained(found: xr.Dataset) -> str:
    text = "Weighted by area. The best of each column is bold."
    if not any(str(n).endswith("_p") for n in found.data_vars):
        return f"{text} There are fewer than five starts, so that nothing can be said of chance."
    error, over = 100 * (1 - float(found.attrs["level"])), {"init_time": "starts", "sample": "samples"}[str(found.attrs["over"])]
    return (
        f"{text} A star: worse than the best by more than chance; no star: not told apart from it. Tests are paired on the same {over}, blocks of "
        f"which are redrawn; Holm's rule over all pairs of models and all lead times of a table keeps the probability of any false star below "
        f"{error:g} %. Small under a number: its own interval."
    )


def _score_table(found: xr.Dataset, score: str, name: str, unit: str) -> Table:
    chosen, headings = columns_of(found["lead_time"])
    models = [str(m) for m in found["model"].values]
    values = found[score].sel(variable=name).transpose("model", "lead_time").values[:, chosen]
    strong = best_of(values)
    marks, below = {}, {}
    if f"{score}_p" in found:
        p = found[f"{score}_p"].sel(variable=name).transpose("pair", "lead_time").values[:, chosen]
        sides = [tuple(models.index(str(found[k].values[i])) for k in ("first", "second")) for i in range(found.sizes["pair"])]
        for best, column in strong:
            for pair, (a, b) in enumerate(sides):
                if best in (a, b) and p[pair, column - 1] < 1 - found.attrs["level"]:
                    marks[a + b - best, column] = MARK
        ends = found[f"{score}_bounds"].sel(variable=name).transpose("model", "lead_time", "bounds").values[:, chosen]
        below = {(i, j + 1): interval_text(*ends[i, j]) for i in range(len(models)) for j in range(len(chosen)) if np.isfinite(ends[i, j]).all()}
    rows: list[tuple[Cell, ...]] = [(model, *map(float, row)) for model, row in zip(models, values, strict=True)]
    caption = f"{named_score(score, unit)} of {name} by lead time"
    note = "* worse than the best by more than chance"
    return Table(caption, ("Model", *headings), tuple(rows), strong=strong, marks=marks, below=below, note=note)


def _pair_table(found: xr.Dataset, score: str, name: str, unit: str) -> Table:
    chosen, headings = columns_of(found["lead_time"])
    change = found[f"{score}_difference"].sel(variable=name).transpose("pair", "lead_time", "bound").values[:, chosen]
    p = found[f"{score}_p"].sel(variable=name).transpose("pair", "lead_time").values[:, chosen]
    pairs = [str(k) for k in found["pair"].values]
    places = [(i, j) for i in range(len(pairs)) for j in range(len(chosen)) if np.isfinite(change[i, j]).all()]
    marks = {(i, j + 1): MARK for i, j in places if p[i, j] < 1 - found.attrs["level"]}
    below = {(i, j + 1): f"{interval_text(*change[i, j, 1:])}\np {show_number(float(p[i, j]), 2)}" for i, j in places}
    rows: list[tuple[Cell, ...]] = [(pair, *map(float, change[i, :, 0])) for i, pair in enumerate(pairs)]
    what = f"mean squared error{f' ({unit}²)' if unit != '1' else ''}" if score.endswith("rmse") else named_score(score, unit)
    note = "Small: interval of the difference by itself, and Holm's p-value. * more than chance."
    return Table(f"Difference in {what} of {name}, the first minus the second", ("Pair", *headings), tuple(rows), marks=marks, below=below, note=note)
