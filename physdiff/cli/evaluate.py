"""``physdiff evaluate``."""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.base.checks import check_one_of
from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.cli.captions import caption_fields
from physdiff.cli.options import Select, check_at_least, checked_folder, cut_to, opened
from physdiff.cli.parse import command_line
from physdiff.cli.scoring import Clock, Found, Job, part_sections, scored, standard_scores
from physdiff.cli.splits import as_list, events_of, regions_of
from physdiff.data.convert import grid_of, spec_of
from physdiff.data.open import open_dataset, open_forecast
from physdiff.data.timeline import is_calendar
from physdiff.data.write import write_dataset
from physdiff.evaluation.atmosphere_check import atmosphere_check, check_lines
from physdiff.evaluation.climatology import climatology
from physdiff.evaluation.compare import against_baselines
from physdiff.evaluation.evaluate import evaluate as score
from physdiff.evaluation.event_fields import event_fields, return_fields
from physdiff.evaluation.linear_inverse import linear_inverse, zonal_regression
from physdiff.evaluation.persistence import damped_persistence, dressed_persistence, persistence
from physdiff.evaluation.seasonal_climatology import seasonal_climatology
from physdiff.pdes.pde import PDE
from physdiff.report.compare_page import difference_sections
from physdiff.report.event_page import return_section
from physdiff.report.forecast_page import forecast_sections, forecast_summary
from physdiff.report.html import Section, run_facts, write_report
from physdiff.report.law_section import law_section
from physdiff.report.physics_page import physics_report
from physdiff.solvers.stepper_for import stepper_for
from physdiff.uq.calibrate import band_members

log = logging.getLogger(__name__)

__all__ = ["Baselines", "Parts", "baseline_forecasts", "evaluate", "joined", "score_tables", "show_table"]


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


@dataclass(frozen=True)
class Parts:
    """What is scored, and besides the whole domain.

    Args:
        fields: Fields that are scored; all of the forecast but captions if not given.
        regions: Boxes with names, as in 'north: latitude 54 to 58, longitude -10 to 2'.
        seasons: Whether to score DJF, MAM, JJA, SON by the time that is forecast.
        events: Thresholds for reliability diagrams, as in 't2m > 283.15'.
        level: Confidence level of the intervals (blocks of starts; five starts or more).
        returns: Period, in forecasts, of the levels that the largest value of a member's forecast passes once in so many, written to ``returns.nc``.
    """

    fields: str | list[str] | None = None
    regions: str | list[str] | None = None
    seasons: bool = False
    events: str | list[str] | None = None
    level: float = 0.95
    returns: float | None = None


