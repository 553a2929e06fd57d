r"""Conformal bands for forecasts of fields.

Every past forecast with its truth gives a nonconformity score; the bound of the next forecast is a quantile of them (`conformal`). With the
ensemble's mean $\bar x$, standard deviation $s$ and central interval $[l, u]$

$$|y - \bar x| / s \ \ (\texttt{spread}), \qquad |y - \bar x| \ \ (\texttt{none}), \qquad \max(l - y,\, y - u) \ \ (\texttt{quantile}),$$

for each cell and lead time, or over the root mean square of past errors there (`errors`), taken from every second case so that the others, which
are ranked, stay exchangeable with the next. What is taken together decides what is guaranteed: `points` keeps each cell and lead apart; `field` takes
the largest score of a frame, so that the band holds all cells of a frame at once; `trajectory` the largest of all frames. With ``share=0.95`` the
area-weighted 95 % quantile over cells takes the place of the largest, and the band holds at least 95 % of the area.

Cases are exchangeable if they are separate trajectories, or starts so far apart that they are independent; neighbouring starts of one record are
not, and the result says so. Nothing is asked of cells or lead times within a case.
References: Lei et al. (2018); Romano, Patterson and Candes (2019), "Conformalized quantile regression"; Diquigiovanni, Fontana and Vantini (2022),
"Conformal prediction bands for multivariate functional data"; Ma et al. (2024), "Calibrated uncertainty quantification for operator learning"
(the share).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import DataError, InputError
from physdiff.data.cases import Case, Cases, matched
from physdiff.scores.coverage import central_interval
from physdiff.uq.alike import check_alike
from physdiff.uq.conformal import cases_needed, conformal_quantile, coverage_law

__all__ = ["band_members", "calibrate"]

log = logging.getLogger(__name__)

_TOGETHER = ("points", "field", "trajectory")
_SCALES = ("spread", "none", "quantile", "errors")
_CENTRE = 0.5  # central interval of the members where the score is a distance to it: few members have a 90 % one


def calibrate(
    forecast: xr.Dataset,
    *,
    with_pairs: tuple[xr.Dataset, xr.Dataset],
    level: float = 0.9,
    together: str = "points",
    share: float = 1.0,
    scale: str = "spread",
) -> xr.Dataset:
    """Lower and upper fields that hold the truth with a stated probability.

    Args:
        forecast: Dims (sample?, init_time?, member?, lead_time, *space) or with time in lead_time's place.
        with_pairs: Forecasts of the same model, leads, grid and number of members, and the truth they are judged by. Their starts
            (or samples) are the calibration cases.
        level: Probability of the band.
        together: ``"points"``, ``"field"`` (all cells of a frame at once) or ``"trajectory"`` (all cells of all frames).
        share: With field or trajectory: share of the area that is to lie inside.
        scale: ``"spread"`` of the members, ``"none"`` (a band of one width in every cell that is taken together) or ``"quantile"`` (distance to their
            central half, conformalised quantile regression) or ``"errors"`` (every second case gives each cell its own width, the others rank:
            with field or trajectory, pointwise widths that hold at once). One member has ``"none"`` and ``"errors"`` alone.

    Returns:
        Variables ``<name>_lower`` and ``<name>_upper`` on the forecast's dims without members, in its units, infinite where a cell has too few
        cases. Attributes `guarantee` (the sentence), `level`, `cases` (those that count: where cells or lead times miss values of some, the fewest of
        any that has a finite bound; `cases_most` the most), and `coverage_mean` and `coverage_std` of the Beta law of `cases`.

    Raises:
        InputError: If an option is not one of those named, the numbers of members differ, or members do not spread.
        ShapeError: If there are too few cases for the level.
        DataError: If lead times are missing from the pairs, units differ, or what `evaluate` asks for is not met.
        GridMismatch: If past and new forecasts are on different grids.
    """
    check_one_of(together, _TOGETHER, "calibrate together")
    check_one_of(scale, _SCALES, "calibrate scale")
    if not 0 < share <= 1 or (share < 1 and together == "points"):
        raise InputError(f"calibrate share: expected a share of the area in (0, 1], 1 with together='points', got {share!r}")
    pairs = matched(*with_pairs)
    rule = _Rule(level, together, share, scale, pairs.grid.weights())
    check_alike(forecast, pairs, "calibrate")
    if pairs.members == 1 and scale not in ("none", "errors"):
        raise InputError(f"calibrate: expected members for scale={scale!r}, got a single forecast; use scale='none' or 'errors'")
    sizes = _sizes(pairs, rule) if scale == "errors" else {}
    scores = {name: torch.stack(found) for name, found in _scores(pairs, rule, sizes).items()}
    radii = {name: conformal_quantile(found, level) for name, found in scores.items()}
    bands = {}
    for name in radii:
        bands.update(_band(forecast[name], radii[name], pairs, rule=rule, sizes=sizes.get(name)))
    return xr.Dataset(bands, attrs=_guarantee(pairs, rule, _counted(scores, level)))


def band_members(band: xr.Dataset) -> xr.Dataset:
    """The bounds as two members, the form in which `evaluate` takes them: with `band_coverage`, `band_width`, `interval_score`, `band_holds`.

    Raises:
        DataError: If there is no pair of variables ``<name>_lower`` and ``<name>_upper``.
    """
    names = [str(n)[: -len("_lower")] for n in band.data_vars if str(n).endswith("_lower") and f"{str(n)[:-6]}_upper" in band]
    if not names:
        got = ", ".join(map(str, band.data_vars)) or "none"
        raise DataError(f"band_members: expected variables <name>_lower and <name>_upper, as calibrate gives them, got {got}")
    found = {n: xr.concat([band[f"{n}_lower"], band[f"{n}_upper"]], "member").assign_attrs(band[f"{n}_lower"].attrs) for n in names}
    return xr.Dataset({n: v.drop_attrs().assign_attrs(units=v.attrs.get("units", "1")) for n, v in found.items()}, attrs=band.attrs)


@dataclass(frozen=True)
class _Rule:
    level: float
    together: str
    share: float
    scale: str
    area: Tensor


def _ends(members: Tensor, rule: _Rule) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper end of score zero and the field that a score is multiplied by, each (L, *S)."""
    if rule.scale == "quantile":
        lower, upper = central_interval(members, level=_CENTRE)
        return lower, upper, torch.ones_like(lower)
    centre = members.mean(0)
    if rule.scale in ("none", "errors"):
        return centre, centre, torch.ones_like(centre)
    spread = members.std(0)
    typical = spread.square().flatten(1).nanmean(1).sqrt().reshape(-1, *[1] * (spread.ndim - 1))
    if bool((typical == 0).any()):
        raise InputError("calibrate: expected members that differ, got a frame with a spread of zero; use scale='none'")
    # a cell where all members agree must not get an infinite score: a thousandth of the frame's spread is the least
    return centre, centre, torch.maximum(spread, 1e-3 * typical)


