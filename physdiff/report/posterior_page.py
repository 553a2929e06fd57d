"""The page of a reconstruction: posterior fields, the sensors they follow, and the truth where it is known."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.data.axes import PLANE, SPHERE
from physdiff.data.convert import grid_of
from physdiff.data.leads import positions_of
from physdiff.data.timeline import as_times
from physdiff.evaluation.evaluate import evaluate
from physdiff.grids.grid import Grid
from physdiff.grids.interpolate import interpolation
from physdiff.grids.points import PointGrid
from physdiff.plots.calibration import coverage_plot, rank_histogram_plot
from physdiff.plots.maps import ensemble_maps
from physdiff.plots.style import even_choice, new_axes, pretty_unit, quantity, show_number, step_label
from physdiff.report.forecast_maps import points_as_picture
from physdiff.report.html import Picture, Section, Table, to_picture, write_report
from physdiff.report.score_tables import overall_table
from physdiff.scores.rank_histogram import rank_histogram

__all__ = ["Readings", "posterior_report_page", "posterior_sections"]


@dataclass(frozen=True, eq=False)
class Readings:
    """What the sensors read.

    Args:
        places: (n, ndim), x, y, z order (longitude, latitude in degrees on the sphere).
        values: Variable -> (n,) readings in its unit, NaN for none.
        times: (n,) times of the readings; None if every sensor is read in every frame (then no readings are compared, unless there is one frame).

    Raises:
        InputError: If lengths differ.
    """

    places: np.ndarray
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    times: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.places)
        lengths = {name: len(v) for name, v in {**self.values, **({} if self.times is None else {"times": self.times})}.items()}
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong:
            raise InputError(f"Readings: expected {n} entries, as many as places, got {wrong}; give one per sensor reading")

    def at(self, times: np.ndarray, index: int) -> np.ndarray:
        """Which readings, boolean (n,), belong to frame `index` of `times`."""
        if self.times is None:
            return np.ones(len(self.places), dtype=bool)
        where: np.ndarray = positions_of(as_times(self.times), as_times(times)) == index
        return where


def posterior_report_page(
    out_dir: str | os.PathLike[str],
    members: xr.Dataset,
    *,
    readings: Readings | None = None,
    truth: xr.Dataset | None = None,
    tables: Mapping[str, xr.Dataset] | None = None,
    title: str = "Reconstruction from sensors",
    facts: Mapping[str, str] | None = None,
    timings: Mapping[str, float] | None = None,
) -> Path:
    """Write ``index.html`` about a posterior ensemble.

    Args:
        out_dir: Folder of the report.
        members: (member, time, *space), equally weighted.
        readings: The sensors.
        truth: (time, *space), if it is known; frames that it does not hold are not drawn.
        tables: Name of the method -> what `evaluate` returned, dims (variable,) or (variable, time); this method first.
        title: Heading.
        facts: See `run_facts`.
        timings: Seconds of each stage.

    Returns:
        The file.

    Raises:
        InputError: If there are less than two members.
    """
    sections = posterior_sections(members, readings=readings, truth=truth, tables=tables)
    sensors = "" if readings is None else f" from {len(readings.places)} readings"
    summary = f"{members.sizes.get('member', 1)} members{sensors}, {members.sizes.get('time', 1)} frames."
    return write_report(out_dir, title, sections, facts=facts, timings=timings, summary=summary)


def posterior_sections(
    members: xr.Dataset,
    *,
    readings: Readings | None = None,
    truth: xr.Dataset | None = None,
    tables: Mapping[str, xr.Dataset] | None = None,
    variables: Sequence[str] | None = None,
) -> list[Section]:
    """The sections of `posterior_report_page`, to be joined with others on one page; `variables` are drawn (the first four if None)."""
    names = [str(n) for n, v in members.data_vars.items() if "member" in v.dims]
    if not names or members.sizes["member"] < 2:
        raise InputError(f"posterior report: expected at least two members along a dim 'member', got {dict(members.sizes)}")
    sections = []
    for name in names[:4] if variables is None else variables:
        unit = str(members[name].attrs.get("units", "1"))
        figures = [_maps(name, members, readings=readings, truth=truth)]
        if truth is not None:
            figures.append(_ranks(name, members, truth))
        cells = [overall_table(tables, variable=name, unit=unit)] if tables else []
        misfit = _misfit(name, members, readings)
        cells += [misfit] if misfit is not None else []
        sections.append(Section(f"Reconstruction: {name}", figures=tuple(figures), tables=tuple(cells)))
    return sections


def _ordered(field: xr.DataArray, grid: Grid) -> xr.DataArray:
    """([member,] [time,] *space); fields of three dimensions show their middle level, scattered points each the pixels that it is nearest to."""
    plain = field.reset_coords(drop=True)
    if isinstance(grid, PointGrid):
        return points_as_picture(plain.transpose(*[d for d in ("member", "time", "point") if d in plain.dims]), grid)
    plain = plain.isel(z=plain.sizes["z"] // 2) if "z" in plain.dims else plain
    return plain.transpose(*[d for d in ("member", "time", *PLANE, *SPHERE) if d in plain.dims])


def _maps(name: str, members: xr.Dataset, *, readings: Readings | None, truth: xr.Dataset | None) -> Picture:
    grid = grid_of(members[[name]])
    field = _ordered(members[name], grid)
    real = None if truth is None else _ordered(truth[name], grid)
    if real is not None and "time" in field.dims:
        where = positions_of(as_times(field["time"].values), as_times(real["time"].values))
        if (where < 0).all():
            raise InputError("posterior report: expected a truth at some times of the reconstruction, got none; leave the truth out")
        field = field.isel(time=where >= 0)  # as in `evaluate`, a frame without truth is no case
        real = real.isel(time=where[where >= 0]).assign_coords(time=field["time"])
    rows = list(even_choice(field.sizes["time"], 3)) if "time" in field.dims and field.ndim > 3 else None
    marks = None
    if readings is not None and readings.places.shape[1] == 2:
        times = field["time"].values if "time" in field.dims else None
        marks = [readings.places[readings.at(times, k) if times is not None else slice(None)] for k in rows or [0]]
    if rows is not None:
        field, real = field.isel(time=rows), None if real is None else real.isel(time=rows)
    axes = ensemble_maps(field.compute(), None if real is None else real.compute(), sensors=marks)
    when = ", ".join(step_label(field["time"], k) for k in range(len(rows))) if rows is not None else "all times"
    spread = float(np.sqrt(np.nanmean(field.var("member", ddof=1).values)))
    sensors = "" if marks is None else " Dots: sensors."
    first = "truth, " if real is not None else ""
    unit = pretty_unit(str(members[name].attrs.get("units", "1")))
    alt = f"Maps of {name} at {when}: {first}posterior mean, two members, standard deviation, which is {show_number(spread)} {unit} rms."
    return to_picture(axes, caption=f"Posterior of {name} at {when}.{sensors} Values share one colour scale; grey cells are missing.", alt=alt)


def _ranks(name: str, members: xr.Dataset, truth: xr.Dataset) -> Picture:
    table = evaluate(members[[name]], truth, {"ranks": rank_histogram}, by=("time",))
    frequency = np.asarray(table["ranks"].sel(variable=name).mean("time").values)
    axes = new_axes(1, 2, size=(4.3, 3.1))
    rank_histogram_plot(frequency, axes[0, 0])
    coverage_plot({"posterior": frequency}, axes[0, 1])
    outer = show_number(float(100 * (frequency[0] + frequency[-1])))
    alt = f"Left: bar chart of the rank of the truth among {frequency.size - 1} members; {outer} % lie outside all. Right: coverage of intervals."
    caption = f"Ranks of the true {name} among the members and coverage of central intervals, all frames."
    return to_picture(axes, caption=caption, alt=alt, vector=True)


def _misfit(name: str, members: xr.Dataset, readings: Readings | None) -> Table | None:
    """How far the posterior mean is from the readings, and how uncertain it is there."""
    if readings is None or name not in readings.values:
        return None
    field = members[name].reset_coords(drop=True)
    field = field if "time" in field.dims else field.expand_dims("time")
    if readings.times is None and field.sizes["time"] > 1:
        return None
    grid = grid_of(members[[name]])
    at = interpolation(grid, torch.as_tensor(readings.places, dtype=torch.float64))
    ordered = field.transpose("member", "time", *grid.dims)
    values = at(torch.from_numpy(np.array(ordered.values, dtype=np.float64))).numpy()
    frame = np.zeros(len(readings.places), dtype=np.int64)
    if readings.times is not None:
        frame = positions_of(as_times(readings.times), as_times(field["time"].values))
    read = np.asarray(readings.values[name], dtype=np.float64)
    kept = np.isfinite(read) & (frame >= 0)
    if not kept.any():
        return None
    here = values[:, frame[kept], np.flatnonzero(kept)]
    off = read[kept] - here.mean(0)
    unit = str(members[name].attrs.get("units", "1"))
    columns = ("Variable", "Readings", quantity("Reading minus mean, rms", unit), quantity("Its mean", unit), quantity("Spread there", unit))
    row = (name, int(kept.sum()), float(np.sqrt(np.nanmean(off**2))), float(np.nanmean(off)), float(np.sqrt(np.nanmean(here.var(0, ddof=1)))))
    return Table("Readings and posterior at the sensors", columns, (row,))