def evaluate(
    out: str,
    *,
    forecast: str | None = None,
    truth: str | list[str] | None = None,
    physics: str | list[str] | None = None,
    pde: PDE | None = None,
    parts: Parts = Parts(),  # noqa: B008 - a frozen value
    baselines: Baselines = Baselines(),  # noqa: B008
) -> None:
    """Score a forecast against the truth beside baselines from the same starts; write ``scores.nc`` and ``index.html``.

    With physics instead: check what holds in any analysis of the atmosphere on files of it; write ``physics.nc`` and ``index.html``.

    Args:
        out: Folder to write to.
        forecast: netCDF with dims (init_time, member, lead_time, space), as ``physdiff forecast`` writes it, or bands of ``physdiff calibrate``.
        truth: Data that hold what came true.
        physics: Files with winds, temperature, geopotential or humidity on pressure levels, instead of forecast and truth.
        pde: A law whose residuals are looked at by lead time, as in ``--pde Burgers --pde.viscosity 0.01``.
        parts: Fields, regions, seasons, events.
        baselines: What it is compared with.
    """
    folder = checked_folder(out)
    if physics is not None:
        if forecast is not None or truth is not None:
            raise InputError("evaluate: expected either physics or forecast and truth, got both; run it twice")
        return _physics(physics, folder)
    if forecast is None or truth is None:
        raise InputError("evaluate: expected --forecast and --truth, or --physics with files of an analysis; got neither")
    _check_numbers(parts, baselines)
    clock = Clock()
    job = _opened(forecast, truth, parts, baselines=baselines)
    clock.lap("reading")
    forecasts = {"forecast": job.forecast}
    if job.band is None:
        members = baselines.members or job.forecast.sizes.get("member", 1)
        forecasts.update(baseline_forecasts(job.truth, job.forecast, train=job.train, members=members, rng=Rng(baselines.seed)))
        clock.lap("baselines")
    found = scored(forecasts, job, level=parts.level)
    clock.lap("scores")
    whole = _whole(found, job)
    tests = against_baselines(whole, level=parts.level, rng=Rng(baselines.seed).child("pairs"))
    clock.lap("tests")
    sections = [*part_sections(found, job, tests=tests), *_said_of_events(job, parts.returns, folder, seed=baselines.seed)]
    if pde is not None:
        operators = stepper_for(pde, grid_of(job.truth[job.names])).operators  # type: ignore[attr-defined]  # every solver of a law has them
        sections.append(law_section(job.forecast, job.truth, pde, operators=operators))
        clock.lap("residuals")
    _warn(found, job, truth, baselines=baselines)
    write_dataset(whole, folder / "scores.nc", command=command_line())
    sections = [*([] if tests is None else difference_sections(tests)), *sections]
    told = job.facts({"Forecast": forecast, "Truth": truth, "Baselines learn from": baselines.train}, baselines.seed)
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"), extra=told)
    sections = [*forecast_sections(job.forecast, job.truth, tables=found.tables, tests=tests), *sections]
    summary = forecast_summary(job.forecast, found.tables)
    page = write_report(folder, "Ensemble forecast", sections, facts=facts, timings=clock.laps, summary=summary)
    kinds = ("crps",) if "crps" in found.tables["forecast"] else ("interval_score", "band_coverage")
    print("\n".join(show_table(found.tables, kind, name) for name in job.names for kind in kinds))
    print(f"wrote {folder / 'scores.nc'} and {page}")


def _warn_of_silence(tables: Mapping[str, xr.Dataset]) -> None:
    """Say which lead times of the forecast have no score, for want of truth."""
    table = tables["forecast"]
    score = table[next(n for n, v in table.data_vars.items() if set(v.dims) == {"variable", "lead_time"})]
    silent = score.isnull().all("variable").values
    if silent.any():
        first = int(silent.argmax()) + 1
        log.warning("%d of %d lead times have no score, the first is number %d: the truth ends before them", silent.sum(), silent.size, first)


def _check_numbers(parts: Parts, baselines: Baselines) -> None:
    check_at_least(baselines.members, 1, "baselines.members")
    check_at_least(baselines.seed, 0, "baselines.seed")
    if not 0 < parts.level < 1:
        raise InputError(f"parts.level: expected a confidence level between 0 and 1, as in 0.95, got {parts.level:g}")


def _opened(forecast: str, truth: str | list[str], parts: Parts, *, baselines: Baselines) -> Job:
    fc = _with_variance(open_forecast(forecast), forecast)
    band = None
    if any(str(n).endswith("_lower") for n in fc.data_vars):
        band = float(fc.attrs.get("level", 0.9))
        fc = band_members(fc)
    every = [str(n) for n, v in fc.data_vars.items() if "lead_time" in v.dims]
    told = caption_fields(every)
    names = as_list(parts.fields) or [n for n in every if n not in told] or every
    for name in names:
        check_one_of(name, every, "parts.fields")
    fc = fc.drop_vars([n for n in every if n not in names])
    target = cut_to(open_dataset(truth, variables=names), grid_of(fc[names]))
    if all("sample" in ds.dims and "sample" in ds.coords for ds in (fc, target)) and np.isin(fc["sample"], target["sample"]).all():
        target = target.sel(sample=fc["sample"].values)  # baselines start from the samples that are forecast, not from all
    grid = grid_of(target[names])
    train = None if baselines.train is None else cut_to(opened(baselines.train, Select(names, baselines.start, baselines.stop)), grid)
    if train is not None:
        grid.check_same(grid_of(train[names]), "baselines.train")
    events = events_of(parts.events, {n: str(fc[n].attrs.get("units", "1")) for n in names})
    if events and fc.sizes.get("member", 1) < 2 or events and band is not None:
        raise InputError("events: expected an ensemble of two members or more, got a single forecast or bands; leave the events out")
    regions = regions_of(parts.regions, target, grid.dims)
    return Job(fc, target, train=train, regions=regions, events=tuple(events), seasons=parts.seasons, band=band)


