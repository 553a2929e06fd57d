"""Tables and curves of scores from what `evaluate` returns: models in rows, lead times in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.style import even_choice, lead_of, pretty_unit, quantity, show_number
from physdiff.report.html import Cell, Table

__all__ = [
    "MARK",
    "best_of",
    "columns_of",
    "intervals_below",
    "interval_text",
    "lead_table",
    "model_table",
    "named_score",
    "overall_table",
    "parted_table",
    "plain_scores",
    "score_of",
    "starred",
    "holm_of",
]

_NAMES = {
    "crps": "Fair CRPS",
    "biased_crps": "CRPS of the members",
    "rmse": "RMSE",
    "ensemble_rmse": "RMSE of the ensemble mean",
    "mae": "Mean absolute error",
    "bias": "Bias",
    "acc": "Anomaly correlation",
    "brier": "Fair Brier score",
    "spread": "Spread",
    "spread_skill": "Spread-skill ratio",
    "coverage": "Coverage",
    "coverage_90": "Coverage of the central 90 %",
    "band_coverage": "Coverage of the band",
    "band_width": "Width of the band",
    "interval_score": "Interval score",
    "energy": "Energy score",
    "energy_score": "Energy score",
    "fine_scale_power": "Fine-scale power over the truth's",
    "log_spectral_distance": "Log-spectral distance",
}
_WITH_UNIT = {"crps", "biased_crps", "rmse", "ensemble_rmse", "mae", "bias", "spread", "band_width", "interval_score"}
_SMALL_IS_GOOD = {"crps", "biased_crps", "rmse", "ensemble_rmse", "mae", "energy", "energy_score", "log_spectral_distance", "interval_score", "brier"}
MARK = " *"
_LEADS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 36, 48, 72, 96, 120, 240)
_COLUMNS = 12


def named_score(score: str, unit: str = "1") -> str:
    """Name of a score for readers, with the unit of the field where the score has it."""
    return quantity(_NAMES.get(score, score.replace("_", " ")), unit if score in _WITH_UNIT else "1")


def plain_scores(tables: Mapping[str, xr.Dataset], dim: str = "lead_time") -> list[str]:
    """Names of the scores that are one number per variable and entry of `dim`, in order, from all tables."""
    return list(dict.fromkeys(str(n) for table in tables.values() for n, v in table.data_vars.items() if set(v.dims) == {"variable", dim}))


def score_of(tables: Mapping[str, xr.Dataset], score: str, variable: str) -> dict[str, xr.DataArray]:
    """One score of one variable of every table that has it, by the table's name."""
    having = {name: table for name, table in tables.items() if score in table and variable in table["variable"].values}
    return {name: table[score].sel(variable=variable, drop=True) for name, table in having.items()}


def holm_of(tests: xr.Dataset | None, score: str, variable: str, *, by: str = "") -> xr.DataArray | None:
    """Holm's p-values (pair, [by,] lead_time) of a table, or None if it was not tested; attribute `error` is the probability of a false mark.

    Args:
        tests: As `against_baselines` or `compare` gives them.
        score: Which score.
        variable: Which variable; of levels the quantity.
        by: region, season, level, event, or nothing.
    """
    name = f"{score}_p_by_{by}" if by else f"{score}_p"
    if tests is None or name not in tests:
        return None
    found = tests[name].rename(quantity="variable") if by == "level" else tests[name]
    if "variable" in found.dims:
        if variable not in found["variable"].values:
            return None
        found = found.sel(variable=variable, drop=True)
    return found.assign_attrs(error=1 - float(tests.attrs["level"]))


def starred(p: xr.DataArray, names: Sequence[str], chosen: Sequence[int], *, rivals: Mapping[int, int]) -> dict[tuple[int, int], str]:
    """(row, column) of the entries that differ from their column's rival by more than chance, with the mark.

    Args:
        p: (pair, lead_time) with coordinates `first` and `second`, from `holm_of`.
        names: Of the rows.
        chosen: Lead times of the columns.
        rivals: Column, counted from 0 without the heading, -> the row that others are held against.
    """
    values = p.transpose("pair", "lead_time").values[:, list(chosen)]
    found = {}
    for k, ends in enumerate(zip(p["first"].values, p["second"].values, strict=True)):
        if not all(str(e) in names for e in ends):
            continue
        a, b = (list(names).index(str(e)) for e in ends)
        found.update({(a + b - rival, j + 1): MARK for j, rival in rivals.items() if rival in (a, b) and values[k, j] < p.attrs["error"]})
    return found


