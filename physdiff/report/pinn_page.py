"""The page of ``physdiff fit-pinn``: the field, its error and what is left of the law."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.plots.collocation import looks_plot, residual_maps
from physdiff.plots.style import figure_of
from physdiff.report.html import Section, Table, to_picture, write_report

__all__ = ["pinn_report"]


def pinn_report(
    folder: str | os.PathLike[str],
    field: xr.Dataset,
    residual: xr.Dataset,
    *,
    truth: xr.Dataset,
    found: Mapping[str, float] = {},  # noqa: B006 - never changed
    facts: Mapping[str, str] | None = None,
) -> tuple[Path, float]:
    """Write ``index.html`` and ``field.png`` into the folder of a run.

    Args:
        folder: Of the run; the history is read from its ``looks.csv`` (or that of its last window).
        field: The network on the grid of the data.
        residual: What is left of each equation there.
        truth: The data; its times beyond the field's are left out.
        found: Coefficients that were found.
        facts: What was run, see `run_facts`.

    Returns:
        The page, and the largest relative L2 error of the fields that are not zero everywhere (NaN if all are).
    """
    place, rows, pictures = Path(folder), [], []
    for name in truth.data_vars:
        # the same points: coordinates of files are rounded
        right = truth[name].isel(time=slice(0, field.sizes["time"])).transpose(*field[name].dims)
        right = right.assign_coords({d: field[name][d] for d in field[name].dims})
        off = np.asarray(field[name].values - right.values, dtype=np.float64)
        size = float(np.nansum(np.asarray(right.values, dtype=np.float64) ** 2))
        error = float(np.sqrt(np.nansum(off**2) / size)) if size > 0 else math.nan  # of a field that is zero no error is relative
        left = residual[name] if name in residual else residual[list(residual.data_vars)[0]]
        rows.append((str(name), error, float(np.nanmax(np.abs(off))), float(np.sqrt((left.astype(np.float64) ** 2).mean()))))
        axes = residual_maps(field[name], left, right)
        figure_of(axes).savefig(place / f"{name}.png")
        pictures.append(to_picture(axes, caption=f"{name}: network, data, error, residual", alt=f"Maps of {name}, its error and its residual"))
    tables = [Table("Against the data", ("field", "relative error", "largest error", "residual (rms)"), tuple(rows))]
    if found:
        tables.append(Table("Coefficients", ("name", "value"), tuple(found.items())))
    looks = _looks(place)
    history = (to_picture(looks_plot(looks), caption="Training", alt="Residual, loss and error over the steps", vector=True),) if looks else ()
    worst = max((row[1] for row in rows if not np.isnan(row[1])), default=math.nan)
    summary = f"Relative error against the data: {worst:.2g}." if rows and not math.isnan(worst) else "The data are zero: errors in their units."
    sections = [Section("Field", tables=tuple(tables), figures=tuple(pictures)), Section("Training", figures=history)]
    return write_report(place, "A law solved by a network", sections, facts=facts, summary=summary), worst


def _looks(place: Path) -> list[dict[str, float]]:
    files = [place / "looks.csv", *sorted(place.glob("window_*/looks.csv"), key=lambda p: int(p.parent.name.split("_")[1]), reverse=True)]
    for file in files:
        if file.is_file():
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file.read_text().splitlines())]
    return []