def _sizes(pairs: Cases, rule: _Rule) -> dict[str, Tensor]:
    """Root mean square errors of every second case by variable, (L, *S), infinite where there are none."""
    shape = (pairs.sizes[pairs.inner], *pairs.grid.shape)
    sums = {name: torch.zeros(2, *shape, dtype=torch.float64) for name in pairs.names}
    for case in pairs:
        if _number(case, pairs) % 2 == 0:
            error, frames = case.truth.double() - case.members.double().mean(0), torch.from_numpy(case.frames)
            seen = error.isfinite()
            sums[pairs.names[case.variable]][:, frames] += torch.stack([error.nan_to_num(0.0).square() * seen, seen.double()])
    found = {}
    for name, (square, count) in sums.items():
        size = (square / count).sqrt().masked_fill(count == 0, float("inf"))
        typical = size.masked_fill(count == 0, float("nan")).flatten(1).nanmean(1).reshape(-1, *[1] * (size.ndim - 1))
        # a cell that was never wrong must not get an infinite score
        found[name] = torch.maximum(size, 1e-3 * typical.nan_to_num(1.0).clamp_min(torch.finfo(torch.float64).tiny))
    return found


def _number(case: Case, pairs: Cases) -> int:
    """Which case it is, counted along all outer dimensions."""
    number = 0
    for d in pairs.outer:
        number = number * pairs.sizes[d] + case.place[d]
    return number


