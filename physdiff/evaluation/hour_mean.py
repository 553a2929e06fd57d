"""What is expected at a time: the mean of the training frames at that time of day, or of all where times are plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError
from physdiff.data.convert import to_tensor
from physdiff.data.statistics import fitted
from physdiff.data.timeline import as_times, is_calendar, time_axis, window_starts
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.anomaly import Anomaly

__all__ = ["HourMean", "TrainingFrames"]


@dataclass(frozen=True, eq=False)
class HourMean:
    """Mean fields by slot of the day.

    Args:
        table: (slots, C, *S), physical units; one slot where times are plain numbers or the step does not divide a day.
    """

    table: Tensor

    def slots(self, times: np.ndarray) -> np.ndarray:
        """Slot of each time, int64; slot k begins at k/slots of the day, as in `Anomaly`, also where the first frame is at 00:30."""
        count = self.table.shape[0]
        if count == 1:
            return np.zeros(times.shape, dtype=np.int64)
        share = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "D")
        # the hundredth keeps rounding of the share from the slot before
        return np.floor(share * count + 0.01).astype(np.int64) % count

    def at(self, times: np.ndarray) -> Tensor:
        """Mean fields at the times (T,): (C, T, *S)."""
        return self.table[torch.from_numpy(self.slots(times))].movedim(0, 1)


class TrainingFrames:
    """The training part in memory: frames, times, what is expected at each time.

    Args:
        train: Data in house conventions.
        spec: What the fields must be (names, units, grid, time step).

    Raises:
        DataError: If the training part has another time step, or calendar times where the other has numbers.
        GridMismatch: If it is on another grid.
    """

    def __init__(self, train: xr.Dataset, spec: FieldSpec) -> None:
        self.spec = spec
        self.frames = to_tensor(train, spec)
        """(B, C, T, *S) float32, NaN where missing; B runs over the trajectories."""
        self.times = as_times(train["time"].values) if "time" in train.coords else np.arange(train.sizes["time"], dtype=np.float64)
        self._axis = time_axis(self.times, "time of the training part")
        calendar = is_calendar(self.times)
        if abs(self._axis.dt - spec.dt) > 1e-6 * spec.dt or (calendar and spec.time_unit != "s"):
            raise DataError(f"training part: expected a time step of {spec.dt:g} {spec.time_unit}, got {self._axis.dt:g}; subsample it in time")
        per_day = 86400.0 / spec.dt
        daily = calendar and per_day > 1.5 and abs(per_day - round(per_day)) < 1e-6
        extras = ("hour_sin", "hour_cos") if daily else ()
        fields = train[list(spec.names)]
        anomaly = fitted(Anomaly(by="hour" if daily else "all"), fields, horizon=1, extras=extras, most=self.times.size * self.frames.shape[0])
        assert isinstance(anomaly, Anomaly) and anomaly.climatology is not None
        self.mean = HourMean(anomaly.climatology)

    def anomalies(self) -> Tensor:
        """Frames minus what is expected, (B, C, T, *S), NaN where missing."""
        return self.frames - self.mean.at(self.times)

    def stretches(self, frames: int) -> np.ndarray:
        """First index of every stretch of `frames` frames without a gap.

        Raises:
            DataError: If there is none.
        """
        starts = window_starts(self._axis, self.times.size, frames=frames)
        if not starts.size:
            have = self.times.size
            raise DataError(f"training part: expected a stretch of {frames} frames without gaps, got none in {have} frames; ask for a shorter lead")
        return starts
