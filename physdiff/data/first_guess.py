"""Linear first guesses for training windows, each from a fit that has not seen the window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from physdiff.base.errors import DataError
from physdiff.data.statistics import stream
from physdiff.data.windows import TrajectoryWindows
from physdiff.transforms.anomaly import Anomaly
from physdiff.transforms.linear_forecast import Guess, LinearFit, fit_linear_forecast
from physdiff.transforms.transform import Sample
from physdiff.transforms.zonal_forecast import fit_zonal_forecast

__all__ = ["GuessedWindows", "linear_first_guess", "zonal_first_guess"]

_ENTRIES = 2**28  # 1 GiB of float32: more windows are thinned for the fit


def linear_first_guess(windows: TrajectoryWindows, anomaly: Anomaly | None, *, rank: int | None = None, folds: int = 5) -> LinearFit:
    """Fit the linear forecast to the anomalies of training windows; see `fit_linear_forecast`.

    Args:
        windows: Training windows with history.
        anomaly: What is removed first, fitted; None: nothing.
        rank: Number of patterns; chosen by cross-validation if None.
        folds: Contiguous blocks of windows for cross-validation.

    Raises:
        DataError: If the windows have no history or there are too few.
    """
    if windows.history < 1:
        raise DataError("linear first guess: expected windows with known frames, got history = 0")
    parts = [_anomalies(sample, anomaly) for sample in stream(_thinned(windows))]
    return fit_linear_forecast(torch.cat(parts), windows.history, rank=rank, folds=folds, weights=windows.spec.grid.weights())


def zonal_first_guess(windows: TrajectoryWindows, anomaly: Anomaly | None, *, folds: int = 5) -> LinearFit:
    """Fit the zonal forecast to the anomalies of training windows; see `fit_zonal_forecast`.

    Args:
        windows: Training windows with history, on a grid whose last axis is periodic.
        anomaly: What is removed first, fitted; None: nothing.
        folds: Contiguous blocks of windows for cross-validation.

    Raises:
        DataError: If the windows have no history, there are too few, or the last axis is not periodic.
    """
    if windows.history < 1 or not windows.spec.grid.periodic[-1]:
        axis = windows.spec.grid.dims[-1]
        got = f"{windows.history} known frames, {axis} closed: {windows.spec.grid.periodic[-1]}"
        raise DataError(f"zonal first guess: expected windows with known frames and a periodic last axis, got {got}; take linear")
    parts = [_anomalies(sample, anomaly) for sample in stream(_thinned(windows))]
    return fit_zonal_forecast(torch.cat(parts), windows.history, folds=folds, weights=windows.spec.grid.weights())


def _thinned(windows: TrajectoryWindows) -> Dataset[dict[str, Any]]:
    every = max(1, -(-len(windows) * windows[0]["x"].numel() // _ENTRIES))
    return torch.utils.data.Subset(windows, range(0, len(windows), every))


def _anomalies(sample: Sample, anomaly: Anomaly | None) -> Tensor:
    x = sample.x if anomaly is None else sample.x - anomaly.mean_at(sample.cond, sample.x)
    return torch.nan_to_num(x)


class GuessedWindows(Dataset[dict[str, Any]]):
    """Training windows with ``guess``: (C, T, *S), zero in the known frames, by the fold's linear forecast.

    Args:
        windows: Training windows with history.
        anomaly: As given to `linear_first_guess`.
        fit: Its result for these windows.
    """

    def __init__(self, windows: TrajectoryWindows, anomaly: Anomaly | None, fit: LinearFit) -> None:
        self.windows, self.anomaly, self.fit = windows, anomaly, fit
        self.spec, self.cond_spec, self.history, self.horizon = windows.spec, windows.cond_spec, windows.history, windows.horizon

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.windows)

    def _model(self, index: int) -> Guess:
        position = index * len(self.fit.fold_of) // len(self.windows)
        return self.fit.folds[int(self.fit.fold_of[position])]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item of the windows with its guess."""
        item = self.windows[index]
        cond = item["cond"][None]
        values = cond[:, : len(self.spec.names)]
        known = values if self.anomaly is None else values - self.anomaly.mean_at(cond, values)
        ahead = self._model(item["index"])(known[:, :, : self.history])
        item["guess"] = torch.cat([torch.zeros_like(known[:, :, : self.history]), ahead], dim=2)[0]
        return item
