"""``physdiff compare``."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.cli.options import checked_folder
from physdiff.cli.parse import command_line
from physdiff.cli.scoring import Clock
from physdiff.cli.splits import as_list
from physdiff.data.write import write_dataset
from physdiff.evaluation.compare import compare as compared, read_scores
from physdiff.report.compare_page import compare_report
from physdiff.report.html import run_facts

__all__ = ["compare"]


def compare(
    runs: list[str],
    out: str,
    *,
    baselines: str | list[str] | None = None,
    level: float = 0.95,
) -> None:
    """Put several evaluated forecasts on one page, the best marked and which differences are chance; write ``compare.nc`` and ``index.html``.

    As in ``physdiff compare a/ b/ c/ --out page``. The forecasts must be of the same starts, judged by the same truth.

    Args:
        runs: Folders that ``physdiff evaluate`` wrote.
        out: Folder to write to.
        baselines: Baselines of the first folder to compare with, such as persistence.
        level: Confidence level; one minus the probability of any false mark in a table.
    """
    clock, folder = Clock(), checked_folder(out)
    names = _names(runs)
    scores = {name: read_scores(run) for name, run in zip(names, runs, strict=True)}
    clock.lap("reading")
    found = compared(scores, baselines=as_list(baselines) or (), level=level)
    clock.lap("tests")
    write_dataset(found, folder / "compare.nc", command=command_line())
    told = {f"Run {name}": f"{run}: {str(scores[name].attrs.get('history', '')).strip()[:400]}" for name, run in zip(names, runs, strict=True)}
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"), extra=told)
    page = compare_report(folder, found, facts=facts, timings=clock.laps)
    print(_summary(found))
    print(f"wrote {folder / 'compare.nc'} and {page}")


def _names(runs: list[str]) -> list[str]:
    """The last folders of the paths, or as much of the paths as tells them apart."""
    paths = [Path(run).absolute() for run in runs]
    paths = [p.parent if p.suffix == ".nc" and p.name == "scores.nc" else p for p in paths]
    if len(set(paths)) < len(paths):
        raise InputError(f"compare: expected different runs, got one of them twice: {', '.join(runs)}")
    for count in range(1, max(len(p.parts) for p in paths) + 1):
        names = ["/".join(p.parts[-count:]) for p in paths]
        if len(set(names)) == len(names):
            return names
    return runs


def _summary(found: xr.Dataset) -> str:
    """For each field, the best at the last lead time and which ones are worse than it by more than chance."""
    lines = []
    score = str(np.atleast_1d(found.attrs["scores"])[0])
    for name in map(str, found["variable"].values):
        last = found[score].sel(variable=name).isel(lead_time=-1)
        best = str(found["model"].values[int(np.nanargmin(last.values))])
        worse = []
        for k in range(found.sizes.get("pair", 0)):
            sides = [str(found[end].values[k]) for end in ("first", "second")]
            if best in sides and float(found[f"{score}_p"].isel(pair=k).sel(variable=name)[-1]) < 1 - found.attrs["level"]:
                worse.append(sides[0] if best == sides[1] else sides[1])
        values = ", ".join(f"{m} {float(v):.3g}" for m, v in zip(found["model"].values, last.values, strict=True))
        told = f"better by more than chance than {', '.join(worse)}" if worse else "not told apart from any other"
        lines.append(f"{score} of {name} at the last lead time: {values}; best is {best}, {told}")
    return "\n".join(lines)
