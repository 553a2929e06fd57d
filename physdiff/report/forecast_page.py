"""The page of a forecast: scores beside baselines, calibration, maps, spectra, one place through time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.data.cases import Cases, matched
from physdiff.evaluation.evaluate import evaluate
from physdiff.plots.calibration import coverage_curve, coverage_plot, rank_histogram_plot, spread_skill_plot
from physdiff.plots.spectra import spectral_ratio_plot, spectrum_plot
from physdiff.plots.style import even_choice, new_axes, show_number, step_label
from physdiff.plots.trajectories import scores_plot, training_curve
from physdiff.report.forecast_maps import band_picture, map_section
from physdiff.report.html import Picture, Section, to_picture, write_report
from physdiff.report.score_tables import holm_of, lead_table, model_table, named_score, plain_scores, score_of
from physdiff.scores.rank_histogram import rank_histogram

__all__ = ["forecast_report", "forecast_sections", "forecast_summary", "training_section"]

_SPECTRUM_CASES = 8
_FRAMES, _FEWEST = 24, 6  # of the sliders of a page together, and of each
_RATIOS = {"spread_skill": (1.0, (0.8, 1.25)), "fine_scale_power": (1.0, (0.5, 2.0))}
_ERRORS = ("ensemble_rmse", "rmse")
_DRAWN = ("crps", *_ERRORS, "spread_skill", "fine_scale_power", "interval_score", "band_coverage", "band_width")


def forecast_report(
    out_dir: str | os.PathLike[str],
    forecast: xr.Dataset,
    truth: xr.Dataset,
    *,
    tables: Mapping[str, xr.Dataset],
    title: str = "Ensemble forecast",
    facts: Mapping[str, str] | None = None,
    timings: Mapping[str, float] | None = None,
    extra: Sequence[Section] = (),
) -> Path:
    """Write ``index.html`` about a forecast.

    Args:
        out_dir: Folder of the report.
        forecast: (sample?, init_time, member, lead_time, *space), in house conventions.
        truth: (sample?, time, *space).
        tables: Name -> what `evaluate` returned, dims (variable, lead_time); the model first, then the baselines.
        title: Heading.
        facts: See `run_facts`.
        timings: Seconds of each stage.
        extra: Sections to put after those of the forecast.

    Returns:
        The file.

    Raises:
        InputError: If there is no table.
    """
    sections = [*forecast_sections(forecast, truth, tables=tables), *extra]
    return write_report(out_dir, title, sections, facts=facts, timings=timings, summary=forecast_summary(forecast, tables))


def forecast_sections(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    *,
    tables: Mapping[str, xr.Dataset],
    variables: Sequence[str] | None = None,
    tests: xr.Dataset | None = None,
) -> list[Section]:
    """The sections of `forecast_report`, to be joined with others on one page.

    Args:
        forecast: As there.
        truth: As there.
        tables: As there.
        variables: Which variables are drawn; the first four if None. Tables hold all.
        tests: What `against_baselines` found; marks baselines that differ from the forecast by more than chance.

    Raises:
        InputError: If there is no table, or an unknown variable.
    """
    if not tables:
        raise InputError("forecast report: expected the scores of at least one forecast, got none; call evaluate")
    cases = matched(forecast, truth)
    drawn = cases.names[:4] if variables is None else tuple(variables)
    unknown = [v for v in drawn if v not in cases.names]
    if unknown:
        raise InputError(f"forecast report: expected variables among {', '.join(cases.names)}, got {', '.join(unknown)}")
    sections = []
    for name in cases.names:
        sections.append(_score_section(name, tables, cases, tests))
        band = band_picture(name, cases) if name in drawn and _bands(tables) else None
        sections += [Section("One place", figures=(band,), level=3)] if band is not None else []
        if name in drawn and not _bands(tables):
            several = f": {name}" if len(cases.names) > 1 else ""
            if cases.members > 1:
                maps = map_section(name, cases, heading=f"Maps{several}", most=max(_FEWEST, _FRAMES // len(drawn)))
                sections += [_calibration_section(name, tables, cases, several), maps]
            spectra = _spectrum_section(name, cases, several)
            sections += [spectra] if spectra is not None else []
    return sections


def training_section(steps: np.ndarray, loss: np.ndarray, *, validation: tuple[np.ndarray, np.ndarray] | None = None) -> Section:
    """A section with the curve of a training; arguments as in `training_curve`."""
    axes = training_curve(steps, loss, validation=validation)
    end = show_number(float(np.nanmedian(np.asarray(loss)[-max(1, len(loss) // 20) :])))
    alt = f"Line plot: training loss over {len(steps)} recorded steps, ending near {end}."
    caption = "Loss of the diffusion prior: recorded values (faint) and their running mean."
    return Section("Training", figures=(to_picture(axes, caption=caption, alt=alt, vector=True),))


def forecast_summary(forecast: xr.Dataset, tables: Mapping[str, xr.Dataset]) -> str:
    """The sentence under the heading: members, starts, lead times, baselines; arguments as in `forecast_report`."""
    sizes = forecast.sizes
    starts = sizes.get("init_time", 1) * sizes.get("sample", 1)
    against = list(tables)[1:]
    what = "Bands" if _bands(tables) else f"{sizes.get('member', 1)} members"
    text = f"{what} from {starts} start{'s' if starts > 1 else ''}, {sizes.get('lead_time', 1)} lead times"
    return f"{text}; compared with {', '.join(against)}." if against else f"{text}."


def _bands(tables: Mapping[str, xr.Dataset]) -> bool:
    """Whether the forecast is bands, whose two bounds are no members."""
    return "band_coverage" in next(iter(tables.values()))


def _unit(cases: Cases, name: str) -> str:
    return str(cases.forecast[name].attrs.get("units", "1"))


def _score_section(name: str, tables: Mapping[str, xr.Dataset], cases: Cases, tests: xr.Dataset | None) -> Section:
    scores, unit, model = plain_scores(tables), _unit(cases, name), next(iter(tables))
    shown = [s for s in _DRAWN if s in scores and score_of(tables, s, name)][:4]
    bounded = [v for t in tables.values() for n, v in t.data_vars.items() if str(n).endswith("_bounds")]
    figures = []
    if shown:
        axes = new_axes(2, 2) if len(shown) == 4 else new_axes(1, len(shown), size=(4.6 if len(shown) < 3 else 3.7, 3.1))
        for score, panel in zip(shown, axes.reshape(-1), strict=True):
            reference, band = _RATIOS.get(score, (None, None))
            bounds = dict(list(score_of(tables, f"{score}_bounds", name).items())[:1])  # of the forecast alone: more would hide each other
            scores_plot(score_of(tables, score, name), panel, label=named_score(score, unit), reference=reference, band=band, bounds=bounds)
        words = ", ".join(named_score(s, unit) for s in shown)
        last = score_of(tables, shown[0], name)
        ends = "; ".join(f"{n} {show_number(float(v.values[-1]))}" for n, v in last.items())
        alt = f"Line plots of {words} of {name} against lead time. {named_score(shown[0], unit)} at the last lead time: {ends}."
        caption = f"{words} of {name} against lead time; {model} is the thick line{', its interval shaded' if bounded else ''}."
        caption += " Grey: the range to aim at." if any(s in _RATIOS for s in shown) else ""
        figures.append(to_picture(axes, caption=caption, alt=alt, vector=True))
    compared = [s for s in scores if len(score_of(tables, s, name)) > 1]
    cells = [lead_table(tables, score, variable=name, unit=unit, tests=holm_of(tests, score, name)) for score in compared]
    for other, table in tables.items():
        alone = [s for s in scores if s not in compared and other in score_of(tables, s, name)]
        cells += [model_table(other, table, alone, variable=name, unit=unit)] if alone else []
    words = "Scores are weighted by area" + ("; the best entry is bold where small is good." if len(tables) > 1 else ".")
    if bounded:
        words += f" Small under a number: {bounded[0].attrs.get('long_name', 'its interval').partition(' of ')[0]}, blocks of starts redrawn."
    text = (words,)
    return Section(f"Scores: {name}", text, tuple(figures), tuple(cells))


def _calibration_section(name: str, tables: Mapping[str, xr.Dataset], cases: Cases, several: str) -> Section:
    model, table = next(iter(tables.items()))
    if "rank_histogram" not in table:
        table = evaluate(cases.forecast[[name]], cases.truth, {"rank_histogram": rank_histogram})
    ranks = table["rank_histogram"].sel(variable=name)
    frequency = np.asarray(ranks.mean([d for d in ranks.dims if not str(d).endswith("_bin")]).values)
    figures: list[Picture] = []
    axes = new_axes(1, 2, size=(4.3, 3.1))
    rank_histogram_plot(frequency, axes[0, 0])
    coverage_plot({model: frequency}, axes[0, 1])
    nominal, observed = coverage_curve(frequency)
    near = int(np.abs(nominal[:-1] - 0.9).argmin())  # the last interval is the whole line
    said = f"the central {100 * nominal[near]:.0f} % interval holds the truth in {100 * observed[near]:.0f} % of cells"
    alt = f"Left: bar chart of the rank of the true {name} among {frequency.size - 1} members. Right: observed against nominal coverage; {said}."
    caption = f"Ranks of the truth (flat is calibrated, a U shape over-confident) and coverage of central intervals, all lead times: {said}."
    found = {key: score_of(tables, key, name).get(model) for key in ("spread", *_ERRORS)}
    error = next((found[key] for key in _ERRORS if found[key] is not None), None)
    spread = found["spread"]
    if spread is not None and error is not None:
        error = error.assign_attrs(units=_unit(cases, name))
        panel = spread_skill_plot(spread, error, members=cases.members)
        text = "Spread of the ensemble and error of its mean; in a calibrated ensemble they are equal."
        last = f"{show_number(float(spread.values[-1]))} and {show_number(float(error.values[-1]))}"
        alt_line = f"Line plot of spread and error of {name} against lead time, at the last {last}."
        figures.append(to_picture(panel, caption=text, alt=alt_line, vector=True))
    figures.append(to_picture(axes, caption=caption, alt=alt, vector=True))
    return Section(f"Calibration{several}", figures=tuple(figures), level=3)


def _spectrum_section(name: str, cases: Cases, several: str) -> Section | None:
    """Spectra at the last lead time that every start has, averaged over some starts; None for fields with holes or non-uniform axes."""
    where = np.atleast_2d(cases.where)
    usable = np.flatnonzero((where >= 0).any(1))
    starts = [int(usable[i]) for i in even_choice(usable.size, _SPECTRUM_CASES)]
    lead = int(np.flatnonzero((where[starts] >= 0).all(0)).max(initial=-1))
    if lead < 0:
        return None
    place = {d: (starts if d == "init_time" else [cases.sizes[d] // 2]) for d in cases.outer}
    members = cases.forecast[name].isel({**place, cases.inner: lead}).compute()
    key = {"time": where[starts, lead]} | ({"sample": [int(cases.rows[cases.sizes["sample"] // 2])]} if cases.rows.size else {})
    truth = cases.truth[name].isel(key).compute()
    axes = new_axes(1, 2)
    periodic = cases.grid.periodic
    try:
        spectrum_plot({"forecast": members}, truth, axes[0, 0], periodic=periodic)
        spectral_ratio_plot({"forecast": members}, truth, axes[0, 1], periodic=periodic)
    except InputError:
        return None
    at = step_label(cases.forecast[cases.inner], lead)
    ratio = axes[0, 1].lines[0].get_ydata()
    fine = show_number(float(np.exp(np.mean(np.log(np.asarray(ratio)[len(ratio) // 2 :])))))
    alt = f"Left: power spectra of {name} at {at}, truth and forecast. Right: their ratio, {fine} on average over the finer half of the wavenumbers."
    over = f"mean over {len(starts)} start{'s' if len(starts) > 1 else ''} and over members (band: range of the members)"
    caption = f"Power spectra of {name} at {at}, {over}, and their ratio (grey: 0.5 to 2)."
    return Section(f"Spectra{several}", figures=(to_picture(axes, caption=caption, alt=alt, vector=True),), level=3)
