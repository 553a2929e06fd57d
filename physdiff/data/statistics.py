"""Statistics of the training data, streamed: fit a transform on windows, mean and standard deviation of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError
from physdiff.data.windows import TrajectoryWindows
from physdiff.transforms.normalizer import Moments
from physdiff.transforms.transform import Sample, Transform

__all__ = ["fitted", "mean_std", "stream"]

T = TypeVar("T", bound=Transform)


def mean_std(batches: Iterable[Tensor], *, per: tuple[str, ...] = ("channel",)) -> tuple[Tensor, Tensor]:
    r"""Mean and standard deviation in one pass, NaN left out, float64.

    Two parts with counts $n_a, n_b$, means and sums of squares $Q$ merge as $Q = Q_a + Q_b + (m_b - m_a)^2 n_a n_b / n$
    (Chan, Golub and LeVeque, 1979).

    Args:
        batches: Tensors (B, C, T, *S).
        per: What has statistics of its own, a subset of channel, time, space.

    Raises:
        DataError: If an entry has no value in any batch.
    """
    moments = Moments(per)
    for batch in batches:
        moments.add(batch)
    if not bool((moments.count > 0).all()):
        raise DataError("statistics: expected a value for every entry, got some that are always missing; mask them or leave the variable out")
    return moments.mean, moments.std


def stream(windows: TrajectoryWindows, *, batch_size: int = 64, most: int = 4096) -> Iterator[Sample]:
    """Batches of windows in order; of more than `most` windows an evenly spaced part."""
    n = len(windows)
    index = np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(np.int64))
    for start in range(0, index.size, batch_size):
        items = [windows[int(i)] for i in index[start : start + batch_size]]
        cond = torch.stack([item["cond"] for item in items]) if windows.cond_spec is not None else None
        yield Sample(torch.stack([item["x"] for item in items]), cond)


def fitted(
    transform: T,
    source: xr.Dataset | TrajectoryWindows,
    *,
    history: int = 0,
    horizon: int = 1,
    extras: tuple[str, ...] = (),
    statics: tuple[str, ...] = (),
    most: int = 4096,
) -> T:
    """The transform with its statistics taken from training data.

    Args:
        transform: Its parts are fitted in order, each on the windows as the fitted ones before it leave them; one pass over the data per
            part.
        source: The windows, or a data set of which windows are made.
        history: Number of known frames of these windows (data sets only).
        horizon: Number of frames to come (data sets only).
        extras: Forcings of the condition (data sets only), as ``Anomaly(by="hour")`` needs.
        statics: Static fields of the condition (data sets only).
        most: Largest number of windows used; of more an evenly spaced part.

    Raises:
        DataError: If the source cannot be used.
    """
    windows = source
    if isinstance(windows, xr.Dataset):
        windows = TrajectoryWindows(windows, history=history, horizon=horizon, extras=extras, statics=statics)
    found = windows
    return cast(T, transform.fitted_from(lambda: stream(found, most=most), windows.spec, windows.cond_spec))
