"""The page of ``physdiff evaluate --physics``: which relations hold in a file of the atmosphere, and where they hold least."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from physdiff.plots.maps import map_plot
from physdiff.report.html import Picture, Section, Table, to_picture, write_report

__all__ = ["physics_report"]


def physics_report(out_dir: str | os.PathLike[str], check: xr.Dataset, *, facts: Mapping[str, str] | None = None) -> Path:
    """Write ``index.html`` with a table of all relations and a map of the worst level of each kind.

    Args:
        out_dir: Folder to write to.
        check: What `atmosphere_check` returned.
        facts: What was run, see `run_facts`.

    Returns:
        The file.
    """
    rows = tuple(
        (str(n), v.attrs["units"], v.attrs["residual_rms"], v.attrs["scale"], v.attrs["share"], v.attrs["limit"], str(v.attrs["verdict"]))
        for n, v in check.data_vars.items()
    )
    columns = ("relation", "unit", "residual (rms)", "largest term (rms)", "share", "limit", "verdict")
    table = Table("Residuals of the relations, root mean square over time and area", columns, rows)
    sections = [Section("Relations", (str(check.attrs["verdict"]) + ".",), tables=(table,)), Section("Where", figures=tuple(_maps(check)))]
    return write_report(out_dir, "Physics of the data", sections, facts=facts, summary=str(check.attrs["verdict"]))


def _maps(check: xr.Dataset) -> list[Picture]:
    """The root mean square over time of the relation with the largest share of each kind."""
    worst: dict[str, str] = {}
    for name, field in check.data_vars.items():
        kind = str(name).split("_")[0]
        if kind not in worst or field.attrs["share"] > check[worst[kind]].attrs["share"]:
            worst[kind] = str(name)
    found = []
    for name in worst.values():
        field = check[name]
        count = field.notnull().sum("time")
        size = ((field**2).sum("time") / count.where(count > 0)) ** 0.5
        size.attrs.update(field.attrs)
        words = name.replace("_", " ")
        axes = map_plot(size, title=f"{words}: share {field.attrs['share']:.2f} of the largest term")
        found.append(to_picture(axes, caption=f"Size of the residual, {words}", alt=f"Map of the root mean square residual of {words}"))
    return found
