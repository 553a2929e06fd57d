r"""The residual of advection along trajectories, for frames that lie far apart.

$$r = \frac{q(x, t + \Delta t) - q(x_d, t)}{\Delta t},$$

with $x_d$ the place from which the air at x came, by the mean wind of the two frames. An Eulerian residual takes the difference of two
frames at one point for a derivative, which means nothing where the flow crosses several cells between them (60 m/s cross eight cells of
1.5 degrees in six hours); this one is of second order in time however far the air has come. What it leaves is sources, diffusion, motion
out of the surface, and the error of interpolation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.grid import Grid
from physdiff.grids.resample import Resampling
from physdiff.grids.trajectory import departure_points, gridded_wind
from physdiff.operators.operators import Vector

__all__ = ["trajectory_residual"]


def trajectory_residual(q: Tensor, wind: Vector, grid: Grid, *, dt: float, cubic: bool = True, iterations: int = 2) -> Tensor:
    """What is left of dq/dt = 0 along the trajectories that end at each point in each frame but the first.

    Args:
        q: Frames of a scalar (B, T, *S).
        wind: Components x, y, z (east, north) in the grid's length per time, each (B, T, *S).
        grid: The grid.
        dt: Time between frames.
        cubic: Cubic interpolation of tracer and wind instead of linear.
        iterations: Of the middle of the trajectory.

    Returns:
        (B, T - 1, *S) in units of q per time; NaN where the air came from outside an open grid.

    Raises:
        ShapeError: If there are fewer than two frames, or the wind has another shape than the tracer.
        InputError: If dt is not positive.
    """
    if not dt > 0:
        raise InputError(f"trajectory_residual: expected dt > 0 (time between frames), got {dt!r}")
    if q.ndim != grid.ndim + 2 or tuple(q.shape[2:]) != grid.shape or q.shape[1] < 2:
        sizes = ", ".join(map(str, grid.shape))
        raise ShapeError(f"trajectory_residual: expected (batch, time, {sizes}) with two or more frames, got {tuple(q.shape)}")
    if len(wind) != grid.ndim or any(v.shape != q.shape for v in wind):
        raise ShapeError(f"trajectory_residual: expected {grid.ndim} components of shape {tuple(q.shape)}, got {[tuple(v.shape) for v in wind]}")
    middle = tuple(((v[:, 1:] + v[:, :-1]) / 2).flatten(0, 1) for v in wind)
    before, after = q[:, :-1].flatten(0, 1), q[:, 1:].flatten(0, 1)
    points = departure_points(grid, gridded_wind(grid, middle, cubic=cubic), dt, like=before, iterations=iterations)
    there = Resampling(grid, points, cubic=cubic)
    left = (after - there(before)) / dt
    left = torch.where(there.inside.expand_as(left), left, torch.full_like(left, float("nan")))
    return left.reshape(q.shape[0], q.shape[1] - 1, *grid.shape)
