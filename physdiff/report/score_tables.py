"""Tables and curves of scores from what `evaluate` returns: models in rows, lead times in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.style import even_choice, lead_of, pretty_unit, quantity, show_number
from physdiff.report.html import Cell, Table

__all__ = [
    "best_of",
    "columns_of",
    "interval_text",
    "lead_table",
    "model_table",
    "named_score",
    "overall_table",
    "parted_table",
    "plain_scores",
    "score_of",
]

_NAMES = {
    "crps": "Fair CRPS",
    "biased_crps": "CRPS of the members",
    "rmse": "RMSE",
    "ensemble_rmse": "RMSE of the ensemble mean",
    "mae": "Mean absolute error",
    "bias": "Bias",
    "acc": "Anomaly correlation",
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
_SMALL_IS_GOOD = {"crps", "biased_crps", "rmse", "ensemble_rmse", "mae", "energy", "energy_score", "log_spectral_distance", "interval_score"}
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


def lead_table(tables: Mapping[str, xr.Dataset], score: str, *, variable: str, unit: str = "1") -> Table:
    """One score of one variable: a row per forecast, a column per lead time, the best in bold where small is good.

    Args:
        tables: Name -> `evaluate` result with dims (variable, lead_time).
        score: Which score.
        variable: Which variable.
        unit: Unit of the variable.

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
    below = {at: text for i, name in enumerate(found) if name in ends for at, text in _intervals(i, ends[name], chosen).items()}
    caption = f"{named_score(score, unit)} of {variable} by lead time"
    return Table(caption, ("Forecast", *headings), _rows(list(found), values), strong=strong, below=below)


def parted_table(tables: Mapping[str, xr.Dataset], score: str, *, by: str, variable: str, unit: str = "1") -> Table:
    """One score of one variable in parts (regions, seasons): a row per forecast and part, a column per lead time, the best of each part in bold.

    Args:
        tables: Name -> scores with dims (variable, by, lead_time).
        score: Which score.
        by: The dimension of the parts.
        variable: Which variable.
        unit: Unit of the variable.
    """
    found = score_of(tables, score, variable)
    first = next(iter(found.values()))
    chosen, headings = columns_of(first["lead_time"])
    rows: list[tuple[Cell, ...]] = []
    strong: set[tuple[int, int]] = set()
    for part in first[by].values:
        values = np.array([np.asarray(v.sel({by: part}).transpose("lead_time").values, dtype=np.float64)[chosen] for v in found.values()])
        strong |= {(i + len(rows), j + 1) for i, j in best_of(values)} if score in _SMALL_IS_GOOD else set()
        rows += [(str(part), name, *map(float, row)) for name, row in zip(found, values, strict=True)]
    caption = f"{named_score(score, unit)} of {variable} by {by} and lead time"
    return Table(caption, (by.capitalize(), "Forecast", *headings), tuple(rows), strong=frozenset(strong))


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
    return Table(f"Scores of {name} for {variable} by lead time", ("Score", *headings), _rows([named_score(s, unit) for s in scores], values))


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


def _intervals(row: int, ends: xr.DataArray, chosen: Sequence[int]) -> dict[tuple[int, int], str]:
    """Lower and upper ends (lead_time, bounds) as small print under the numbers of a row."""
    pairs = np.asarray(ends.transpose("lead_time", "bounds").values, dtype=np.float64)[list(chosen)]
    return {(row, j + 1): interval_text(*pair) for j, pair in enumerate(pairs) if np.isfinite(pair).all()}


def interval_text(low: float, high: float) -> str:
    """Two ends as ``0.35 to 0.42``."""
    return f"{show_number(float(low))} to {show_number(float(high))}"
