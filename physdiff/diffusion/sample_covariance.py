r"""A covariance from samples that are too few for it: localised, and shrunk to a stationary form.

$$ C = (1 - \epsilon)\, \hat C \circ \rho + \epsilon\, s s^\top \circ e^{-d/\ell} $$

With N samples of dimension far above N the sample covariance $\hat C$ has rank N - 1 at most, and noise of size $1/\sqrt N$ between points
that have nothing to do with each other. The taper $\rho(d)$, a correlation function of compact support, removes that noise; the stationary
form, with the samples' own standard deviations s and correlation $e^{-d/\ell}$, gives every direction some variance, small scales included.
Both keep C positive semidefinite (Schur's product theorem). "Shrunk by 10 % and localised at 4 degrees" is `shrink=0.1, length=4.0`:
$\rho$ is the function of Gaspari and Cohn with half support $c = \ell_\rho\sqrt{10/3}$, which falls like $e^{-d^2/2\ell_\rho^2}$ and is zero from
$2c$ on (3.65 lengths), and $\ell = \ell_\rho$ unless given.

References: Gaspari and Cohn, Construction of correlation functions in two and three dimensions, 1999, equation 4.10; Hamill, Whitaker and
Snyder, Distance-dependent filtering of background error covariance estimates in an ensemble Kalman filter, 2001; Ledoit and Wolf, A
well-conditioned estimator for large-dimensional covariance matrices, 2004.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_finite, check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.diffusion.covariance import LowRankCovariance, dense_covariance
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid
from physdiff.grids.points import PointGrid

__all__ = ["gaspari_cohn", "pairwise_distance", "tapered", "tapered_covariance"]

# A dense matrix of this size takes 800 MB in float64, and its eigenvectors as much again.
_MOST_ENTRIES = 10_000


def tapered_covariance(
    samples: Tensor,
    grid_distance: Tensor,
    shrink: float = 0.1,
    *,
    length: float,
    stationary_length: float | None = None,
) -> LowRankCovariance:
    """The covariance of the module's formula, ready to be the base of a prior or the C of a guided sampler.

    Args:
        samples: Anomalies (N, C, T, *S), N >= 2; their mean is subtracted, the divisor is N - 1. Between fields and frames of one place the
            taper is one and the stationary form keeps the samples' correlation.
        grid_distance: Distance between the P points of S, (P, P), as `pairwise_distance` gives it.
        shrink: Share of the stationary form, in [0, 1].
        length: Length of the taper, in the unit of the distances; infinite: no taper. `choose_taper` finds it, and the share.
        stationary_length: Decay length of the stationary form; if None `length`, or the largest distance without a taper.

    Returns:
        Covariance over (C, T, *S), with all its eigenvectors, dtype of `samples`.

    Raises:
        InputError: If there are too few samples, values are missing, a number makes no sense, or the matrix would be too large.
        ShapeError: If distances and samples do not fit.
    """
    points = grid_distance.shape[0]
    flat = check_finite(samples, "tapered_covariance", "fill missing values first").double().flatten(1)
    count, size = flat.shape
    if grid_distance.shape != (points, points) or size % points or samples.shape[3:].numel() != points:
        shapes = f"{tuple(samples.shape)} and {tuple(grid_distance.shape)}"
        raise ShapeError(f"tapered_covariance: expected samples (N, C, T, *S) and a distance for each pair of S, got {shapes}")
    if count < 2 or not 0 <= shrink <= 1:
        raise InputError(f"tapered_covariance: expected two or more samples and 0 <= shrink <= 1, got {count} and {shrink}")
    if size > _MOST_ENTRIES:
        raise InputError(f"tapered_covariance: expected at most {_MOST_ENTRIES} entries, got {size}; use a low-rank covariance or coarser fields")
    if length != math.inf:
        check_positive(length, "tapered_covariance length")
    distance = grid_distance.double()
    usual = length if length != math.inf else max(float(distance.max()), torch.finfo(torch.float64).tiny)
    decay = check_positive(usual if stationary_length is None else stationary_length, "tapered_covariance stationary_length")
    flat = flat - flat.mean(0)
    dense = dense_covariance(tapered(flat.T @ flat / (count - 1), distance, shrink, length=length, decay=decay))
    return LowRankCovariance(dense.eigenvectors.to(samples.dtype), dense.eigenvalues.to(samples.dtype))


def tapered(sample: Tensor, distance: Tensor, shrink: float | Tensor, *, length: float, decay: float) -> Tensor:
    """The module's formula for a sample covariance (blocks P, blocks P) and distances (P, P), float64; several shares (k, 1, 1) give (k, ...)."""
    blocks, std = len(sample) // len(distance), sample.diagonal().sqrt()
    taper = gaspari_cohn(distance / (length * math.sqrt(10 / 3)))
    across = _block_correlation(sample, std, blocks)
    stationary = std[:, None] * std * torch.kron(across, torch.exp(-distance / decay))
    return (1 - shrink) * (sample * taper.repeat(blocks, blocks)) + shrink * stationary


def _block_correlation(sample: Tensor, std: Tensor, blocks: int) -> Tensor:
    """Correlation between fields and frames at one place, averaged over places, (blocks, blocks)."""
    points = len(std) // blocks
    safe = torch.where(std > 0, std, 1.0)
    correlation = (sample / safe[:, None] / safe).reshape(blocks, points, blocks, points)
    mean = correlation.diagonal(dim1=1, dim2=3).mean(-1)
    return torch.where(torch.eye(blocks, dtype=torch.bool, device=mean.device), 1.0, mean)


def gaspari_cohn(ratio: Tensor) -> Tensor:
    """The fifth-order piecewise rational correlation function of distance / half support: 1 at 0, zero from 2 on."""
    r = ratio.abs()
    inner = 1 - 5 / 3 * r**2 + 5 / 8 * r**3 + r**4 / 2 - r**5 / 4
    q = r.clamp(1, 2)
    outer = 4 - 5 * q + 5 / 3 * q**2 + 5 / 8 * q**3 - q**4 / 2 + q**5 / 12 - 2 / (3 * q)
    return torch.where(r <= 1, inner, outer.clamp_min(0))


def pairwise_distance(grid: Grid) -> Tensor:
    """Distance between every two points of a grid in storage order, (P, P), float64.

    Degrees of great circle on a LatLonGrid, `length_unit` on a CartesianGrid (the shorter way round along periodic axes) and a PointGrid.

    Raises:
        InputError: If the grid is of no such kind.
    """
    if isinstance(grid, LatLonGrid):
        longitude, latitude = (c.flatten() for c in grid.coordinates())
        unit = torch.stack([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()], 1)
        # the chord keeps its digits at small distances, where the arc cosine loses them
        chord = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.rad2deg(2 * torch.asin((chord / 2).clamp_max(1)))
    if isinstance(grid, CartesianGrid):
        square = torch.zeros((), dtype=torch.float64)
        for c, extent, closed in zip(grid.coordinates(), reversed(grid.extent), reversed(grid.periodic), strict=True):
            apart = (c.flatten()[:, None] - c.flatten()).abs()
            square = square + (torch.minimum(apart, extent - apart) if closed else apart) ** 2
        return square.sqrt()
    if isinstance(grid, PointGrid):
        return torch.cdist(grid.points, grid.points, compute_mode="donot_use_mm_for_euclid_dist")
    raise InputError(f"pairwise_distance: expected a LatLonGrid, a CartesianGrid or a PointGrid, got {type(grid).__name__}")
