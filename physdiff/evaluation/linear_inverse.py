r"""Baseline of linear dynamics: the linear inverse model, dressed with its own cross-validated errors.

A ridge regression on the leading patterns of the anomalies guesses the coming frames from the last two (transforms/linear_forecast.py). Its
errors on windows it has not seen are drawn whole, so that they stay coherent in space and over the leads:

$$\hat x^{(m)}_{t+l} = \bar x_{t+l} + \hat a_{t+l} + r^{(m)}_l.$$

Reference: Penland (1989), Random forcing and forecasting using principal oscillation pattern analysis.
"""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.data.leads import KnownFrames, check_lead, forecast_of
from physdiff.evaluation.hour_mean import TrainingFrames
from physdiff.evaluation.persistence import drawn_rows
from physdiff.transforms.linear_forecast import fit_linear_forecast

__all__ = ["linear_inverse"]

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
    past = TrainingFrames(train, known.spec)
    begins = past.stretches(_HISTORY + check_lead(lead))
    anomalies = torch.nan_to_num(past.anomalies())
    entries = anomalies.shape[0] * len(begins) * (_HISTORY + lead) * anomalies[0, :, 0].numel()
    begins = begins[:: max(1, -(-entries // _ENTRIES))]
    windows = torch.stack([a[:, s : s + _HISTORY + lead] for a in anomalies for s in begins])
    fit = fit_linear_forecast(windows, _HISTORY, rank=rank, weights=known.spec.grid.weights())
    never = ~past.frames.isfinite().any(2).any(0)  # (C, *S)

    def make(trajectory: int, start: int) -> Tensor:
        mean = past.mean.at(known.times(start, ahead=lead))
        last = torch.nan_to_num(known.frames(trajectory, start) - mean[:, :_HISTORY])
        guess = mean[:, _HISTORY:] + fit.full(last[None])[0]
        rows = drawn_rows(fit.residuals.shape[0], members, known.rng(rng, trajectory, start))
        return torch.where(never[:, None], torch.nan, guess + fit.residuals[rows])

    return forecast_of(known, make, lead=lead, members=members, attrs={"title": "linear inverse model with resampled residuals"})
