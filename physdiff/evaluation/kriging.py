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

_GRID = 15


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
    """The variance and the length of largest likelihood: on a logarithmic grid of both, then on a finer one around its best."""
    spread = max(float(departures.square().mean()), std**2)
    reach = float(between.max())
    noise = std**2 * torch.eye(len(departures), dtype=torch.float64)

    def cost(variance: float, length: float) -> float:
        factor = torch.linalg.cholesky(variance * (torch.exp(-between / length) + 1) + noise)
        white = torch.linalg.solve_triangular(factor, departures[:, None], upper=False)
        return 2 * float(factor.diagonal().log().sum()) + float(white.square().sum())

    centre, half = (math.log(spread) - 1.0, math.log(reach) - 1.0), 3.5
    for _ in range(2):
        steps = torch.linspace(-half, half, _GRID, dtype=torch.float64).tolist()
        _, *best = min((cost(math.exp(centre[0] + a), math.exp(centre[1] + b)), centre[0] + a, centre[1] + b) for a in steps for b in steps)
        centre, half = (best[0], best[1]), 2 * half / (_GRID - 1)
    return math.exp(centre[0]), math.exp(centre[1])
