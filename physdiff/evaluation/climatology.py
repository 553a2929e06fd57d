"""Baseline of what is usual: the training days at that hour as members; of simulations, training frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.data.leads import KnownFrames, check_lead, forecast_dataset, forecast_of
from physdiff.evaluation.hour_mean import TrainingFrames

__all__ = ["climatology"]

_MOST = 64


def climatology(
    train: xr.Dataset,
    ds: xr.Dataset,
    starts: Any = None,  # noqa: ANN401 - whatever a user has as times
    *,
    lead: int,
    members: int | None = None,
) -> xr.Dataset:
    """Members are the frames of the training part at the hour of the day that is forecast (at any time, if times are plain numbers).

    Member j follows the j-th day, so that it stays a trajectory within a day. Frames that lack a field altogether are left out.
    Where there are more frames than members, evenly spaced
    ones are taken.

    Args:
        train: Training part.
        ds: Data whose times (and samples) are forecast; its values are not used.
        starts: Times of the last known frames, as in ``forecast.init_time``; all times of `ds` if None.
        lead: Number of time steps.
        members: Number of members; as many as there are training frames at every hour if None, at most 64.

    Returns:
        (sample?, init_time, member, lead_time, *space).

    Raises:
        DataError: If a start is not in the data.
        InputError: If there are fewer training frames than members.
        GridMismatch: If the two parts are on different grids.
    """
    known = KnownFrames(ds, starts)
    past = TrainingFrames(train, known.spec)
    check_lead(lead)
    slots = past.mean.slots(past.times)
    frames = past.frames.movedim(2, 1)  # (B, T, C, *S)
    pools = [frames[:, torch.from_numpy(np.flatnonzero(slots == k))].movedim(1, 0).flatten(0, 1) for k in range(past.mean.table.shape[0])]
    pools = [p[p.flatten(2).isfinite().any(2).all(1)] for p in pools]  # a lost frame is no member
    have = min((p.shape[0] for p in pools if p.shape[0]), default=0)
    count = min(have, _MOST) if members is None else members
    if not 1 <= count <= have:
        raise InputError(f"climatology: expected 1 to {have} members (training frames at each hour of the day), got {count}")
    table = [p[np.linspace(0, p.shape[0] - 1, count).round().astype(np.int64)] if p.shape[0] else p for p in pools]
    attrs = {"title": "climatology"}
    if len(table) == 1:
        # the same frames for every start and lead: shown again and again, not copied
        shape = (*(() if known.samples is None else (known.trajectories,)), len(known), count, lead, *known.spec.grid.shape)
        fields = {name: np.broadcast_to(table[0][:, c, None].numpy(), shape) for c, name in enumerate(known.spec.names)}
        return forecast_dataset(fields, known.spec, known.init_times, samples=known.samples, attrs=attrs)

    def make(trajectory: int, start: int) -> Tensor:
        wanted = past.mean.slots(known.times(start, ahead=lead)[known.history :])
        if any(not table[k].shape[0] for k in wanted):
            raise InputError("climatology: expected training frames at every hour that is forecast, got none at some; use a longer training part")
        return torch.stack([table[k] for k in wanted], dim=2)

    return forecast_of(known, make, lead=lead, members=count, attrs=attrs)
