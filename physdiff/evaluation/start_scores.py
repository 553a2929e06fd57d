r"""Scores start by start, their means with error bars, and those of a season: what tables, paired tests and comparisons are made of.

A root or a ratio is taken after the mean over starts (`Averaged`), so that what is kept by start are the parts: for the RMSE the squared errors.
Bounds of a root are the roots of bounds. With the scores stand the mean and the mean square of the truth of every frame: two tables are about
the same frames if these agree.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError
from physdiff.data.timeline import is_calendar
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.significance import combined_interval, score_interval
from physdiff.scores.reduce import Averaged, Score, reduced

__all__ = ["mean_scores", "season_of", "start_scores", "with_bounds"]

_FEWEST = 5  # starts for an error bar, as in significance.py
_SHARES = ("coverage", "band_coverage", "frequency", "probability")  # at most one, however far few blocks stretch them
_SEASONS = ("DJF", "MAM", "JJA", "SON")


def _truth_mean(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """The truth itself."""
    return reduced(truth, weights)


def _truth_square(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Its square."""
    return reduced(truth.square(), weights)


def start_scores(
    forecast: xr.Dataset, truth: xr.Dataset, scores: Mapping[str, Score], *, regions: Mapping[str, Tensor | xr.DataArray] | None = None
) -> xr.Dataset:
    """Parts of scores by start and lead time, and the marks of the truth they were made with.

    Args:
        forecast: Dims (sample?, init_time?, member?, lead_time, *space), as in `evaluate`.
        truth: As in `evaluate`.
        scores: By name; those that give one number per frame.
        regions: As in `evaluate`; results have a dimension ``region`` then.

    Returns:
        Dims (variable, sample?, init_time?, region?, lead_time): a plain score by its name, an averaged one as ``<name>_part0``, ``<name>_part1``;
        ``truth_mean`` and ``truth_square``. NaN where there is no such frame.

    Raises:
        PhysdiffError: As `evaluate`.
    """
    parts: dict[str, Score] = {"truth_mean": _truth_mean, "truth_square": _truth_square}
    for name, score in scores.items():
        parts.update(_parts(name, score))
    inner = "lead_time" if "lead_time" in forecast.dims else "time"
    outer = tuple(d for d in ("sample", "init_time") if d in forecast.dims)
    return evaluate(forecast, truth, parts, by=(*outer, *(("region",) if regions else ()), inner), regions=regions)


def mean_scores(table: xr.Dataset, scores: Mapping[str, Score], *, where: xr.DataArray | None = None) -> xr.Dataset:
    """Means over starts (and samples) of what `start_scores` gave, roots and ratios taken after them; as `evaluate` by lead time gives them.

    Args:
        table: From `start_scores`.
        scores: The same scores.
        where: Boolean, on some of the table's dims: which frames count.

    Returns:
        Dims (variable, region?, lead_time). A frame whose forecast is missing gives NaN and is not passed over.
    """
    frames = table["truth_mean"].notnull()
    frames = frames if where is None else frames & where
    over = [d for d in ("sample", "init_time") if d in table.dims]
    count = frames.sum(over)

    def mean(name: str) -> xr.DataArray:
        total = table[name].where(frames, 0.0).sum(over, skipna=False)
        return (total / count.where(count > 0)).transpose(*(d for d in table[name].dims if d not in over))

    found = {}
    for name, score in scores.items():
        if not isinstance(score, Averaged):
            found[name] = mean(name)
            continue
        means = [mean(part) for part in _parts(name, score)]
        found[name] = means[0].copy(data=score.combine(*(torch.from_numpy(np.asarray(m.values, dtype=np.float64)) for m in means)).numpy())
    cases = count.min("variable").astype(np.int64).assign_attrs(long_name="number of forecast frames scored", units="1")
    return xr.Dataset(found, attrs=table.attrs).assign_coords(cases=cases)


def with_bounds(means: xr.Dataset, table: xr.Dataset, scores: Mapping[str, Score], *, level: float = 0.95) -> xr.Dataset:
    """The means with ``<score>_bounds`` (..., bounds) beside them: intervals by blocks of starts (`score_interval`), or of samples.

    Of a ratio the same blocks are redrawn for both parts. Nothing has an interval where there are fewer than five starts.

    Args:
        means: From `mean_scores`.
        table: What they were made of.
        scores: The same scores.
        level: Confidence level.
    """
    over = "sample" if table.sizes.get("sample", 0) >= _FEWEST else "init_time"
    if table.sizes.get(over, 0) < _FEWEST:
        return means
    names = [part for name, score in scores.items() for part in _parts(name, score)]
    other = [d for d in ("sample", "init_time") if d in table.dims and d != over]
    cases = table[names].mean(other) if other else table[names]
    finite = cases.where(np.isfinite(cases))
    added = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a lead time that no start has: its bounds are NaN
        for name, score in scores.items():
            each = [finite[part] for part in _parts(name, score)]
            if not isinstance(score, Averaged):
                found = score_interval(xr.Dataset({name: each[0]}), over=over, level=level)[name]
            else:
                found = combined_interval(each, partial(_combined, score=score), over=over, level=level)
            ends = found.sel(bound=["lower", "upper"]).drop_vars("bound").rename(bound="bounds")
            ends = ends.clip(max=1.0) if name.startswith(_SHARES) else ends
            about = f"{100 * level:g} % confidence interval of {name}, by blocks of {over}"
            added[f"{name}_bounds"] = ends.transpose(*means[name].dims, "bounds").assign_attrs(long_name=about)
    return means.assign(added)


def _combined(*parts: np.ndarray, score: Averaged) -> np.ndarray:
    return np.asarray(score.combine(*(torch.from_numpy(np.ascontiguousarray(v)) for v in parts)).numpy())


def season_of(table: xr.Dataset) -> xr.DataArray:
    """Season (DJF, MAM, JJA, SON) in which each forecast frame came true, on (init_time, lead_time).

    Raises:
        DataError: If times are plain numbers.
    """
    if "init_time" not in table.dims or not is_calendar(table["init_time"].values):
        raise DataError("seasons: expected starts at calendar times, got numbers; leave the seasons out")
    valid = table["init_time"] + table["lead_time"]
    return xr.DataArray(np.array(_SEASONS)[(valid.dt.month.values % 12) // 3], dims=valid.dims, coords=valid.coords)


def _parts(name: str, score: Score) -> dict[str, Score]:
    """What is kept by start, by name."""
    if not isinstance(score, Averaged):
        return {name: score}
    return {f"{name}_part{k}": part for k, part in enumerate(score.parts)}