def _said_of_events(job: Job, period: float | None, folder: Path, *, seed: int) -> list[Section]:
    """Write probabilities of events and return levels with their Monte Carlo error; sections of what they say."""
    for k, event in enumerate(job.events):
        made = event_fields(job.forecast, event.variable, event.threshold, below=event.below)
        write_dataset(made, folder / ("events.nc" if k == 0 else f"events_{k + 1}.nc"), command=command_line())
    if period is None:
        return []
    if job.band is not None:
        raise InputError("parts.returns: expected an ensemble, got bands; leave it out")
    sections = []
    for k, name in enumerate(job.names):
        made = return_fields(job.forecast, name, period, rng=Rng(seed).child("returns", name))
        write_dataset(made, folder / ("returns.nc" if k == 0 else f"returns_{name}.nc"), command=command_line())
        sections.append(return_section(made, name, unit=job.unit(name)))
    return sections


def _with_variance(fc: xr.Dataset, path: str) -> xr.Dataset:
    """With what ``forecast --watch`` keeps of each member, which is no field."""
    name = "trajectory_variance"
    if not os.path.isfile(path):
        return fc
    try:
        with xr.open_dataset(path, decode_times=False) as file:
            if name not in file or any(fc.sizes.get(d) != n for d, n in file[name].sizes.items()):
                return fc
            return fc.assign({name: (file[name].dims, file[name].values, file[name].attrs)})
    except (ValueError, OSError):  # a file that xarray alone does not read
        return fc


def _warn(found: Found, job: Job, truth: str | list[str], *, baselines: Baselines) -> None:
    """Of lead times without a score, and of baselines that know too much."""
    _warn_of_silence(found.tables)
    _warn_of_leaks(job, truth, baselines)


def _warn_of_leaks(job: Job, truth: str | list[str], baselines: Baselines) -> None:
    if job.train is None:
        return
    if "sample" not in job.forecast.dims and job.train["time"].values.max() > job.forecast["init_time"].values.min():
        log.warning("the baselines learn from times that are forecast: set baselines.stop to a time before the first start")
    if "sample" in job.forecast.dims and baselines.train in (as_list(truth) or ()):
        log.warning("the baselines learn from the samples that are forecast: generate others for baselines.train, with another seed")


