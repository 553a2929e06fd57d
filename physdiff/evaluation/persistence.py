r"""Baselines made from the last known frame: as it is, damped towards what is expected, or dressed with what happened in the past.

Persistence: $\hat x_{t+l} = x_t$. Damped persistence keeps of the anomaly $a = x - \bar x_{\text{hour}}$ what the training part kept on average,

$$\hat x_{t+l} = \bar x_{t+l} + \rho_l\, a_t, \qquad \rho_l = \langle a_{s+l}\, a_s \rangle / \langle a_s^2 \rangle .$$

 Dressed persistence also knows the time of day and how far the anomaly moved
within $l$ steps in the training part,

$$\hat x^{(m)}_{t+l} = x_t + (\bar x_{t+l} - \bar x_t) + (a_{s_m+l} - a_{s_m}),$$

with one training time $s_m$ per member for all leads, so that a member stays a trajectory.
"""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError
from physdiff.base.rng import Rng
from physdiff.data.leads import KnownFrames, check_lead, forecast_of
from physdiff.evaluation.hour_mean import TrainingFrames

__all__ = ["damped_persistence", "drawn_rows", "dressed_persistence", "persistence"]


def persistence(ds: xr.Dataset, starts: Any = None, lead: int = 1) -> xr.Dataset:  # noqa: ANN401 - whatever a user has as times
    """The last known frame at every lead.

    Args:
        ds: Data to start from, dims (sample?, time, *space).
        starts: Times of the last known frames, as in ``forecast.init_time``; all times if None.
        lead: Number of time steps.

    Returns:
        (sample?, init_time, member 1, lead_time, *space).

    Raises:
        DataError: If a start is not in the data.
    """
    known = KnownFrames(ds, starts)
    steps = check_lead(lead)

    def make(trajectory: int, start: int) -> Tensor:
        last = known.frames(trajectory, start)[None, :, -1:]
        return last.expand(1, -1, steps, *last.shape[3:])

    return forecast_of(known, make, lead=lead, members=1, attrs={"title": "persistence"})


def damped_persistence(train: xr.Dataset, ds: xr.Dataset, starts: Any = None, *, lead: int) -> xr.Dataset:  # noqa: ANN401
    """The anomaly of the last known frame, damped by one factor per field and lead, on the mean of the hour of the day.

    Args:
        train: Training part, from which means and factors are taken.
        ds: Data to start from.
        starts: See `persistence`.
        lead: Number of time steps.

    Returns:
        (sample?, init_time, member 1, lead_time, *space).

    Raises:
        DataError: If a start is not in the data, or the training part is shorter than `lead`.
        GridMismatch: If the two parts are on different grids.
    """
    known = KnownFrames(ds, starts)
    past = TrainingFrames(train, known.spec)
    begins = torch.from_numpy(past.stretches(check_lead(lead) + 1))
    factors = _kept_share(past.anomalies().double(), begins, lead, known.spec.grid.weights())  # (C, lead)

    def make(trajectory: int, start: int) -> Tensor:
        mean = past.mean.at(known.times(start, ahead=lead))
        anomaly = known.frames(trajectory, start)[:, -1:] - mean[:, :1]
        return (mean[:, 1:] + factors.float().reshape(*factors.shape, *([1] * (mean.ndim - 2))) * anomaly)[None]

    return forecast_of(known, make, lead=lead, members=1, attrs={"title": "damped persistence"})


def _kept_share(anomalies: Tensor, begins: Tensor, lead: int, area: Tensor) -> Tensor:
    """Regression of the anomaly on its past, (C, lead); pairs with a missing value are left out, a field that never varies keeps nothing."""
    over = [0, *range(2, anomalies.ndim)]
    first, kept = anomalies[:, :, begins], []
    for ahead in range(1, lead + 1):
        then = anomalies[:, :, begins + ahead]
        share = (first.isfinite() & then.isfinite()) * area
        product, square = ((torch.nan_to_num(p) * share).sum(over) for p in (first * then, first.square()))
        kept.append(product / square.clamp_min(1e-300))
    return torch.stack(kept, 1)


def dressed_persistence(train: xr.Dataset, ds: xr.Dataset, starts: Any = None, *, lead: int, members: int, rng: Rng) -> xr.Dataset:  # noqa: ANN401
    """The last known frame, moved by the hour-of-day means and by past increments of the anomaly.

    Args:
        train: Training part, from which means and increments are taken.
        ds: Data to start from.
        starts: See `persistence`.
        lead: Number of time steps.
        members: Number of members.
        rng: Chooses the training times; a start's members do not depend on the other starts.

    Returns:
        (sample?, init_time, member, lead_time, *space).

    Raises:
        DataError: If a start is not in the data, or the training part has no stretch of `lead` + 1 frames of which none is lost as a whole.
        GridMismatch: If the two parts are on different grids.
    """
    known = KnownFrames(ds, starts)
    past = TrainingFrames(train, known.spec)
    begins = past.stretches(check_lead(lead) + 1)
    anomalies = past.anomalies()
    rows = _whole_paths(anomalies, begins, lead)

    def make(trajectory: int, start: int) -> Tensor:
        last = known.frames(trajectory, start)[:, -1:]
        mean = past.mean.at(known.times(start, ahead=lead))
        centre = last + mean[:, 1:] - mean[:, :1]
        paths = []
        for row in drawn_rows(len(rows), members, known.rng(rng, trajectory, start)).tolist():
            b, first = rows[row]
            path = anomalies[b, :, first : first + lead + 1]
            paths.append(path[:, 1:] - path[:, :1])
        return centre + torch.stack(paths)

    return forecast_of(known, make, lead=lead, members=members, attrs={"title": "dressed persistence"})


def _whole_paths(anomalies: Tensor, begins: Any, lead: int) -> list[tuple[int, int]]:  # noqa: ANN401
    """Trajectory and first frame of the increments to draw from: a path with a frame that is lost as a whole is no member."""
    there = anomalies.flatten(3).isfinite().any(3).all(1)  # (B, T)
    rows = [(b, int(k)) for b in range(len(anomalies)) for k in begins if bool(there[b, int(k) : int(k) + lead + 1].all())]
    if not rows:
        raise DataError(f"dressed persistence: expected {lead + 1} training frames in a row with values, got none; give more data or a shorter lead")
    return rows


def drawn_rows(count: int, members: int, rng: Rng) -> Tensor:
    """`members` of `count` rows, none twice as long as there are enough, (members,) int64."""
    whole, rest = divmod(members, count)
    parts = [torch.arange(count)] * whole + [rng.permutation(count)[:rest]]
    return torch.cat(parts)
