r"""Baseline of inference without a learnt covariance: kriging with an exponential covariance fitted to the readings themselves.

The anomalies from the hour-of-day mean are taken as a constant, unknown with variance $\sigma^2$, plus a field of covariance
$\sigma^2 e^{-d/\ell}$; $\sigma$ and $\ell$ maximise the likelihood of the readings of this one frame,

$$-2 \log p(y) = \log\det K + r^T K^{-1} r + \text{const}, \qquad K = \sigma^2 (e^{-d/\ell} + 1) + s^2 I .$$

Reference: Cressie, Statistics for Spatial Data (1993), section 2.6.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.evaluation.optimal_interpolation import Analysis, FieldCovariance, distances, expected_frame, optimal_interpolation
from physdiff.grids.interpolate import interpolation

__all__ = ["kriging"]

_RANGES, _LEVELS = 24, 24


def kriging(
    field: FieldCovariance,
    points: Tensor,
    readings: Tensor,
    *,
    std: float,
    time: Any = None,  # noqa: ANN401 - whatever a user has as a time
    members: int = 20,
    rng: Rng,
) -> Analysis:
    """Infer one frame of one field from noisy readings at points; only the mean of `field` is used, not its covariance.

    Args:
        field: Law with one field, for its grid and hour-of-day mean.
        points: (n, ndim), x, y, z order.
        readings: (n,) in physical units; NaN where nothing was read.
        std: Standard deviation of the readings' noise.
        time: When the frame is.
        members: Number of draws.
        rng: Randomness of the draws.

    Raises:
        ShapeError: If readings and points do not fit.
        InputError: If there are several fields, or fewer than three readings.
    """
    if len(field.spec.names) != 1:
        raise InputError(f"kriging: expected one field, got {', '.join(field.spec.names)}; krige each alone")
    y, places = torch.as_tensor(readings, dtype=torch.float64).flatten(), torch.as_tensor(points, dtype=torch.float64)
    if places.ndim != 2 or y.shape != places.shape[:1]:
        raise ShapeError(f"kriging: expected as many readings as points, got {tuple(y.shape)} and {tuple(places.shape)}")
    there = y.isfinite()
    if int(there.sum()) < 3:
        raise InputError(f"kriging: expected at least three readings to fit a covariance, got {int(there.sum())}")
    at = interpolation(field.spec.grid, places[there])
    departures = y[there] - at(expected_frame(field, time)[0])
    variance, length = _fit(departures, distances(field.spec.grid, places[there]), std)
    covariance = variance * (torch.exp(-distances(field.spec.grid) / length) + 1)
    root = torch.linalg.cholesky(covariance + 1e-9 * variance * torch.eye(covariance.shape[0], dtype=covariance.dtype))
    return optimal_interpolation(replace(field, covariance=covariance, root=root), places, y, std=std, time=time, members=members, rng=rng)


def _fit(departures: Tensor, between: Tensor, std: float) -> tuple[float, float]:
    """The variance and the length of largest likelihood on a grid of both, logarithmic."""
    spread = max(float(departures.square().mean()), std**2)
    reach = float(between.max())
    lengths = torch.logspace(math.log10(reach / 100), math.log10(10 * reach), _RANGES, dtype=torch.float64)
    variances = torch.logspace(math.log10(spread) - 2, math.log10(spread) + 1, _LEVELS, dtype=torch.float64)
    noise = std**2 * torch.eye(len(departures), dtype=torch.float64)
    best = (math.inf, 0.0, 0.0)
    for length in lengths.tolist():
        shape = torch.exp(-between / length) + 1
        for variance in variances.tolist():
            factor = torch.linalg.cholesky(variance * shape + noise)
            white = torch.linalg.solve_triangular(factor, departures[:, None], upper=False)
            cost = 2 * float(factor.diagonal().log().sum()) + float(white.square().sum())
            best = min(best, (cost, variance, length))
    return best[1], best[2]
