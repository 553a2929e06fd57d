"""The page of ``physdiff diagnose``: a verdict for each check, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from physdiff.evaluation.diagnose import CHECKS
from physdiff.plots.diagnosis import diagnosis_plot
from physdiff.report.html import Cell, Section, Table, to_picture, write_report

__all__ = ["diagnosis_report"]


def diagnosis_report(out_dir: str | os.PathLike[str], found: xr.Dataset, *, facts: Mapping[str, str] | None = None) -> Path:
    """Write ``index.html`` with a table of all checks and three panels for each field.

    Args:
        out_dir: Folder to write to.
        found: What `diagnose` returned.
        facts: What was run, see `run_facts`.

    Returns:
        The file.
    """
    rows: list[tuple[Cell, ...]] = []
    for name in found["check"].values:
        row = found.sel(check=name)
        numbers = tuple(float(row[k]) for k in ("value", "good", "bad"))
        rows.append((CHECKS[str(name)].title, *numbers, str(row["verdict"].values), CHECKS[str(name)].meaning))
    table = Table("All checks; zero is right for each", ("check", "value", "good to", "bad from", "verdict", "meaning"), tuple(rows))
    summary = str(found.attrs["verdict"])
    pictures = tuple(
        to_picture(
            diagnosis_plot(found, variable=str(name)),
            caption=f"Checks by noise level; spread by wavenumber of {name}",
            alt=f"Lines of the checks of the denoiser over the noise level and of the spread of {name} over the wavenumber",
        )
        for name in found["variable"].values
    )
    sections = [Section("Checks", (summary + ".",), tables=(table,)), Section("Where", figures=pictures)]
    return write_report(out_dir, "Can this prior be trusted?", sections, facts=facts, summary=summary)