def _scores(pairs: Cases, rule: _Rule, sizes: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """Scores of every case by variable: (L, *S) for points, (L,) for fields, () for trajectories."""
    leads = pairs.sizes[pairs.inner]
    found: dict[str, list[Tensor]] = {name: [] for name in pairs.names}
    for case in pairs:
        if sizes and _number(case, pairs) % 2 == 0:
            continue
        whole = case.frames.size == leads
        if rule.together == "trajectory" and not whole:
            continue
        lower, upper, scale = _ends(case.members.double(), rule)
        truth = case.truth.double()
        if sizes:
            scale = sizes[pairs.names[case.variable]][torch.from_numpy(case.frames)]
        score = torch.maximum(lower - truth, truth - upper) / scale
        score = _joined(score, rule)
        if rule.together != "trajectory" and not whole:
            padded = score.new_full((leads, *score.shape[1:]), float("nan"))
            padded[torch.from_numpy(case.frames)] = score
            score = padded
        found[pairs.names[case.variable]].append(score)
    for cases in found.values():
        coverage_law(len(cases), rule.level)
    return found


def _counted(scores: Mapping[str, Tensor], level: float) -> tuple[int, int]:
    """The fewest and the most cases that are not missing, over the entries that have enough for a finite bound."""
    counts = torch.cat([(~s.isnan()).sum(0).reshape(-1) for s in scores.values()])
    enough = counts[counts >= cases_needed(level)]
    if not len(enough):
        coverage_law(int(counts.max()), level)  # raises: no entry has enough
    return int(enough.min()), int(enough.max())


def _joined(score: Tensor, rule: _Rule) -> Tensor:
    """What a case is judged by: its scores, or the largest (or the quantile over the area) of those taken together."""
    if rule.together == "points":
        return score
    area = rule.area.to(score).expand(score.shape)
    first = 0 if rule.together == "trajectory" else 1
    values, weights = score.flatten(first), area.flatten(first)
    weights = weights.masked_fill(values.isnan(), 0.0)
    values = values.masked_fill(weights == 0, float("-inf"))
    ordered, order = values.sort(-1)
    held = weights.gather(-1, order).cumsum(-1)
    total = held[..., -1:]
    place = (held >= rule.share * total * (1 - 1e-9)).to(torch.int64).argmax(-1, keepdim=True)
    return ordered.gather(-1, place)[..., 0].masked_fill(total[..., 0] == 0, float("nan"))


def _band(
    variable: xr.DataArray, radius: Tensor, pairs: Cases, *, rule: _Rule, sizes: Tensor | None = None
) -> dict[str, xr.DataArray]:
    lead = [pairs.inner] if rule.together != "trajectory" else []
    dims = [*lead, *pairs.grid.dims] if rule.together == "points" else lead
    bound = xr.DataArray(radius.numpy(), dims=dims)
    if lead:
        bound = bound.assign_coords({pairs.inner: pairs.forecast[pairs.inner].values})
        bound = bound.sel({pairs.inner: variable[pairs.inner].values})
    given = variable if "member" in variable.dims else variable.expand_dims("member")
    members = given.transpose("member", ..., *pairs.grid.dims)
    like = members.isel(member=0, drop=True)
    frames = np.asarray(members.values).reshape(members.shape[0], -1, *pairs.grid.shape)
    ends = [_ends(torch.from_numpy(frames[:, k : k + 1].astype(np.float64)), rule) for k in range(frames.shape[1])]
    lower, upper, scale = (torch.cat(e).numpy().reshape(like.shape) for e in zip(*ends, strict=True))
    if sizes is not None:
        own = xr.DataArray(sizes.numpy(), dims=[pairs.inner, *pairs.grid.dims], coords={pairs.inner: pairs.forecast[pairs.inner].values})
        scale = own.sel({pairs.inner: variable[pairs.inner].values}).broadcast_like(like).transpose(*like.dims).values
    add = bound.broadcast_like(like).transpose(*like.dims).values * scale
    # a negative radius may turn a narrow interval over: a point then covers no less than an empty set
    turned = lower - add > upper + add
    lower, upper = lower - np.where(turned, (lower - upper) / 2, add), upper + np.where(turned, (lower - upper) / 2, add)
    attrs = {"units": variable.attrs.get("units", "1")}
    name, about = variable.name, f"{100 * rule.level:g} % band of {variable.attrs.get('long_name', variable.name)}"
    return {
        f"{name}_lower": like.copy(data=lower).assign_attrs(**attrs, long_name=f"lower end of the {about}"),
        f"{name}_upper": like.copy(data=upper).assign_attrs(**attrs, long_name=f"upper end of the {about}"),
    }


def _guarantee(pairs: Cases, rule: _Rule, counted: tuple[int, int]) -> Mapping[str, Any]:
    cases, most = counted
    law = coverage_law(cases, rule.level)
    number = f"{cases}" if cases == most else f"{cases} to {most} (values are missing from some)"
    what = {
        "points": "at every cell and lead time, taken alone, the truth lies between lower and upper",
        "field": f"at every lead time, taken alone, {_area(rule.share)} of the field lies between lower and upper",
        "trajectory": f"{_area(rule.share)} of the field at all lead times together lies between lower and upper",
    }[rule.together]
    text = f"For a case exchangeable with the {number} calibration cases, with probability {rule.level:g} or more: {what} (each variable by itself)."
    overlap = _overlapping(pairs)
    if overlap:
        text += " The calibration cases overlap in time, so that they are not exchangeable and nothing is guaranteed: keep starts further apart."
        log.warning("calibrate: calibration starts overlap in time; the level is not guaranteed. Keep them further apart than the longest lead time")
    return {
        "guarantee": text,
        "level": rule.level,
        "cases": cases,
        "cases_most": most,
        "coverage_mean": law.mean,
        "coverage_std": law.std,
        "overlapping_cases": int(overlap),
    }


def _area(share: float) -> str:
    return "all" if share == 1 else f"at least {100 * share:g} % of the area"


def _overlapping(pairs: Cases) -> bool:
    if "init_time" not in pairs.outer or pairs.sizes["init_time"] < 2:
        return False
    starts = np.sort(pairs.forecast["init_time"].values)
    return bool((np.diff(starts) < pairs.forecast["lead_time"].values.max()).any())
