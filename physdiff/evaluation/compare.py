"""Several evaluated forecasts side by side: which is best at which lead time, and which differences are more than chance.

Every pair of models is tested on the same starts (`paired_difference`: blocks of starts redrawn for both alike). Of one score of one variable all
pairs and all lead times (and all regions, seasons or events of a table by these) are one family of tests, whose p-values are Holm's: with probability
`level` or more none of the differences that are called significant is chance, whichever model one then looks at as the best. The test of an RMSE is
that of the squared errors.
Reference: Holm (1979), "A simple sequentially rejective multiple test procedure".
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.timeline import as_times, show_time
from physdiff.evaluation.part_cases import PARTS, part_cases
from physdiff.evaluation.significance import combined_interval, paired_difference, score_interval
from physdiff.scores.spread_skill import spread_skill
from physdiff.scores.uniformity import adjusted_p_values

__all__ = ["against_baselines", "compare", "read_scores"]

# scores of which less is better, and what is kept of them by start
_TESTED = {"crps": "crps", "ensemble_rmse": "ensemble_rmse_part0", "interval_score": "interval_score"}
_SHOWN = ("spread_skill", "coverage_90", "band_coverage", "band_width")
_EVENT = {"brier": "brier"}
_FEWEST = 5
_DRAWS = 5000


def read_scores(path: str | Path) -> xr.Dataset:
    """The scores that ``physdiff evaluate`` wrote to a folder (or the file itself).

    Raises:
        DataError: If there is no such folder or file, or it holds something else.
    """
    given = Path(path)
    file = given / "scores.nc" if given.is_dir() else given
    if not file.is_file():
        there = f"a folder without scores.nc in {given}" if given.is_dir() else f"nothing at {given}"
        raise DataError(f"compare: expected a folder that physdiff evaluate wrote, got {there}; check the path, or evaluate first")
    try:
        with xr.open_dataset(file, decode_timedelta=True) as opened:
            found = opened.load()
    except (OSError, ValueError) as error:
        raise DataError(f"compare: expected scores in {file}, got something else or a damaged file ({error}); evaluate again") from error
    if "forecast" not in found.dims or "truth_square_by_start" not in found or "lead_time" not in found.dims:
        got = ", ".join(map(str, found.data_vars)) or "none"
        raise DataError(f"compare: expected scores by start in {file}, got {got}; run physdiff evaluate again")
    return found


def compare(
    runs: Mapping[str, xr.Dataset], *, baselines: Sequence[str] = (), level: float = 0.95, rng: Rng = Rng(0)  # noqa: B008 - a value
) -> xr.Dataset:
    """Scores of several forecasts of the same starts, and which differ by more than chance.

    Args:
        runs: Name -> what `read_scores` gave; the entry ``forecast`` of each is compared.
        baselines: Entries of the first run that are compared too, as in ``("persistence",)``.
        level: Confidence level of intervals, and one minus the family-wise error of the tests.
        rng: Randomness of the redrawings.

    Returns:
        On (model, variable, lead_time): ``<score>`` and ``<score>_bounds``; on (pair, variable, lead_time): ``<score>_difference`` (the `first`
        of the pair minus its `second`, bound: mean, lower, upper) and ``<score>_p`` (Holm's, for all pairs and lead times of a variable). Differences
        of the RMSE are those of squared errors. Without five starts there are means alone. Of regions, seasons and events that all runs were
        scored by, the same as ``<score>_by_region``, ``<score>_bounds_by_region``, ``<score>_difference_by_region``, ``<score>_p_by_region`` (of
        events the score is ``brier``, of those with members); all parts of a table are one family.

    Raises:
        InputError: If there is one run only, or the level makes no sense.
        DataError: If the runs are not of the same fields, units, starts, lead times and truth, or share no score; it says what differs.
    """
    if len(runs) < 2:
        raise InputError(f"compare: expected two evaluated forecasts or more, got {', '.join(runs) or 'none'}; the page of evaluate tells about one")
    if not 0 < level < 1:
        raise InputError(f"compare level: expected a number between 0 and 1, as in 0.95, got {level:g}")
    first, *others = runs
    for other in others:
        _check_same((first, runs[first]), (other, runs[other]))
    entries = {name: run.sel(forecast="forecast", drop=True) for name, run in runs.items()}
    for baseline in baselines:
        if baseline not in runs[first]["forecast"].values:
            raise InputError(f"compare: expected baselines among {', '.join(map(str, runs[first]['forecast'].values[1:]))}, got {baseline!r}")
        entries[baseline] = runs[first].sel(forecast=baseline, drop=True)
    with warnings.catch_warnings():
        # a lead time that no start has, or no score at: its means are NaN, which is what is to be said
        warnings.simplefilter("ignore", RuntimeWarning)
        return _compared(entries, level, rng)


def against_baselines(run: xr.Dataset, *, level: float = 0.95, rng: Rng = Rng(0)) -> xr.Dataset | None:  # noqa: B008 - a value
    """The forecast of one run against each of its baselines, tested as `compare` tests pairs; the family is those pairs and all lead times.

    Args:
        run: What ``physdiff evaluate`` writes, see `read_scores`.
        level: One minus the family-wise error of the tests.
        rng: Randomness of the redrawings.

    Returns:
        ``<score>_difference`` and ``<score>_p`` on (pair, variable, lead_time) as `compare` gives them, with regions, seasons, levels (of a
        ``quantity``) and events likewise, or None without baselines, a shared
        score or five starts.
    """
    entries = {str(n): run.sel(forecast=n, drop=True) for n in run["forecast"].values}
    shared = [s for s in _TESTED if all(_has(e, s) for e in entries.values())]
    if len(entries) < 2 or not shared:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # as in compare
        cases, over = _cases(entries, shared)
        if next(iter(cases.values())).sizes.get(over, 0) < _FEWEST:
            return None
        first, *others = cases
        found = _pairs({"": cases}, over, level=level, rng=rng, pairs=[(first, other) for other in others])
        for by in PARTS:
            parts, over_parts = _parts(entries, shared, by)
            rivals = [(first, other) for other in others if parts and other in next(iter(parts.values()))]
            if rivals and first in next(iter(parts.values())):
                found.update(_on_pairs(_pairs(parts, over_parts, level=level, rng=rng, pairs=rivals, by=by), found[f"{shared[0]}_p"]))
    return xr.Dataset(found, attrs={"level": level, "over": over, "scores": shared, "units": [str(u) for u in run["unit"].values]})


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm's p-values of a family of tests, of any shape; NaN is no test."""
    flat = np.array(p, dtype=float).reshape(-1)
    known = np.flatnonzero(~np.isnan(flat))
    if known.size:
        flat[known] = list(adjusted_p_values({str(k): float(flat[k]) for k in known}).values())
    return flat.reshape(np.shape(p))


def _compared(entries: Mapping[str, xr.Dataset], level: float, rng: Rng) -> xr.Dataset:
    names = list(entries)
    shared = [s for s in _TESTED if all(_has(e, s) for e in entries.values())]
    if not shared:
        raise DataError(f"compare: expected forecasts that share a score of {', '.join(_TESTED)}, got none; compare ensembles, or bands, alone")
    found: dict[str, xr.DataArray] = {}
    for score in (*shared, *(s for s in _SHOWN if any(_has(e, s) for e in entries.values()))):
        found[score] = _stacked({n: e[score] if score in e else entries[names[0]][shared[0]] * np.nan for n, e in entries.items()}, "model")
    cases, over = _cases(entries, shared)
    if cases[names[0]].sizes.get(over, 0) >= _FEWEST:
        for score in shared:
            found[f"{score}_bounds"] = _stacked({n: _bounds(c[[score]], over, level, rng)[score] for n, c in cases.items()}, "model")
        for score in (s for s in _SHOWN if s in found):
            ends = {n: _shown_bounds(e, score, over, level=level, rng=rng) for n, e in entries.items()}
            some = next((v for v in ends.values() if v is not None), None)
            if some is not None:
                found[f"{score}_bounds"] = _stacked({n: some * np.nan if v is None else v for n, v in ends.items()}, "model")
        found.update(_pairs({"": cases}, over, level=level, rng=rng))
    for by in ("region", "season", "event"):  # levels are variables of their own here
        of_parts = _of_parts(entries, shared, by, level=level, rng=rng)
        found.update(_on_pairs(of_parts, found[f"{shared[0]}_p"]) if of_parts else {})
    facts = {"level": level, "over": over, "scores": shared, "units": [str(u) for u in entries[names[0]]["unit"].values]}
    return xr.Dataset(found, attrs=facts)


def _of_parts(entries: Mapping[str, xr.Dataset], shared: Sequence[str], by: str, *, level: float, rng: Rng) -> dict[str, xr.DataArray]:
    """Scores, intervals, differences and p-values of regions, seasons or events, where two models or more have them."""
    parts, over = _parts(entries, shared, by)
    models = list(next(iter(parts.values()), {}))
    if len(models) < 2:
        return {}
    found = {}
    for score in ("brier",) if by == "event" else shared:
        means = {n: _dropped(entries[n][f"{score}_by_{by}"], by) for n in models}
        found[f"{score}_by_{by}"] = _stacked(means, "model")
        ends = {n: _joined({p: _bounds(c[n][[score]], over, level, rng)[score] for p, c in parts.items()}, by) for n in models}
        found[f"{score}_bounds_by_{by}"] = _stacked({n: _dropped(v, by) for n, v in ends.items()}, "model")
    return {**found, **_pairs(parts, over, level=level, rng=rng, by=by)}


def _parts(entries: Mapping[str, xr.Dataset], shared: Sequence[str], by: str) -> tuple[dict[str, dict[str, xr.Dataset]], str]:
    """Part -> model -> what is tested, of the parts that all of these models have; and over which cases."""
    columns = _EVENT if by == "event" else {s: _TESTED[s] for s in shared}
    each = {n: part_cases(e, by, columns) for n, e in entries.items()}
    each = {n: parts for n, parts in each.items() if any(bool(v.notnull().any()) for t in parts.values() for v in t.data_vars.values())}
    common = [p for p in next(iter(each.values()), {}) if all(p in parts for parts in each.values())]
    found, over = {}, "init_time"
    for part in common:
        cases, over = _as_cases({n: parts[part] for n, parts in each.items()})
        found[part] = cases
    few = all(next(iter(c.values())).sizes.get(over, 0) < _FEWEST for c in found.values())
    return ({} if few else found), over


def _on_pairs(found: Mapping[str, xr.DataArray], whole: xr.DataArray) -> dict[str, xr.DataArray]:
    """On the pairs of the whole domain: those of which a part has no test are NaN."""
    ends = ["first", "second"]
    return {n: v.drop_vars(ends).reindex(pair=whole["pair"].values) if "pair" in v.dims else v for n, v in found.items()}


def _dropped(v: xr.DataArray, by: str) -> xr.DataArray:
    return v.isel(variable=0, drop=True) if by == "event" and "variable" in v.dims else v


def _joined(each: Mapping[str, xr.DataArray], by: str) -> xr.DataArray:
    return xr.concat(list(each.values()), xr.Variable(by, list(each)), coords="minimal", compat="override")


def _has(entry: xr.Dataset, score: str) -> bool:
    return score in entry and bool(entry[score].notnull().any())


def _stacked(each: Mapping[str, xr.DataArray], dim: str) -> xr.DataArray:
    bare = [v.drop_vars("cases", errors="ignore") for v in each.values()]
    return xr.concat(bare, xr.Variable(dim, list(each)), coords="minimal", compat="override")


def _cases(entries: Mapping[str, xr.Dataset], scores: Sequence[str]) -> tuple[dict[str, xr.Dataset], str]:
    """What is tested, one value per case: samples where there are five or more, else starts."""
    return _as_cases({n: xr.Dataset({s: e[f"{_TESTED[s]}_by_start"] for s in scores}) for n, e in entries.items()})


def _as_cases(tables: Mapping[str, xr.Dataset]) -> tuple[dict[str, xr.Dataset], str]:
    cases, over = {}, "init_time"
    for name, table in tables.items():
        kept = table.where(np.isfinite(table))
        over = "sample" if kept.sizes.get("sample", 0) >= _FEWEST else "init_time"
        others = [d for d in ("sample", "init_time") if d in kept.dims and d != over]
        cases[name] = (kept.mean(others) if others else kept).drop_vars("cases", errors="ignore")
    return cases, over


def _bounds(table: xr.Dataset, over: str, level: float, rng: Rng) -> xr.Dataset:
    if table.sizes[over] < _FEWEST:  # a part with few starts
        nothing = (table.isel({over: 0}, drop=True) * np.nan).expand_dims(bounds=["lower", "upper"])
        return nothing.transpose(..., "bounds").drop_vars("bounds")
    ends = score_interval(table, over=over, level=level, rng=rng).sel(bound=["lower", "upper"]).drop_vars("bound").rename(bound="bounds")
    return ends.map(lambda v: np.sqrt(v.clip(min=0.0)) if str(v.name).endswith("rmse") else v).transpose(..., "bounds")


def _shown_bounds(entry: xr.Dataset, score: str, over: str, *, level: float, rng: Rng) -> xr.DataArray | None:
    """The interval of a score that is shown and not tested, if it was kept by start."""
    names = [f"spread_skill_part{k}_by_start" for k in range(2)] if score == "spread_skill" else [f"{score}_by_start"]
    if any(n not in entry or not bool(entry[n].notnull().any()) for n in names):
        return None
    cases = _as_cases({"": xr.Dataset({n: entry[n] for n in names})})[0][""]
    if score != "spread_skill":
        ends = _bounds(cases, over, level, rng)[names[0]]
        return ends if score == "band_width" else ends.clip(max=1.0)
    found = combined_interval([cases[n] for n in names], _ratio, over=over, level=level, rng=rng)
    return found.sel(bound=["lower", "upper"]).drop_vars("bound").rename(bound="bounds").transpose(..., "bounds")


def _ratio(variance: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """The spread-skill ratio of its averaged parts."""
    return np.asarray(spread_skill.combine(torch.from_numpy(np.asarray(variance)), torch.from_numpy(np.asarray(squared))).numpy())


def _pairs(
    parts: Mapping[str, Mapping[str, xr.Dataset]], over: str, *, level: float, rng: Rng, pairs: Sequence[tuple[str, str]] = (), by: str = ""
) -> dict[str, xr.DataArray]:
    """Differences and p-values of `pairs`, all of them if none are named; of parts `by`, all of which are one family."""
    pairs = pairs or list(combinations(next(iter(parts.values())), 2))
    coords = {"first": ("pair", [a for a, _ in pairs]), "second": ("pair", [b for _, b in pairs])}
    each: dict[str, dict[str, xr.Dataset]] = {}
    for part, cases in parts.items():
        enough = next(iter(cases.values())).sizes.get(over, 0) >= _FEWEST
        each[part] = {f"{a} − {b}": _difference(cases[a], cases[b], over, enough, level=level, rng=rng) for a, b in pairs}
    found = {}
    end = f"_by_{by}" if by else ""
    for score in next(iter(each.values()))[f"{pairs[0][0]} − {pairs[0][1]}"].data_vars:
        both = _joined({part: _stacked({pair: d[score] for pair, d in tables.items()}, "pair") for part, tables in each.items()}, by or "part")
        both = both.assign_coords(coords).transpose("bound", "pair", "variable", by or "part", "lead_time")
        p = both.sel(bound="p_value", drop=True)
        adjusted = np.stack([_holm(p.isel(variable=k).values) for k in range(p.sizes["variable"])], axis=1)
        p = p.copy(data=adjusted).assign_attrs(long_name=f"Holm's p-value for all pairs and lead times{f' and {by}s' if by else ''} of a variable")
        made = {"difference": both.sel(bound=["mean", "lower", "upper"]), "p": p}
        for what, v in made.items():
            v = v if by else v.isel(part=0, drop=True)
            found[f"{score}_{what}{end}"] = v.rename(variable="quantity") if by == "level" else _dropped(v, by)
    return found


def _difference(a: xr.Dataset, b: xr.Dataset, over: str, enough: bool, *, level: float, rng: Rng) -> xr.Dataset:
    if enough:
        return paired_difference(a, b, over=over, level=level, draws=_DRAWS, rng=rng)
    change = (a - b).mean(over).expand_dims(bound=["mean", "lower", "upper", "p_value"])
    return change.where(change["bound"] == "mean")


def _check_same(one: tuple[str, xr.Dataset], other: tuple[str, xr.Dataset]) -> None:
    (a, first), (b, second) = one, other
    for dim, what in (("variable", "fields"), ("sample", "samples"), ("init_time", "starts"), ("lead_time", "lead times")):
        values = [as_times(ds[dim].values) if dim.endswith("time") else ds[dim].values for ds in (first, second) if dim in ds.dims]
        if len(values) == 1 or (len(values) == 2 and not np.array_equal(values[0], values[1])):
            said = [_listed(ds, dim) for ds in (first, second)]
            got = f"{said[0]} in {a} and {said[1]} in {b}"
            raise DataError(f"compare: expected the same {what} in all runs, got {got}; evaluate both on the same ones")
    units = [dict(zip(map(str, ds["variable"].values), map(str, ds["unit"].values), strict=True)) for ds in (first, second)]
    for name, unit in units[0].items():
        if units[1][name] != unit:
            raise DataError(f"compare: expected the same units in all runs, got {name} in {unit} in {a} and in {units[1][name]} in {b}; convert one")
    for mark in ("truth_mean_by_start", "truth_square_by_start"):
        x, y = (ds[mark].transpose("variable", ..., "lead_time").values for ds in (first, second))
        # marks of one truth differ by the order of sums of float32 values
        same = np.isclose(x, y, rtol=1e-5, atol=1e-6 * float(np.nanmax(np.abs(x), initial=0.0)), equal_nan=True)
        if not same.all():
            at = tuple(np.argwhere(~same)[0])
            kind = f"a {'mean' if 'mean' in mark else 'mean square'} of {first['variable'].values[at[0]]}"
            where = f"{(~same).sum()} of {same.size} frames differ, the first at {_place(first[mark].transpose('variable', ..., 'lead_time'), at)}"
            got = f"{kind} of {x[at]:.6g} in {a} and {y[at]:.6g} in {b} ({where})"
            raise DataError(f"compare: expected the same truth in all runs, got {got}; evaluate both against one truth")
    if all("truth_mean_by_region_start" in ds for ds in (first, second)):
        one_mark, other_mark = xr.align(*(ds["truth_mean_by_region_start"].transpose("region", ...) for ds in (first, second)), join="inner")
        x, y = one_mark.values, other_mark.transpose(*one_mark.dims).values
        differ = ~np.isclose(x, y, rtol=1e-5, atol=1e-6 * float(np.nanmax(np.abs(x), initial=0.0)), equal_nan=True)
        if differ.any():
            names = [str(r) for r, wrong in zip(one_mark["region"].values, differ, strict=True) if wrong.any()]
            got = f"another truth in {', '.join(names)} in {a} than in {b}"
            raise DataError(f"compare: expected regions of one name to be the same cells, got {got}; evaluate both with the same regions")


def _listed(ds: xr.Dataset, dim: str) -> str:
    if dim not in ds.dims:
        return "none"
    values = ds[dim].values
    if dim == "init_time":
        return f"{values.size} from {show_time(as_times(values).min())} to {show_time(as_times(values).max())}"
    shown = [f"{v / np.timedelta64(1, 'h'):g} h" if values.dtype.kind == "m" else str(v) for v in values]
    return ", ".join(shown) if values.size <= 6 else f"{values.size} from {shown[0]} to {shown[-1]}"


def _place(array: xr.DataArray, at: tuple[int, ...]) -> str:
    names = dict(zip(array.dims, at, strict=True))
    start = f"start {show_time(as_times(array['init_time'].values)[names['init_time']])}" if "init_time" in names else "the only start"
    return f"{start}, lead time {names['lead_time'] + 1}"
