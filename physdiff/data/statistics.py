"""Statistics of the training data, streamed: fit a transform on windows, mean and standard deviation of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import Dataset

from physdiff.base.errors import DataError
from physdiff.data.windows import TrajectoryWindows
from physdiff.transforms.anomaly import Anomaly
from physdiff.transforms.compose import Compose
from physdiff.transforms.normalizer import Moments, Normalizer
from physdiff.transforms.transform import Sample, Transform
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["fitted", "mean_std", "stream"]


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


def stream(windows: Dataset[dict[str, Any]], *, batch_size: int = 64, most: int | None = None) -> Iterator[Sample]:
    """Batches of windows in order; of more than `most` windows an evenly spaced part."""
    n = len(windows)  # type: ignore[arg-type]
    index = np.arange(n) if most is None or n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(np.int64))
    for start in range(0, index.size, batch_size):
        items = [windows[int(i)] for i in index[start : start + batch_size]]
        cond = torch.stack([item["cond"] for item in items]) if "cond" in items[0] else None
        yield Sample(torch.stack([item["x"] for item in items]), cond)


def fitted(
    transform: Transform,
    source: xr.Dataset | TrajectoryWindows,
    *,
    history: int = 0,
    horizon: int = 1,
    extras: tuple[str, ...] = (),
    statics: tuple[str, ...] = (),
    most: int = 4096,
) -> Transform:
    """The transform with its statistics taken from training data.

    A bare WaveletTransform is put between two normalisers: one per field before it, one per sub-band after it, since sub-bands differ in
    variance by orders of magnitude.

    Args:
        transform: Its parts are fitted in order, each on the windows as the fitted ones before it leave them; one pass over the data per
            part.
        source: The windows, or a data set of which windows are made.
        history: Number of known frames of these windows (data sets only).
        horizon: Number of frames to come (data sets only).
        extras: Forcings of the condition (data sets only); hour_sin and hour_cos if an ``Anomaly(by="hour")`` needs them.
        statics: Static fields of the condition (data sets only).
        most: Largest number of windows used; of more an evenly spaced part.

    Raises:
        DataError: If the source cannot be used.
    """
    if isinstance(transform, WaveletTransform):
        transform = Compose((Normalizer(("channel",)), transform, Normalizer(("channel",), centre=False)))
    parts = list(transform) if isinstance(transform, Compose) else [transform]
    if not extras and any(isinstance(p, Anomaly) and p.by == "hour" for p in parts):
        extras = ("hour_sin", "hour_cos")
    windows = source
    if isinstance(windows, xr.Dataset):
        windows = TrajectoryWindows(windows, history=history, horizon=horizon, extras=extras, statics=statics)
    found = windows
    return transform.fitted_from(lambda: stream(found, most=most), windows.spec, windows.cond_spec)
