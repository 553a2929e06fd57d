"""Bands of successive forecasts, each from the errors of those judged before it."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.checks import check_one_of
from physdiff.base.errors import DataError
from physdiff.data.cases import Cases, matched
from physdiff.uq.sequential import adaptive_radius, sequential_interval

__all__ = ["sequential_bands"]

_METHODS = ("adaptive", "quantiles", "regression")


def sequential_bands(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    *,
    level: float = 0.9,
    method: str = "regression",
    window: int = 300,
    past: int = 3,
    rate: float = 0.01,
    progress: bool = True,
) -> xr.Dataset:
    """Lower and upper fields around the mean of the members, start by start, from what was known at each start.

    A forecast of lead l is judged l later, so that bounds at a start use forecasts verified by then only. Every cell and lead time is a series of
    its own: the level is that of each, in the long run over starts (see `sequential` for what is kept when the law drifts).

    Args:
        forecast: Dims (init_time, member?, lead_time, *space), starts equally spaced.
        truth: On the same grid and in the same units; it may end before the last forecasts are verified.
        level: Share of the truth that is to lie inside.
        method: ``"adaptive"`` (symmetric bounds, ACI), ``"quantiles"`` (EnbPI) or ``"regression"`` (SPCI).
        window: Number of last judged starts looked at.
        past: Number of last judged errors the next is regressed on.
        rate: Speed of the adaptive level.
        progress: Whether to show a bar.

    Returns:
        ``<name>_lower`` and ``<name>_upper`` on (init_time, lead_time, *space), NaN at starts before enough was judged, and after the record ends.
        Put into `evaluate` by `band_members`.

    Raises:
        InputError: If options do not fit (see `adaptive_radius`, `sequential_interval`).
        DataError: If starts are not equally spaced or too few, or the truth misses a step or a cell now and then.
    """
    check_one_of(method, _METHODS, "sequential_bands method")
    pairs = matched(forecast, truth)
    leads = pairs.forecast["lead_time"].values / _spacing(pairs)
    mean = pairs.forecast.mean("member") if "member" in pairs.forecast.dims else pairs.forecast
    bands = {}
    for name in pairs.names:
        centre = torch.from_numpy(np.array(mean[name].transpose("init_time", "lead_time", *pairs.grid.dims).values, dtype=np.float64))
        lower, upper = (torch.full_like(centre, float("nan")) for _ in range(2))
        for k in tqdm(range(len(leads)), desc=f"bands of {name}", disable=not progress):
            lag = max(1, math.ceil(float(leads[k]) - 1e-9))
            residual = _residuals(pairs, name, k, centre=centre[:, k])
            cells = residual.isfinite().any(0)
            verified = _verified(residual[:, cells], name)
            # the start `lag` after the last verified one is the last that has seen all there is
            series = residual[: verified + lag, cells]
            if method == "adaptive":
                high = adaptive_radius(series.abs(), level=level, window=window, rate=rate, lag=lag)
                low = -high
            else:
                steps = past if method == "regression" else 0
                low, high = sequential_interval(series, level=level, window=window, past=steps, rate=rate, lag=lag)
            for bound, departure in ((lower, low), (upper, high)):
                bound[: len(series), k, cells] = centre[: len(series), k, cells] + departure
        bands.update(_named(mean[name], pairs, (lower, upper), level=level))
    text = f"In the long run over starts {100 * level:g} % of the truth in each cell and at each lead lies between lower and upper."
    return xr.Dataset(bands, attrs={"guarantee": text, "level": level, "method": method})


def _spacing(pairs: Cases) -> object:
    if pairs.outer != ("init_time",) or pairs.inner != "lead_time":
        got = ", ".join((*pairs.outer, pairs.inner))
        raise DataError(f"sequential_bands: expected a forecast along init_time and lead_time, got {got}; take one sample")
    starts = pairs.forecast["init_time"].values
    gaps = np.diff(starts)
    if len(starts) < 2 or not (gaps > gaps[:1] * 0).all() or not (np.abs(gaps - gaps[0]) <= np.abs(gaps[0]) * 1e-6).all():
        raise DataError("sequential_bands: expected two starts or more, in order of time and equally spaced; select such or fill gaps with forecasts")
    return gaps[0]


def _residuals(pairs: Cases, name: str, lead: int, *, centre: Tensor) -> Tensor:
    """Truth minus centre of one lead, (starts, *S), NaN where the truth is not known."""
    where = pairs.where[:, lead]
    truth = np.asarray(pairs.truth[name].transpose("time", *pairs.grid.dims).values, dtype=np.float64)
    found = torch.full_like(centre, float("nan"))
    held = torch.from_numpy(where >= 0)
    found[held] = torch.from_numpy(truth[where[where >= 0]])
    return found - centre


def _verified(residual: Tensor, name: str) -> int:
    """Number of starts up to the last that has been verified, all of which must have been."""
    known = residual.isfinite()
    count = int(known.any(1).nonzero().max()) + 1 if residual.numel() else 0
    if not bool(known[:count].all()):
        bad = int((~known.all(1)).nonzero()[0])
        raise DataError(
            f"sequential_bands {name}: expected truth at every start until the last verified one, got a cell without at start {bad} of {count}; "
            "cut the record there, or mask that cell"
        )
    return count


def _named(variable: xr.DataArray, pairs: Cases, bounds: tuple[Tensor, Tensor], *, level: float) -> dict[str, xr.DataArray]:
    like = variable.transpose("init_time", "lead_time", *pairs.grid.dims)
    units = pairs.forecast[str(variable.name)].attrs.get("units", "1")
    about = f"{100 * level:g} % band of {variable.name}"
    return {
        f"{variable.name}_{end}": like.copy(data=values.numpy()).assign_attrs(units=units, long_name=f"{end} end of the {about}")
        for end, values in zip(("lower", "upper"), bounds, strict=True)
    }