def lead_table(tables: Mapping[str, xr.Dataset], score: str, *, variable: str, unit: str = "1", tests: xr.DataArray | None = None) -> Table:
    """One score of one variable: a row per forecast, a column per lead time, the best in bold where small is good.

    Args:
        tables: Name -> `evaluate` result with dims (variable, lead_time).
        score: Which score.
        variable: Which variable.
        unit: Unit of the variable.
        tests: As `holm_of` gives them; forecasts that differ from the first by more than chance get a star.

    Raises:
        InputError: If no table has the score.
    """
    found = score_of(tables, score, variable)
    if not found:
        raise InputError(f"lead_table: expected the score {score!r} of {variable!r} in a table, got none; evaluate with it")
    chosen, headings = columns_of(next(iter(found.values()))["lead_time"])
    values = np.array([np.asarray(v.values, dtype=np.float64)[chosen] for v in found.values()])
    strong = best_of(values) if score in _SMALL_IS_GOOD else frozenset()
    ends = score_of(tables, f"{score}_bounds", variable)
    below = {at: text for i, name in enumerate(found) if name in ends for at, text in intervals_below(i, ends[name], chosen).items()}
    caption = f"{named_score(score, unit)} of {variable} by lead time"
    marks = {} if tests is None else starred(tests, list(found), chosen, rivals=dict.fromkeys(range(len(chosen)), 0))
    note = "" if tests is None else f"* differs from {next(iter(found))!r} by more than chance."
    return Table(caption, ("Forecast", *headings), _rows(list(found), values), strong=strong, below=below, marks=marks, note=note)


def parted_table(
    tables: Mapping[str, xr.Dataset], score: str, *, by: str, variable: str, unit: str = "1", tests: xr.DataArray | None = None, best: bool = False
) -> Table:
    """One score of one variable in parts (regions, seasons): a row per forecast and part, a column per lead time, the best of each part in bold.

    Args:
        tables: Name -> scores with dims (variable, by, lead_time), intervals as ``<score>_bounds`` with bounds behind.
        score: Which score.
        by: The dimension of the parts.
        variable: Which variable.
        unit: Unit of the variable.
        tests: As `holm_of` gives them; a star is behind forecasts that differ from the first by more than chance.
        best: Whether the star is behind those that are worse than the best of their part and column instead.
    """
    found, bounds = score_of(tables, score, variable), score_of(tables, f"{score}_bounds", variable)
    first = next(iter(found.values()))
    chosen, headings = columns_of(first["lead_time"])
    rows: list[tuple[Cell, ...]] = []
    strong: set[tuple[int, int]] = set()
    below: dict[tuple[int, int], str] = {}
    marks: dict[tuple[int, int], str] = {}
    for part in first[by].values:
        top = len(rows)
        values = np.array([np.asarray(v.sel({by: part}).transpose("lead_time").values, dtype=np.float64)[chosen] for v in found.values()])
        lowest = best_of(values) if score in _SMALL_IS_GOOD else frozenset()
        strong |= {(i + top, j + 1) for i, j in lowest}
        for i, name in enumerate(found):
            under = intervals_below(i + top, bounds[name].sel({by: part}), chosen) if name in bounds else {}
            below.update({(i, j + 1): text for (i, j), text in under.items()})
        if tests is not None and part in tests[by].values:
            rivals = {j - 1: i for i, j in lowest} if best else dict.fromkeys(range(len(chosen)), 0)
            stars = starred(tests.sel({by: part}), list(found), chosen, rivals=rivals)
            marks.update({(i + top, j + 1): mark for (i, j), mark in stars.items()})
        rows += [(str(part), name, *map(float, row)) for name, row in zip(found, values, strict=True)]
    caption = f"{named_score(score, unit)} of {variable} by {by} and lead time"
    if by == "event":
        caption = f"{named_score(score)} by event and lead time"
    note = ""
    if tests is not None:
        what = f"* worse than the best of its {by} by more than chance" if best else f"* differs from {next(iter(found))!r} by more than chance"
        note = f"{what}; Holm's rule over all {by}s, pairs and lead times of the table."
    columns = (by.capitalize(), "Forecast", *headings)
    return Table(caption, columns, tuple(rows), strong=frozenset(strong), below=below, marks=marks, note=note)


