"""What an ensemble says of events, as data sets: probabilities with their Monte Carlo error, and return levels."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.scores.return_level import event_probability, return_level

__all__ = ["event_fields", "return_fields"]

_LEAST = 10


def event_fields(forecast: xr.Dataset, variable: str, threshold: float, *, below: bool = False, level: float = 0.9) -> xr.Dataset:
    """Probability that a field lies above (or below) a threshold, in every cell at every lead time.

    Args:
        forecast: Dims (sample?, init_time?, member, lead_time, *space).
        variable: Name of the field.
        threshold: In its unit.
        below: Whether the event is to lie below it.
        level: Probability of the interval.

    Returns:
        ``probability``, ``error`` (standard error of that many members), ``lower`` and ``upper`` (Wilson's interval) on the forecast's dims without
        members; NaN where a member is missing.

    Raises:
        DataError: If there is no such variable, or no members.
        InputError: If level is not strictly between 0 and 1, or the threshold not finite.
    """
    values, like = _members(forecast, variable, "event_fields")
    if not math.isfinite(threshold):
        raise InputError(f"event_fields threshold: expected a finite number in the unit of {variable}, got {threshold:g}")
    happened = values < threshold if below else values > threshold
    found = event_probability(happened, level=level)
    gone = values.isnan().any(0)
    sign = "<" if below else ">"
    unit = forecast[variable].attrs.get("units", "1")
    attrs = {"units": "1", "event": f"{variable} {sign} {threshold:g} {unit}", "members": len(values)}
    parts = zip(("probability", "error", "lower", "upper"), found, strict=True)
    return xr.Dataset({n: like.copy(data=v.masked_fill(gone, float("nan")).numpy()).assign_attrs(attrs) for n, v in parts}, attrs={"level": level})


def return_fields(forecast: xr.Dataset, variable: str, period: float, *, rng: Rng, level: float = 0.9) -> xr.Dataset:
    """The level that the largest value of a member's forecast passes once in `period` forecasts in the mean, in every cell.

    Every member of every start is a block, its maximum over lead times one draw: members must be independent, and starts are taken as if they were,
    so that with starts close together the interval is too narrow.

    Args:
        forecast: Dims (sample?, init_time?, member, lead_time, *space).
        variable: Name of the field.
        period: T > 1, in forecasts.
        rng: Randomness of the resampling.
        level: Probability of the interval.

    Returns:
        ``return_level``, ``lower``, ``upper`` on space, in the field's unit; NaN where a value is missing.

    Raises:
        DataError: If there is no such variable, no members, or less than ten blocks.
        InputError: If period or level make no sense.
    """
    values, like = _members(forecast, variable, "return_fields")
    inner = "lead_time" if "lead_time" in like.dims else "time"
    maxima = values.amax(1 + like.dims.index(inner))
    space = [d for d in like.dims if d not in ("sample", "init_time", inner)]
    maxima = maxima.reshape(-1, *(like.sizes[d] for d in space))
    if len(maxima) < _LEAST:
        raise DataError(f"return_fields: expected {_LEAST} forecasts of members or more, got {len(maxima)}; give more members or starts")
    found = return_level(maxima, period, rng=rng, level=level)
    shape = like.isel({d: 0 for d in like.dims if d not in space}, drop=True)
    attrs = {"units": forecast[variable].attrs.get("units", "1"), "period": period, "blocks": len(maxima)}
    parts = zip(("return_level", "lower", "upper"), found[:3], strict=True)
    return xr.Dataset({n: shape.copy(data=v.numpy()).assign_attrs(attrs) for n, v in parts}, attrs={"level": level})


def _members(forecast: xr.Dataset, variable: str, what: str) -> tuple[Tensor, xr.DataArray]:
    if variable not in forecast or "member" not in forecast[variable].dims:
        raise DataError(f"{what}: expected a field {variable} with members, got {', '.join(map(str, forecast.data_vars)) or 'none'}")
    ordered = forecast[variable].transpose("member", ...)
    if not {"lead_time", "time"} & set(ordered.dims):
        raise InputError(f"{what}: expected a forecast along lead_time or time, got {', '.join(map(str, ordered.dims))}")
    return torch.from_numpy(np.array(ordered.values, dtype=np.float64)), ordered.isel(member=0, drop=True).astype(np.float64)