def _whole(found: Found, job: Job) -> xr.Dataset:
    """All scores as one data set: means with intervals, by region and season, and by start with the marks of the truth, for `compare`."""
    whole = joined(found.tables)
    for by, tables in found.parts.items():
        whole = whole.assign({f"{n}_by_{by}": v for n, v in joined(tables).drop_vars("cases").data_vars.items()})
    starts = joined({name: table.drop_vars(["truth_mean", "truth_square", "cases"]) for name, table in found.starts.items()})
    marks = next(iter(found.starts.values()))[["truth_mean", "truth_square"]].drop_vars("cases")
    whole = whole.assign({f"{n}_by_start": v for n, v in {**starts.data_vars, **marks.data_vars}.items()})
    if found.part_starts:
        kept = {name: table.drop_vars("cases") for name, table in found.part_starts.items()}
        regions = joined({name: table.drop_vars(["truth_mean", "truth_square"]) for name, table in kept.items()})
        whole = whole.assign({f"{n}_by_region_start": v for n, v in regions.data_vars.items()})
        whole["truth_mean_by_region_start"] = next(iter(kept.values()))["truth_mean"]
    if found.event_starts:
        starts = joined({name: v.to_dataset(name="brier") for name, v in found.event_starts.items()}).reindex(forecast=whole["forecast"])
        means = joined(found.event_scores).reindex(forecast=whole["forecast"])
        whole = whole.assign({"brier_by_event_start": starts["brier"], **{f"{n}_by_event": v for n, v in means.data_vars.items()}})
    whole["unit"] = ("variable", [str(job.forecast[str(n)].attrs.get("units", "1")) for n in whole["variable"].values])
    return whole


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
    """Persistence, and, given training data, damped and dressed persistence, climatology and linear models, at the forecast's starts and leads."""
    step, leads = spec_of(ds[[n for n in fc.data_vars if n in ds]], gaps=True, mask=True).dt, fc["lead_time"].values
    leads = leads / np.timedelta64(1, "s") if leads.dtype.kind == "m" else leads
    lead = max(1, round(float(leads.max() / step)))
    found = {"persistence": persistence(ds, fc["init_time"].values, lead)}
    if train is not None:
        found |= _trained_baselines(train, ds, fc, lead=lead, members=members, rng=rng)
    if len(leads) == lead and np.allclose(leads, step * np.arange(1, lead + 1)):
        return found
    places = np.where(np.isclose(leads / step, np.round(leads / step)), np.round(leads / step).astype(int), 0)  # a baseline knows whole steps
    log.info("baselines are scored at %d of the %d lead times, those at whole steps of the truth", (places > 0).sum(), len(places))
    return {name: _at_leads(made, places, fc["lead_time"]) for name, made in found.items()}


def _at_leads(made: xr.Dataset, places: np.ndarray, leads: xr.DataArray) -> xr.Dataset:
    """A forecast of steps 1, 2, ... at the steps `places`, nothing at places that it has not (step 0: there is nothing to forecast)."""
    chosen = made.isel(lead_time=np.maximum(places - 1, 0)).assign_coords(lead_time=leads)
    there = xr.DataArray(places > 0, dims="lead_time", coords={"lead_time": leads})
    return chosen.map(lambda v: v.where(there) if "lead_time" in v.dims else v, keep_attrs=True)


def _trained_baselines(train: xr.Dataset, ds: xr.Dataset, fc: xr.Dataset, *, lead: int, members: int, rng: Rng) -> dict[str, xr.Dataset]:
    starts, found = fc["init_time"].values, {}
    found["damped persistence"] = damped_persistence(train, ds, starts, lead=lead)
    found["dressed persistence"] = dressed_persistence(train, ds, starts, lead=lead, members=members, rng=rng.child("dressed"))
    found["climatology"] = climatology(train, ds, starts, lead=lead)
    if is_calendar(train["time"].values) and np.ptp(train["time"].values) > np.timedelta64(365, "D"):  # the season can be told from the years
        found["seasonal climatology"] = seasonal_climatology(train, ds, starts, lead=lead, members=members)
    if "sample" not in ds.dims:
        try:
            found["linear inverse model"] = linear_inverse(train, ds, starts, lead=lead, members=members, rng=rng.child("linear"))
        except DataError as error:  # it needs two known frames and some twenty windows; the others are worth a table without it
            log.warning("no linear inverse model: %s", error)
        if grid_of(ds[[n for n in fc.data_vars if n in ds]]).periodic[-1]:  # most grids are no whole circles
            try:
                found["zonal regression"] = zonal_regression(train, ds, starts, lead=lead, members=members, rng=rng.child("zonal"))
            except DataError as error:
                log.info("left out, %s", error)
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
