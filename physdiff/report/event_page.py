"""How probable a forecast held an event, and how often it happened: a section for each threshold asked for."""

from __future__ import annotations

import numpy as np
import xarray as xr

from physdiff.plots.calibration import reliability_plot
from physdiff.plots.maps import map_plot
from physdiff.plots.style import pretty_unit, show_number
from physdiff.report.html import Cell, Section, Table, to_picture
from physdiff.report.score_tables import columns_of, intervals_below

__all__ = ["event_section", "return_section"]


def event_section(event: str, table: xr.Dataset, *, variable: str, unit: str = "1") -> Section:
    """Reliability diagram over all lead times, and by lead time the Brier score beside that of a forecast of the frequency alone.

    Args:
        event: As in ``t2m > 283.15``.
        table: `evaluate` by lead time of ``brier``, ``hits`` and ``others`` (`brier_score` and `events_by_count` of both kinds); intervals of the
            rows of the table, if there, as ``brier_bounds``, ``skill_bounds``, ``frequency_bounds`` and ``probability_bounds``.
        variable: Which variable.
        unit: Its unit.
    """
    at = table.sel(variable=variable)
    hits, others = (at[n].rename({f"{n}_bin": "count"}) for n in ("hits", "others"))
    weights = at["cases"].astype(float)
    happened, otherwise = (v.weighted(weights).mean("lead_time").values for v in (hits, others))
    total = float(happened.sum() + otherwise.sum())
    happened, otherwise = happened / total, otherwise / total
    members = happened.size - 1
    rate = float(happened.sum())
    title = f"Reliability: {event} {pretty_unit(unit)}".rstrip()
    if rate in (0.0, 1.0):
        return Section(title, (f"The event {'always' if rate else 'never'} happened: there is nothing to judge probabilities by.",), level=3)
    sure = np.arange(members + 1) >= 0.8 * members
    both = float((happened + otherwise)[sure].sum())
    share = show_number(100 * float(happened[sure].sum()) / both) if both > 0 else None
    said = f"where 80 % of the members or more had it, it happened in {share} %" if share else "80 % of the members never had it"
    picture = to_picture(
        reliability_plot(happened, otherwise),
        caption=f"{event}: how often it happened for each forecast probability (the diagonal is right; dashed: its frequency, "
        f"{show_number(100 * rate)} %), and how often each probability was given, all lead times: {said}.",
        alt=f"Left: observed frequency of {event} against the probability forecast. Right: bar chart of the probabilities given. "
        f"It happened in {show_number(100 * rate)} % of all cases; {said}.",
        vector=True,
    )
    return Section(title, figures=(picture,), tables=(_scores(event, at, hits, others),), level=3)


def _scores(event: str, at: xr.Dataset, hits: xr.DataArray, others: xr.DataArray) -> Table:
    chosen, headings = columns_of(at["lead_time"])
    share = np.linspace(0, 1, hits.sizes["count"])
    rate = hits.sum("count").values
    given = ((hits + others) * xr.DataArray(share, dims="count")).sum("count").values
    brier = at["brier"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        skill = np.where(rate * (1 - rate) > 0, 1 - brier / (rate * (1 - rate)), np.nan)
    rows = {"Fair Brier score": brier, "Skill over its frequency": skill, "Frequency of the event": rate, "Mean probability forecast": given}
    below: dict[tuple[int, int], str] = {}
    for i, name in enumerate(("brier", "skill", "frequency", "probability")):
        below |= intervals_below(i, at[f"{name}_bounds"], chosen) if f"{name}_bounds" in at else {}
    cells: list[tuple[Cell, ...]] = [(name, *map(float, np.asarray(v)[chosen])) for name, v in rows.items()]
    note = "Skill: 1 is perfect, 0 is worth the frequency alone."
    note += " Small under a number: its interval, blocks of starts redrawn." if below else ""
    return Table(f"Probabilities of {event} by lead time", ("Score", *headings), tuple(cells), note=note, below=below)


def return_section(found: xr.Dataset, variable: str, *, unit: str = "1") -> Section:
    """Return levels: their range and mean over cells with the intervals of resampled maxima, and a map of fields in the plane.

    Args:
        found: ``return_level``, ``lower`` and ``upper`` on space, as `return_fields` gives them.
        variable: Name of the field.
        unit: Its unit.
    """
    level = found["return_level"]
    period, blocks = float(level.attrs["period"]), int(level.attrs["blocks"])
    title = f"Return levels of {variable}"
    if not bool(level.notnull().any()):
        return Section(title, ("No cell has a return level: values are missing, or all alike.",))
    flat = level.values.reshape(-1)
    at = {"Lowest cell": int(np.nanargmin(flat)), "Highest cell": int(np.nanargmax(flat))}
    ends = {n: found[n].values.reshape(-1) for n in ("return_level", "lower", "upper")}
    rows: list[tuple[Cell, ...]] = [("Mean over cells", *(float(np.nanmean(v)) for v in ends.values()))]
    rows += [(name, *(float(v[k]) for v in ends.values())) for name, k in at.items()]
    share = show_number(100 * float(found.attrs["level"]))
    named = pretty_unit(unit)
    caption = f"Level that the largest value of a forecast passes once in {show_number(period)} forecasts{f', {named}' if named else ''}"
    note = f"From {blocks} forecasts of members; intervals of {share} % by resampling them."
    table = Table(caption, ("Where", "Level", "Lower", "Upper"), tuple(rows), note=note)
    if level.squeeze().ndim != 2:
        return Section(title, tables=(table,))
    alt = f"Map of the return levels of {variable}, {show_number(float(np.nanmin(flat)))} to {show_number(float(np.nanmax(flat)))} {named}".rstrip()
    axes = np.array([[map_plot(level.squeeze().assign_attrs(units=unit))]])
    return Section(title, figures=(to_picture(axes, caption=f"{caption}.", alt=f"{alt}."),), tables=(table,))
