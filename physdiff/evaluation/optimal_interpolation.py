r"""Baseline of inference: optimal interpolation, the exact Gaussian conditional with the training covariance.

With anomalies $a \sim N(0, C)$ and readings $y = H(\bar x + a) + \epsilon$, $\epsilon \sim N(0, s^2)$,

$$\hat a = C H^T (H C H^T + s^2 I)^{-1} (y - H\bar x), \qquad
  a^{(m)} = \hat a + a' - C H^T (H C H^T + s^2 I)^{-1}(H a' + \epsilon'), \quad a' \sim N(0, C),$$

the second being an exact draw from the posterior (Matheron's rule). From a few hundred frames C is noisy: a share of it is replaced by a
stationary form (the mean variance and the correlation as a function of distance), and far correlations are tapered to zero; share and length are
those under which frames left out of the covariance are most likely.
References: Gandin (1963); Gaspari and Cohn (1999), eq. 4.10, for the taper; Journel and Huijbregts (1978) for the draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import DataError, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset
from physdiff.data.timeline import as_times
from physdiff.diffusion.sample_covariance import gaspari_cohn
from physdiff.diffusion.taper_choice import choose_taper
from physdiff.evaluation.hour_mean import HourMean, TrainingFrames
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.grids.interpolate import interpolation
from physdiff.grids.latlon import LatLonGrid

__all__ = ["Analysis", "FieldCovariance", "distances", "expected_frame", "field_covariance", "optimal_interpolation"]

_MOST = 12000  # a covariance of 12000 entries is 1.2 GB in float64


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is inferred from readings.

    Args:
        mean: Exact posterior mean, dims (time, *space).
        members: Draws from the posterior, dims (member, time, *space).
    """

    mean: xr.Dataset
    members: xr.Dataset


@dataclass(frozen=True, eq=False)
class FieldCovariance:
    """A Gaussian law of one frame.

    Args:
        spec: Names, units, grid.
        mean: What is expected at a time of day.
        covariance: Of the anomalies, (C N, C N) float64, all points of a field after one another.
        root: A square root of it, R R^T = covariance.
    """

    spec: FieldSpec
    mean: HourMean
    covariance: Tensor
    root: Tensor


def field_covariance(train: xr.Dataset, *, shrink: float | None = None, localisation: float | None = None) -> FieldCovariance:
    """Mean by hour of the day and covariance of the anomalies of a training part.

    Args:
        train: Training part.
        shrink: Share that is replaced by the stationary form, in [0, 1]; by the likelihood of held-out frames if None (`choose_taper`).
        localisation: Length L of the taper, in degrees of latitude and longitude on the sphere, else in the grid's unit; the taper is
            Gaspari and Cohn's, close to exp(-d^2 / (2 L^2)) and zero beyond 3.7 L. Infinite: no taper. None: by the same likelihood.

    Raises:
        InputError: If shrink or localisation makes no sense, or the grid is too large for a dense matrix.
        DataError: If a value is missing in every frame, there are fewer than two frames, or all are the mean of their hour.
    """
    if shrink is not None and not 0 <= shrink <= 1:
        raise InputError(f"shrink: expected a share between 0 and 1, got {shrink}")
    if localisation is not None and localisation != math.inf:
        check_positive(localisation, "localisation")
    spec = spec_of(train, gaps=True)
    size = len(spec.names) * int(np.prod(spec.grid.shape))
    if size > _MOST:
        raise InputError(f"optimal interpolation: expected at most {_MOST} values per frame for a dense covariance, got {size}; thin the grid")
    past = TrainingFrames(train, spec)
    rows = past.anomalies().movedim(2, 1).flatten(0, 1).flatten(1).double()  # (frames, C N)
    if rows.shape[0] < 2 or bool(rows.isnan().all(0).any()):
        raise DataError("optimal interpolation: expected at least two training frames and a value at every point; select another variable or region")
    if not bool(torch.nan_to_num(rows).any()):
        raise DataError("optimal interpolation: expected frames beside the mean of their hour, got one for each hour of the day; give two days")
    there = rows.isfinite().double()
    rows = torch.nan_to_num(rows)
    covariance = (rows.T @ rows) / (there.T @ there).clamp_min(1)
    channels, far = len(spec.names), distances(spec.grid)
    if shrink is None or localisation is None:
        chosen = choose_taper(rows.reshape(-1, channels, 1, *spec.grid.shape), far)
        shrink, localisation = chosen.shrink if shrink is None else shrink, chosen.length if localisation is None else localisation
    blocks = covariance.unflatten(0, (channels, -1)).unflatten(2, (channels, -1))  # (C, N, C, N)
    blocks = (1 - shrink) * blocks + shrink * _stationary(blocks, far)
    blocks = blocks * gaspari_cohn(far / (localisation * math.sqrt(10 / 3)))[:, None, :]
    root = _root(blocks.flatten(2).flatten(0, 1))
    return FieldCovariance(spec, past.mean, root @ root.T, root)


