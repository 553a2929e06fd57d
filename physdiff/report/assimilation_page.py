"""The page of ``physdiff assimilate``: errors and spread through time, innovations, maps, ranks of the truth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.plots.assimilation import assimilation_plot
from physdiff.plots.style import quantity, show_number
from physdiff.report.html import Cell, Picture, Section, Slides, Table, to_picture, write_report
from physdiff.report.posterior_page import Readings, posterior_sections

__all__ = ["assimilation_report"]

_KINDS = (("", "analysis"), ("_forecast", "forecast before it"), ("_free", "no readings"))


def assimilation_report(
    out_dir: str | os.PathLike[str], result: xr.Dataset, *, readings: Readings | None = None, facts: Mapping[str, str] | None = None
) -> Path:
    """Write ``index.html`` with, for each field, scores, error and spread by time, and where the truth is known maps and ranks.

    Args:
        out_dir: Folder to write to.
        result: What `assimilate` returns; with the scores of `assimilation_scores` where the truth is known.
        readings: What was read, to be marked on the maps.
        facts: See `run_facts`.

    Returns:
        The file.
    """
    names = [str(n) for n, v in result.data_vars.items() if "member" in v.dims and f"{n}_forecast" in result.data_vars]
    used, cycles = int(result["readings"].sum()), result.sizes["cycle"]
    ratio = float(np.sqrt(np.nanmean(result["innovation"].values ** 2)))
    verdict = "spread and noise are about right" if 0.8 <= ratio <= 1.25 else "too sure of itself" if ratio > 1.25 else "too uncertain"
    summary = f"{result.sizes['member']} members, {cycles} cycles, {used} readings; innovation ratio {show_number(ratio)}: {verdict}."
    sections = []
    for name in names[:4]:
        figures: list[Picture | Slides] = [_lines(result, name)]
        tables = [_scores(result, name)] if f"rmse_{name}" in result else []
        parts = _fields(result, name, readings)
        figures += [figure for part in parts for figure in part.figures]
        sections.append(Section(f"Assimilation: {name}", figures=tuple(figures), tables=(*tables, *(t for part in parts for t in part.tables))))
    return write_report(out_dir, "Assimilation", sections, facts=facts, summary=summary)


def _lines(result: xr.Dataset, name: str) -> Picture:
    innovation = show_number(float(np.nanmean(result["innovation"].values)))
    return to_picture(
        assimilation_plot(result, name),
        caption=f"Left: error of the mean of {name} and spread of the ensemble, before and after each analysis, and without readings where that was "
        "run. Right: root mean square misfit of the readings over what spread and noise let expect, by cycle; 1 is right.",
        alt=f"Lines of error and spread of {name} by time, and of the innovation ratio, mean {innovation}",
        vector=True,
    )


def _fields(result: xr.Dataset, name: str, readings: Readings | None) -> list[Section]:
    """Maps of the analysis and, where the truth is known, ranks, of a field of two dims of space."""
    field = result[name]
    if field.ndim not in (3, 4):
        return []
    truth = None if f"{name}_truth" not in result else result[[f"{name}_truth"]].rename({f"{name}_truth": name})
    return posterior_sections(result[[name]], readings=readings, truth=truth, variables=[name])


def _scores(result: xr.Dataset, name: str) -> Table:
    half = result.isel(time=slice(result.sizes["time"] // 2, None))
    unit = str(result[name].attrs.get("units", "1"))
    kinds = [(tag, told) for tag, told in _KINDS if f"rmse_{name}{tag}" in half]
    scores = [k for k in ("rmse", "spread", "crps", "coverage") if f"{k}_{name}" in half]
    rows: list[tuple[Cell, ...]] = [(told, *(float(half[f"{k}_{name}{tag}"].mean()) for k in scores)) for tag, told in kinds]
    heads = {"rmse": quantity("RMSE", unit), "spread": quantity("spread", unit), "crps": quantity("CRPS", unit), "coverage": "coverage of 90 %"}
    return Table(f"Scores of {name}", ("of the", *(heads[k] for k in scores)), tuple(rows), note="Means over the second half of the times.")
