"""``physdiff evaluate``."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.cli.options import Select, as_list, check_at_least, checked_folder, opened
from physdiff.cli.parse import command_line
from physdiff.data.convert import grid_of
from physdiff.data.open import open_dataset, open_forecast
from physdiff.data.write import write_dataset
from physdiff.evaluation.atmosphere_check import atmosphere_check, check_lines
from physdiff.evaluation.climatology import climatology
from physdiff.evaluation.evaluate import evaluate as score
from physdiff.evaluation.linear_inverse import linear_inverse, zonal_regression
from physdiff.evaluation.persistence import damped_persistence, dressed_persistence, persistence
from physdiff.report.forecast_page import forecast_report
from physdiff.report.html import run_facts
from physdiff.report.physics_page import physics_report
from physdiff.scores.coverage import coverage, members_needed
from physdiff.scores.crps import crps
from physdiff.scores.pointwise import ensemble_rmse, mae
from physdiff.scores.reduce import Score
from physdiff.scores.spread_skill import spread_skill

log = logging.getLogger(__name__)

__all__ = ["Baselines", "baseline_forecasts", "evaluate", "joined", "score_tables", "show_table", "standard_scores"]


@dataclass(frozen=True)
class Baselines:
    """What the forecast is compared with.

    Args:
        train: Data that the baselines may learn from; persistence only if not given.
        start: First time of it used.
        stop: Last time of it used; must lie before the first forecast.
        members: Members of the baselines' ensembles; as many as the forecast has if not given.
        seed: Seed of their draws.
    """

    train: str | None = None
    start: str | None = None
    stop: str | None = None
    members: int | None = None
    seed: int = 0


def evaluate(
    out: str,
    *,
    forecast: str | None = None,
    truth: str | list[str] | None = None,
    physics: str | list[str] | None = None,
    baselines: Baselines = Baselines(),  # noqa: B008 - a frozen value
) -> None:
    """Score a forecast against the truth beside baselines from the same starts; write ``scores.nc`` and ``index.html``.

    With physics instead: check what holds in any analysis of the atmosphere on files of it; write ``physics.nc`` and ``index.html``.

    Args:
        out: Folder to write to.
        forecast: netCDF with dims (init_time, member, lead_time, space), as ``physdiff forecast`` writes it.
        truth: Data that hold what came true.
        physics: Files with winds, temperature, geopotential or humidity on pressure levels, instead of forecast and truth.
        baselines: What it is compared with.
    """
    folder = checked_folder(out)
    if physics is not None:
        if forecast is not None or truth is not None:
            raise InputError("evaluate: expected either physics or forecast and truth, got both; run it twice")
        return _physics(physics, folder)
    if forecast is None or truth is None:
        raise InputError("evaluate: expected --forecast and --truth, or --physics with files of an analysis; got neither")
    check_at_least(baselines.members, 1, "baselines.members")
    check_at_least(baselines.seed, 0, "baselines.seed")
    fc = open_forecast(forecast)
    names = [str(n) for n, v in fc.data_vars.items() if "lead_time" in v.dims]
    target = open_dataset(truth, variables=names)
    train = None if baselines.train is None else opened(baselines.train, Select(names, baselines.start, baselines.stop))
    if train is not None:
        grid_of(target[names]).check_same(grid_of(train[names]), "baselines.train")
    members = baselines.members or fc.sizes.get("member", 1)
    forecasts = {"forecast": fc, **baseline_forecasts(target, fc, train=train, members=members, rng=Rng(baselines.seed))}
    tables = score_tables(forecasts, target)
    if train is not None and "sample" not in fc.dims and train["time"].values.max() > fc["init_time"].values.min():
        log.warning("the baselines learn from times that are forecast: set baselines.stop to a time before the first start")
    if train is not None and "sample" in fc.dims and baselines.train in (as_list(truth) or ()):
        log.warning("the baselines learn from the samples that are forecast: generate others for baselines.train, with another seed")
    write_dataset(joined(tables), folder / "scores.nc", command=command_line())
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    page = forecast_report(folder, fc, target, tables=tables, facts=facts)
    for name in names:
        print(show_table(tables, "crps", name))
    print(f"wrote {folder / 'scores.nc'} and {page}")


def _physics(files: str | list[str], folder: Path) -> None:
    check = atmosphere_check(open_dataset(files))
    write_dataset(check, folder / "physics.nc", command=command_line())
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    page = physics_report(folder, check, facts=facts)
    print(check_lines(check))
    print(f"wrote {folder / 'physics.nc'} and {page}", flush=True)
    if not all(v.attrs["holds"] for v in check.data_vars.values()):
        raise DataError(str(check.attrs["verdict"]))


def baseline_forecasts(
    ds: xr.Dataset, fc: xr.Dataset, *, train: xr.Dataset | None, members: int, rng: Rng
) -> dict[str, xr.Dataset]:
    """Persistence, and, given training data, damped and dressed persistence, climatology and linear models, from the forecast's own starts."""
    lead, starts = fc.sizes["lead_time"], fc["init_time"].values
    found = {"persistence": persistence(ds, starts, lead)}
    if train is None:
        return found
    found["damped persistence"] = damped_persistence(train, ds, starts, lead=lead)
    found["dressed persistence"] = dressed_persistence(train, ds, starts, lead=lead, members=members, rng=rng.child("dressed"))
    found["climatology"] = climatology(train, ds, starts, lead=lead)
    if "sample" not in ds.dims:
        try:
            found["linear inverse model"] = linear_inverse(train, ds, starts, lead=lead, members=members, rng=rng.child("linear"))
        except DataError as error:  # it needs two known frames and some twenty windows; the others are worth a table without it
            log.warning("no linear inverse model: %s", error)
        try:
            found["zonal regression"] = zonal_regression(train, ds, starts, lead=lead, members=members, rng=rng.child("zonal"))
        except DataError as error:  # most grids are no whole circles
            log.info("no zonal regression: %s", error)
    return found


