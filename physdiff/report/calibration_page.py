"""The page of ``physdiff diagnose --sensors``: is a posterior sampler calibrated, and where it is not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.plots.posterior_checks import posterior_checks_plot
from physdiff.report.html import Cell, Section, Table, to_picture, write_report

__all__ = ["calibration_report"]


def calibration_report(out_dir: str | os.PathLike[str], found: xr.Dataset, *, facts: Mapping[str, str] | None = None) -> Path:
    """Write ``index.html`` with the verdict, the pictures and a table of all quantities and fields.

    Args:
        out_dir: Folder to write to.
        found: What `posterior_report` returned.
        facts: What was run, see `run_facts`.

    Returns:
        The file.
    """
    attrs, cases = found.attrs, found.sizes["case"]
    verdict = str(attrs["verdict"])
    truths = "drawn from the prior" if attrs["truths"] == "prior" else "held-out windows of the data, so that the prior is tested too"
    text = (
        f"{verdict[0].upper()}{verdict[1:]}.",
        f"{cases} truths ({truths}), readings simulated with their noise, {int(attrs['members'])} members for each. Of a sampler that is right every "
        f"rank is uniform. A quantity counts as at fault where its p value times {int(attrs['tests'])} tests is below {attrs['error']:g}.",
    )
    picture = to_picture(
        posterior_checks_plot(found),
        caption="Shares of cases with ranks below each point, minus those expected, in bands of 95 % for one line; ranks of all cells; coverage.",
        alt=f"Distribution functions of ranks and of distances to random points, a rank histogram and coverage: {verdict}",
    )
    return write_report(
        out_dir,
        "Can this posterior be trusted?",
        [Section("Calibration", text, figures=(picture,), tables=(_quantities(found), _fields(found))), _runs(found)],
        facts=facts,
        summary=verdict,
    )


def _quantities(found: xr.Dataset) -> Table:
    prior = found["truth"].var("case", ddof=1)
    score = (found["truth"] - found["mean"]) / found["std"].clip(min=1e-300)
    rows: list[tuple[Cell, ...]] = []
    for name in found["quantity"].values:
        row = found.sel(quantity=name)
        free = str(name) == "log likelihood"  # its spread under the prior is none
        z = float(np.sqrt((score.sel(quantity=name) ** 2).mean()))
        shrunk = None if free else float(1 - (row["std"] ** 2).mean() / prior.sel(quantity=name))
        rows.append((str(name), float(row["p_value"]), float(row["p_chi2"]), float(row["tilt"]), float(row["width"]), z, shrunk))
    rows.append(("distance to a random point", float(found.attrs["tarp_p"]), None, None, None, None, None))
    columns = ("quantity", "p value", "p, chi squared", "tilt", "width", "z score, rms", "contraction")
    note = (
        "p value: exact, of the whole distribution function. tilt: mean rank minus 1/2, above 0 where members are too low. width: 1 is right, above "
        "1 members are too narrow. z score: truth minus mean over the members' standard deviation, about 1. contraction: 1 minus the posterior's "
        "variance over the prior's."
    )
    return Table("Ranks of quantities", columns, tuple(rows), note=note)


def _fields(found: xr.Dataset) -> Table:
    rows: list[tuple[Cell, ...]] = []
    root = found.sizes["case"] ** 0.5
    m = int(found.attrs["members"])
    for name in found["variable"].values:
        row = found.sel(variable=name)
        cover = row["coverage"]
        skill = float(np.sqrt((m + 1) / m * row["variance"].mean() / row["squared_error"].mean()))
        error = float(row["crps"].std(ddof=1)) / root
        rows.append((str(name), float(cover.mean()), float(cover.std(ddof=1)) / root, float(row["crps"].mean()), error, skill))
    share = f"{100 * found.attrs['level']:g} %"
    columns = ("field", f"coverage of {share}", "standard error", "CRPS", "standard error", "spread over error")
    return Table("Fields, all cells", columns, tuple(rows), note="Standard errors are over cases; cells of one case depend on each other.")


def _runs(found: xr.Dataset) -> Section:
    rows = tuple((k.removeprefix("mean_").replace("_", " "), float(v)) for k, v in found.attrs.items() if k.startswith("mean_"))
    return Section("Runs of the sampler", tables=(Table("Means over the cases", ("what", "mean"), rows),))
