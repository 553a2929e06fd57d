"""Interpolation by other libraries, for `reanalysis_posterior.py`: scikit-learn's Gaussian process (kriging) and scipy's cubic interpolation."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid

__all__ = ["cubic", "gaussian_process", "positions"]


def positions(grid: Grid, points: Tensor) -> np.ndarray:
    """Coordinates in which straight distances are those of the grid: on the sphere in degrees of arc, periodic axes wound on circles."""
    columns: list[Tensor] = []
    if isinstance(grid, LatLonGrid):
        longitude, latitude = torch.deg2rad(points.double()).T
        columns = [latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()]
        return np.stack([math.degrees(1.0) * c.numpy() for c in columns], 1)
    assert isinstance(grid, CartesianGrid)
    for x, extent, closed in zip(points.double().T, reversed(grid.extent), reversed(grid.periodic), strict=True):
        turn = 2 * math.pi / extent
        columns += [(x * turn).cos() / turn, (x * turn).sin() / turn] if closed else [x]
    return np.stack([c.numpy() for c in columns], 1)


def _grid_points(grid: Grid) -> Tensor:
    axes = torch.meshgrid(*grid.axes(), indexing="ij")
    return torch.stack([axis.flatten() for axis in reversed(axes)], 1)


def gaussian_process(grid: Grid, points: Tensor, readings: Tensor, *, std: float, members: int, rng: Rng) -> Tensor:
    """Draws (members, *S) of the kriged field of one frame.

    An unknown constant plus a Matern field of order 1/2 or 3/2, whichever has the larger likelihood; variances and length by likelihood too.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    at, y = positions(grid, points), readings.double().numpy()
    reach, spread = float(np.ptp(at, axis=0).max()), max(float(y.std()), std)
    fitted = []
    for order in (0.5, 1.5):
        field = ConstantKernel(spread**2, (1e-2 * std**2, 1e3 * spread**2)) * Matern(reach / 5, (reach / 200, 20 * reach), nu=order)
        kernel = ConstantKernel(spread**2, (1e-4 * std**2, 1e3 * spread**2)) + field
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bound reached: a field without a constant, or the other way round
            fitted.append(GaussianProcessRegressor(kernel, alpha=std**2, n_restarts_optimizer=2, random_state=0).fit(at, y))
    best = max(fitted, key=lambda model: model.log_marginal_likelihood_value_)
    mean, covariance = best.predict(positions(grid, _grid_points(grid)), return_cov=True)
    lifted = torch.from_numpy(covariance) + 1e-6 * std**2 * torch.eye(len(mean), dtype=torch.float64)
    root = torch.linalg.cholesky(lifted)
    noise = rng.normal((members, len(mean)), like=root)
    return (torch.from_numpy(mean) + noise @ root.T).reshape(members, *grid.shape)


def cubic(grid: Grid, points: Tensor, readings: Tensor) -> Tensor:
    """The field (*S): cubic on triangles inside the hull (Clough and Tocher), the nearest reading outside; periodic axes repeated."""
    from scipy.interpolate import CubicSpline, griddata

    at, y, wanted = points.double().numpy(), readings.double().numpy(), _grid_points(grid).numpy()
    if isinstance(grid, CartesianGrid):
        for axis, (extent, closed) in enumerate(zip(reversed(grid.extent), reversed(grid.periodic), strict=True)):
            if closed:
                step = np.eye(at.shape[1])[axis] * extent
                at, y = np.concatenate([at - step, at, at + step]), np.tile(y, 3)
    if at.shape[1] == 1:
        order = np.argsort(at[:, 0])
        return torch.from_numpy(CubicSpline(at[order, 0], y[order])(wanted[:, 0])).reshape(grid.shape)
    inside, near = griddata(at, y, wanted, method="cubic"), griddata(at, y, wanted, method="nearest")
    return torch.from_numpy(np.where(np.isnan(inside), near, inside)).reshape(grid.shape)
