r"""Baselines of linear dynamics, dressed with their own cross-validated errors: the linear inverse model, and waves on circles of latitude.

A ridge regression of the anomalies guesses the coming frames from the last two: on their leading patterns (transforms/linear_forecast.py), or
wavenumber by wavenumber along a periodic axis (transforms/zonal_forecast.py). Its errors on windows it has
not seen are drawn whole, so that they stay coherent in space and over the leads:

$$\hat x^{(m)}_{t+l} = \bar x_{t+l} + \hat a_{t+l} + r^{(m)}_l.$$

Reference: Penland (1989), Random forcing and forecasting using principal oscillation pattern analysis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError
from physdiff.base.rng import Rng
from physdiff.data.leads import KnownFrames, check_lead, forecast_of
from physdiff.evaluation.hour_mean import TrainingFrames
from physdiff.evaluation.persistence import drawn_rows
from physdiff.transforms.linear_forecast import LinearFit, fit_linear_forecast
from physdiff.transforms.zonal_forecast import fit_zonal_forecast

__all__ = ["linear_inverse", "zonal_regression"]

_HISTORY = 2
_ENTRIES = 2**28  # 1 GiB of float32: more windows are thinned


def linear_inverse(
    train: xr.Dataset,
    ds: xr.Dataset,
    starts: Any = None,  # noqa: ANN401 - whatever a user has as times
    *,
    lead: int,
    members: int,
    rng: Rng,
    rank: int | None = None,
) -> xr.Dataset:
    """Linear inverse model on anomalies with resampled residuals.

    Args:
        train: Training part: means, patterns, regression and residuals come from it alone.
        ds: Data to start from.
        starts: Times of the last known frames, as in ``forecast.init_time``; all that have two known frames if None.
        lead: Number of time steps.
        members: Number of members.
        rng: Chooses the residuals; a start's members do not depend on the other starts.
        rank: Number of patterns; chosen by cross-validation within the training part if None.

    Returns:
        (sample?, init_time, member, lead_time, *space).

    Raises:
        DataError: If a start has no two known frames, or the training part is too short.
        GridMismatch: If the two parts are on different grids.
    """
    known = KnownFrames(ds, starts, history=_HISTORY)
    fitted = partial(fit_linear_forecast, rank=rank)
    return _dressed(train, known, fitted, lead=lead, members=members, rng=rng, title="linear inverse model with resampled residuals")


def zonal_regression(
    train: xr.Dataset,
    ds: xr.Dataset,
    starts: Any = None,  # noqa: ANN401 - whatever a user has as times
    *,
    lead: int,
    members: int,
    rng: Rng,
) -> xr.Dataset:
    """Regression of every zonal wavenumber at every latitude on its own past, with resampled residuals: waves that travel and decay.

    Args:
        train: Training part, on a grid whose last axis is periodic (a whole circle of longitude).
        ds: Data to start from.
        starts: Times of the last known frames, as in ``forecast.init_time``; all that have two known frames if None.
        lead: Number of time steps.
        members: Number of members.
        rng: Chooses the residuals; a start's members do not depend on the other starts.

    Returns:
        (sample?, init_time, member, lead_time, *space).

    Raises:
        DataError: If the last axis is not periodic, values are missing, a start has no two known frames, or the training part is too short.
        GridMismatch: If the two parts are on different grids.
    """
    known = KnownFrames(ds, starts, history=_HISTORY)
    grid = known.spec.grid
    gaps = any(bool(ds[n].isnull().any()) or bool(train[n].isnull().any()) for n in known.spec.names)
    if not grid.periodic[-1] or gaps:
        got = f"missing values in {', '.join(known.spec.names)}" if gaps else f"{grid.dims[-1]}, which is not"
        raise DataError(f"zonal regression: expected fields without gaps on a periodic last axis, got {got}; take linear_inverse")
    return _dressed(train, known, fit_zonal_forecast, lead=lead, members=members, rng=rng, title="zonal regression with resampled residuals")


def _dressed(
    train: xr.Dataset, known: KnownFrames, fitted: Callable[..., LinearFit], *, lead: int, members: int, rng: Rng, title: str
) -> xr.Dataset:
    past = TrainingFrames(train, known.spec)
    begins = past.stretches(_HISTORY + check_lead(lead))
    anomalies = torch.nan_to_num(past.anomalies())
    entries = anomalies.shape[0] * len(begins) * (_HISTORY + lead) * anomalies[0, :, 0].numel()
    begins = begins[:: max(1, -(-entries // _ENTRIES))]
    windows = torch.stack([a[:, s : s + _HISTORY + lead] for a in anomalies for s in begins])
    fit = fitted(windows, _HISTORY, weights=known.spec.grid.weights())
    never = ~past.frames.isfinite().any(2).any(0)  # (C, *S)

    def make(trajectory: int, start: int) -> Tensor:
        mean = past.mean.at(known.times(start, ahead=lead))
        last = torch.nan_to_num(known.frames(trajectory, start) - mean[:, :_HISTORY])
        guess = mean[:, _HISTORY:] + fit.full(last[None])[0]
        rows = drawn_rows(fit.residuals.shape[0], members, known.rng(rng, trajectory, start))
        return torch.where(never[:, None], torch.nan, guess + fit.residuals[rows])

    return forecast_of(known, make, lead=lead, members=members, attrs={"title": title})
