r"""Twin experiments: the model makes a truth, readings of it are made with noise, and an assimilation has to find it again.

The truth is known at every point and time, so that errors, spread and CRPS are, too: the test of a filter, of a network of sensors, of a number of
members, before any reading is real.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.convert import grid_of, to_dataset
from physdiff.data.leads import after
from physdiff.forecast.analysis import Analysis
from physdiff.forecast.assimilate import assimilate
from physdiff.forecast.forecast_models import ForecastModel
from physdiff.forecast.readings import Readings
from physdiff.inference.sensors import Sensors
from physdiff.scores.coverage import coverage, members_needed
from physdiff.scores.crps import crps

__all__ = ["assimilation_scores", "synthetic_readings", "twin_experiment"]

_WHEN = {"": "", "_forecast": ", before the analysis", "_free": ", without readings"}


def synthetic_readings(
    truth: Tensor,
    model: ForecastModel,
    points: Tensor | None,
    *,
    std: float | Sequence[float],
    every: int,
    start: Any,  # noqa: ANN401 - a numpy scalar of either kind
    rng: Rng,
) -> Readings:
    """Readings of a trajectory at every n-th frame, with independent normal noise.

    Args:
        truth: (C, T, *S), physical units; its first frame is one step after `start`.
        model: Names grid and time step.
        points: (n, ndim) places; None: every grid point.
        std: Standard deviation of the noise, one for all fields or one for each.
        every: Frames from one reading to the next.
        start: Time of the frame before the first.
        rng: Randomness of the noise.

    Raises:
        InputError: If a number makes no sense or there are no `every` frames.
    """
    frames = truth.shape[1]
    if not 1 <= every <= frames:
        raise InputError(f"synthetic readings: expected every from 1 to {frames} frames, got {every}")
    if points is None:
        points = torch.stack([c.double().flatten() for c in model.spec.grid.coordinates()], 1)
        points = torch.rad2deg(points) if "latitude" in model.spec.grid.dims else points
    sensors = Sensors(model.spec.with_frames(frames), points, frames=tuple(range(every - 1, frames, every)))
    clean = sensors(truth[None].double())[0]
    sigma = torch.as_tensor([std] if isinstance(std, int | float) else list(std), dtype=torch.float64)
    for each in sigma.tolist():
        check_positive(each, "synthetic readings std")
    noisy = clean + sigma.reshape(-1, 1, 1) * rng.normal(clean.shape, like=clean)
    times = after(start, np.arange(every, frames + 1, every), model.spec.dt)
    return Readings(points.repeat(noisy.shape[1], 1), noisy.flatten(1), np.repeat(times, len(points)))


def twin_experiment(
    model: ForecastModel,
    truth: Tensor,
    members: Tensor,
    *,
    analysis: Analysis,
    std: float | Sequence[float],
    rng: Rng,
    sensors: tuple[Tensor | None, int, int] = (None, 1, 40),
    out: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Make a truth and readings of it, and assimilate them.

    Args:
        model: Forecast model, of the truth, too.
        truth: Known frames of the truth (C, history, *S).
        members: Known frames of the ensemble to start from (N, C, history, *S).
        analysis: How readings change the ensemble.
        std: Standard deviation of the readings' noise.
        rng: Randomness.
        sensors: Places (n, ndim) or None for every grid point; frames from one reading to the next; number of readings in time.
        out: See `assimilate`.

    Returns:
        What `assimilate` returns, NAME_truth (time, *space), and the scores of `assimilation_scores`.

    Raises:
        ShapeError: If truth and members are not known frames of the model.
        InputError, DataError, CollapsedWeights: As `assimilate` says.
    """
    if members.shape[1:] != truth.shape:
        raise ShapeError(f"twin_experiment: expected members (N, {', '.join(map(str, truth.shape))}) as the truth, got {tuple(members.shape)}")
    points, every, count = sensors
    if every < 1 or count < 1:
        raise InputError(f"twin_experiment: expected readings at least every frame and once, got every {every} and {count} times")
    start: Any = np.float64(0.0) if model.spec.time_unit != "s" else np.datetime64("2000-01-01T00", "ns")
    with torch.no_grad():
        path = model.forecast(truth[None], start, steps=every * count, rng=rng.child("truth"))[0]
    read = synthetic_readings(path, model, points, std=std, every=every, start=start, rng=rng.child("readings"))
    result = assimilate(model, (members, start), read, analysis=analysis, std=std, rng=rng.child("assimilate"), out=out)
    known = to_dataset(path.float(), model.spec.with_frames(path.shape[1]), result["time"].values)
    return assimilation_scores(result, known)


def assimilation_scores(result: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """The result with the truth and, for every field and time, before and after the analysis: errors, spread, CRPS, coverage.

    Args:
        result: What `assimilate` returns.
        truth: The true fields at its times, on its grid.

    Returns:
        With NAME_truth, and by time ``rmse_NAME``, ``spread_NAME`` (root mean variance), ``crps_NAME`` (fair), ``coverage_NAME`` (of the central
        90 %, with 19 members or more), each area-weighted and with ``_forecast`` added before the analysis. NaN where the truth is missing.
    """
    aligned = truth.reindex(time=result["time"].values)
    for name in [str(n) for n in result.data_vars if f"{n}_forecast" in result.data_vars]:
        values = aligned[name].transpose("time", *[d for d in result[name].dims if d not in ("member", "time")])
        result[f"{name}_truth"] = xr.Variable(values.dims, values.values, dict(result[name].attrs))
        weights = _weights(result[name])
        exact = torch.from_numpy(np.array(values.values, dtype=np.float64))
        for tag in (t for t in ("", "_forecast", "_free") if f"{name}{t}" in result):
            found = torch.from_numpy(np.array(result[f"{name}{tag}"].values, dtype=np.float64))
            for key, value in _scores(found, exact, weights).items():
                unit = "1" if key == "coverage" else result[name].attrs.get("units", "1")
                told = f"{key} of {name}{_WHEN[tag]}"
                result[f"{key}_{name}{tag}"] = ("time", value.numpy(), {"long_name": told, "units": unit})
    return result


def _scores(members: Tensor, truth: Tensor, weights: Tensor) -> dict[str, Tensor]:
    spread = (members.var(0) * weights).flatten(1).sum(1).sqrt()
    error = ((members.mean(0) - truth) ** 2 * weights).flatten(1).sum(1).sqrt()
    found = {"rmse": error, "spread": spread, "crps": crps(members, truth, weights)}
    if len(members) >= members_needed(0.9):
        found["coverage"] = coverage(members, truth, weights, level=0.9)
    return found


def _weights(field: xr.DataArray) -> Tensor:
    """Areas of the cells over their sum, (*S)."""
    area = grid_of(field.to_dataset(name="field")).weights().double()
    return area / area.sum()