def standard_scores(members: int) -> dict[str, Score]:
    """The scores that suit an ensemble of this size; the CRPS of one member is its absolute error."""
    found: dict[str, Score] = {"crps": crps if members > 1 else mae, "ensemble_rmse": ensemble_rmse}
    if members > 1:
        found["spread_skill"] = spread_skill
    if members >= members_needed(0.9):
        found["coverage_90"] = partial(coverage, level=0.9)
    return found


def score_tables(forecasts: Mapping[str, xr.Dataset], truth: xr.Dataset) -> dict[str, xr.Dataset]:
    """Scores by lead time of each forecast."""
    return {name: score(fc, truth, standard_scores(fc.sizes.get("member", 1))) for name, fc in forecasts.items()}


def joined(tables: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """All tables as one data set with a dimension ``forecast``."""
    return xr.concat(list(tables.values()), dim=xr.Variable("forecast", np.array(list(tables))), join="outer", coords="minimal", compat="override")


def show_table(tables: Mapping[str, xr.Dataset], name: str, variable: str, *, most: int = 8) -> str:
    """One score at some lead times as text."""
    first = next(iter(tables.values()))
    count = first.sizes["lead_time"]
    chosen = sorted({round(i) for i in np.geomspace(1, count, min(most, count))})
    leads = first["lead_time"].values
    calendar = leads.dtype.kind == "m"
    heads = [f"{leads[i - 1] / np.timedelta64(1, 'h'):g} h" if calendar else f"{float(leads[i - 1]):g}" for i in chosen]
    lines = [f"{name} of {variable}".ljust(28) + "".join(h.rjust(9) for h in heads)]
    for label, table in tables.items():
        if name in table:
            values = table[name].sel(variable=variable).values
            lines.append(label.ljust(28) + "".join(f"{values[i - 1]:9.3g}" for i in chosen))
    return "\n".join(lines)