def optimal_interpolation(
    field: FieldCovariance | xr.Dataset,
    points: Tensor,
    readings: Tensor,
    *,
    std: float | Sequence[float],
    time: Any = None,  # noqa: ANN401 - whatever a user has as a time
    members: int = 20,
    rng: Rng,
) -> Analysis:
    """Infer one frame from noisy readings at points.

    Args:
        field: Law of the field, or the training part (then with shrinkage and localisation by likelihood).
        points: (n, ndim), x, y, z order (longitude, latitude in degrees on the sphere).
        readings: (C, n) in physical units, or (n,) for one field; NaN where nothing was read.
        std: Standard deviation of the readings' noise, one for each field, or one for all.
        time: When the frame is; decides the hour-of-day mean.
        members: Number of draws.
        rng: Randomness of the draws.

    Raises:
        ShapeError: If readings and points do not fit.
        InputError: If a point lies outside the grid, or no reading is there.
    """
    law = field if isinstance(field, FieldCovariance) else field_covariance(field)
    spec = law.spec
    readings = torch.atleast_2d(torch.as_tensor(readings, dtype=torch.float64))
    points = torch.as_tensor(points, dtype=torch.float64)
    if points.ndim != 2 or readings.shape != (len(spec.names), points.shape[0]):
        want = (len(spec.names), *points.shape[:1])
        raise ShapeError(f"readings: expected {want}, a reading of each field at each point, got {tuple(readings.shape)}")
    stamps = np.zeros(1) if time is None else as_times(time).reshape(1)
    mean = expected_frame(law, time)
    at, there = interpolation(spec.grid, points), readings.isfinite().flatten()
    if not bool(there.any()):
        raise InputError("readings: expected at least one, got none that is finite")

    def look(x: Tensor) -> Tensor:
        """(..., C, *S) -> (..., readings there are)."""
        return at(x).flatten(-2)[..., there]

    noise_std = _noise(std, readings)[there]
    size = law.covariance.shape[0]
    cross = look(law.covariance.reshape(size, *mean.shape))  # C H^T
    inner = look(cross.T.reshape(-1, *mean.shape)) + torch.diag(noise_std**2)
    factor = torch.linalg.cholesky((inner + inner.T) / 2)

    def update(x: Tensor, departure: Tensor) -> Tensor:
        """Add C H^T (H C H^T + s^2)^-1 departure to x, for (m, C, *S) and (m, readings)."""
        return x + (cross @ torch.cholesky_solve(departure.T, factor)).T.reshape(-1, *mean.shape)

    y = readings.flatten()[there]
    prior = mean + (rng.child("prior").normal((members, law.root.shape[1]), like=mean) @ law.root.T).reshape(members, *mean.shape)
    noise = noise_std * rng.child("noise").normal((members, y.numel()), like=mean)
    drawn, best = update(prior, y + noise - look(prior)), update(mean[None], (y - look(mean))[None])
    means = to_dataset(best[0][:, None], spec, stamps if time is not None else None)
    return Analysis(means, to_dataset(drawn[:, :, None], spec, stamps if time is not None else None))


def _noise(std: float | Sequence[float], readings: Tensor) -> Tensor:
    """Standard deviation of every reading (C, n), flat."""
    each = torch.as_tensor(std, dtype=torch.float64).reshape(-1, 1)
    if each.shape[0] not in (1, readings.shape[0]):
        raise ShapeError(f"std: expected one, or one for each of {readings.shape[0]} fields, got {each.shape[0]}")
    for value in each.flatten().tolist():
        check_positive(value, "std")
    return each.expand(readings.shape).flatten()


def expected_frame(law: FieldCovariance, time: Any) -> Tensor:  # noqa: ANN401
    """Mean field at a time, (C, *S) float64."""
    if time is None and law.mean.table.shape[0] > 1:
        raise InputError("optimal interpolation: expected the time of the frame, since the mean depends on the hour, got none; pass time=")
    stamps = np.zeros(1) if time is None else as_times(time).reshape(1)
    return law.mean.at(stamps)[:, 0].double()


def _root(covariance: Tensor) -> Tensor:
    """A square root; negative eigenvalues, which the stationary form may bring in, count as zero."""
    lifted = covariance + 1e-9 * covariance.diagonal().mean() * torch.eye(covariance.shape[0], dtype=covariance.dtype)
    factor, failed = torch.linalg.cholesky_ex(lifted)
    if not bool(failed):
        return factor
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()


def distances(grid: Grid, points: Tensor | None = None) -> Tensor:
    """Distance between all pairs of points, (n, n) float64: in degrees of latitude and longitude on the sphere, else in the grid's unit.

    Periodic axes are closed: the shorter way round counts.

    Args:
        grid: The grid.
        points: (n, ndim), x, y, z order, in the units of the grid's axes; all points of the grid if None.
    """
    if points is None:
        places = [axis.flatten() for axis in torch.meshgrid(*grid.axes(), indexing="ij")]
    else:
        places = list(points.double().T.flip(0))
    squared = torch.zeros((), dtype=torch.float64)
    for place, closed, along in zip(places, grid.periodic, grid.axes(), strict=True):
        apart = (place[:, None] - place[None]).abs()
        if closed and along.numel() > 1:
            turn = 360.0 if isinstance(grid, LatLonGrid) else float((along[-1] - along[0]) * along.numel() / (along.numel() - 1))
            apart = torch.minimum(apart % turn, turn - apart % turn)
        squared = squared + apart**2
    return squared.sqrt()


def _stationary(blocks: Tensor, far: Tensor) -> Tensor:
    """The mean of each block (C, N, C, N) over all pairs at about the same distance, in rings one smallest spacing wide."""
    step = far[far > 0].min() if far.numel() > 1 else torch.ones(())
    ring = (far / step).round().long().flatten()
    count = torch.zeros(int(ring.max()) + 1, dtype=torch.float64).index_add(0, ring, torch.ones_like(far.flatten()))
    out = torch.empty_like(blocks)
    for i in range(blocks.shape[0]):
        for j in range(blocks.shape[2]):
            total = torch.zeros_like(count).index_add(0, ring, blocks[i, :, j].flatten())
            out[i, :, j] = (total / count.clamp_min(1))[ring].reshape(far.shape)
    return out