def model_table(name: str, table: xr.Dataset, scores: Sequence[str], *, variable: str, unit: str = "1") -> Table:
    """Several scores of one forecast: a row per score, a column per lead time.

    Args:
        name: Of the forecast.
        table: `evaluate` result with dims (variable, lead_time).
        scores: Which scores; the table must have them.
        variable: Which variable.
        unit: Unit of the variable.
    """
    chosen, headings = columns_of(table["lead_time"])
    values = np.array([np.asarray(table[s].sel(variable=variable).values, dtype=np.float64)[chosen] for s in scores])
    below: dict[tuple[int, int], str] = {}
    for i, s in enumerate(scores):
        below |= intervals_below(i, table[f"{s}_bounds"].sel(variable=variable), chosen) if f"{s}_bounds" in table else {}
    caption = f"Scores of {name} for {variable} by lead time"
    return Table(caption, ("Score", *headings), _rows([named_score(s, unit) for s in scores], values), below=below)


def overall_table(tables: Mapping[str, xr.Dataset], *, variable: str, unit: str = "1") -> Table:
    """All scores of one variable: a row per method, a column per score, averaged over what else the tables are resolved by.

    Arguments as in `lead_table`.
    """
    scores = list(dict.fromkeys(str(n) for t in tables.values() for n in t.data_vars if not any(str(d).endswith("_bin") for d in t[n].dims)))
    values = np.full((len(tables), len(scores)), np.nan)
    averaged = False
    for i, table in enumerate(tables.values()):
        for j, score in enumerate(scores):
            found = score_of({"": table}, score, variable).get("")
            if found is not None:
                averaged |= found.size > 1
                values[i, j] = float(found.mean())
    strong = {(i, j + 1) for j, s in enumerate(scores) if s in _SMALL_IS_GOOD for i, k in best_of(values[:, j : j + 1]) if k == 1}
    note = "Means over frames of each frame's score." if averaged else ""
    columns = ("Method", *(named_score(s, unit) for s in scores))
    return Table(f"Scores of {variable}", columns, _rows(list(tables), values), strong=frozenset(strong), note=note)


def columns_of(lead_time: xr.DataArray) -> tuple[list[int], list[str]]:
    """At most twelve lead times, closer together at the beginning, the last among them; and their headings."""
    leads, unit = lead_of(lead_time)
    chosen = [n - 1 for n in _LEADS if n <= leads.size] if leads.size > _COLUMNS else list(range(leads.size))
    chosen = sorted({*chosen, leads.size - 1})
    chosen = [chosen[i] for i in even_choice(len(chosen), _COLUMNS)]
    return chosen, [f"{leads[k]:.4g} {pretty_unit(unit)}".strip() for k in chosen]


def _rows(names: Sequence[str], values: np.ndarray) -> tuple[tuple[Cell, ...], ...]:
    return tuple((name, *map(float, row)) for name, row in zip(names, values, strict=True))


def best_of(values: np.ndarray) -> frozenset[tuple[int, int]]:
    """(row, column) of the smallest entry of every column, as a table counts them; none where there is nothing to compare."""
    if len(values) < 2:
        return frozenset()
    lowest = np.where(np.isnan(values), np.inf, values)
    return frozenset((int(lowest[:, j].argmin()), j + 1) for j in range(values.shape[1]) if np.isfinite(lowest[:, j]).any())


def intervals_below(row: int, ends: xr.DataArray, chosen: Sequence[int]) -> dict[tuple[int, int], str]:
    """Lower and upper ends (lead_time, bounds) as small print under the numbers of a row."""
    pairs = np.asarray(ends.transpose("lead_time", "bounds").values, dtype=np.float64)[list(chosen)]
    return {(row, j + 1): interval_text(*pair) for j, pair in enumerate(pairs) if np.isfinite(pair).all()}


def interval_text(low: float, high: float) -> str:
    """Two ends as ``0.35 to 0.42``."""
    return f"{show_number(float(low))} to {show_number(float(high))}"
