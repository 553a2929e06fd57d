r"""An operator between values at any points: averages onto a regular grid, Fourier layers there, averages back to any places.

$$ (B, C, N) \to \text{channels at points} \to \text{grid} \xrightarrow{\text{FNO}} \text{grid} \to \text{places} \to (B, out, M). $$

Neither the number nor the order of the points is part of the weights: what was trained on one cloud runs on another, and answers anywhere. Where
no point is within the radius the nearest one counts. A value that is linear in the cells of the grid is what it can say of a place.

Reference: Li et al. (2023), arXiv 2309.00583 (GINO).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import ShapeError
from physdiff.base.saved import Saved
from physdiff.networks.fno import FNO
from physdiff.networks.neighbours import Neighbours, PointAverage, neighbours
from physdiff.networks.point_chain import PointMLP

__all__ = ["PointOperator", "grid_points"]


class PointOperator(Saved, nn.Module):
    """Values (B, C, N) at points of the unit box -> (B, out, M) at places.

    Args:
        in_channels: Channels C of the values.
        out_channels: Channels of the result.
        shape: Points of the grid inside, 1 to 3 axes.
        periodic: Whether each axis is a circle: one answer for all, or one per axis.
        width: Channels inside.
        modes: Wavenumbers of the Fourier layers.
        layers: Number of Fourier layers.
        reach: Radius of the averages, in cells of the grid.

    Raises:
        InputError: If an argument makes no sense.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        shape: tuple[int, ...] = (32, 32),
        *,
        periodic: bool | tuple[bool, ...] = False,
        width: int = 32,
        modes: int = 8,
        layers: int = 4,
        reach: float = 1.5,
    ) -> None:
        super().__init__()
        for value, name in ((in_channels, "in_channels"), (out_channels, "out_channels"), (width, "width"), *((n, "shape") for n in shape)):
            check_positive(value, f"PointOperator {name}")
        self.in_channels, self.shape, self.periodic = in_channels, tuple(shape), per_axis(periodic, len(shape), "PointOperator periodic")
        self.radius = check_positive(reach, "PointOperator reach") / min(shape)
        d = len(shape)
        self.lift, self.project = PointMLP(in_channels + d, 2 * width, width), PointMLP(width, 2 * width, out_channels)
        self.enter, self.leave = PointAverage(width, d), PointAverage(width, d)
        self.inner = FNO(width, width, ndim=d, periodic=self.periodic, width=width, modes=modes, layers=layers).at(self.shape)

    def forward(
        self, x: Tensor, points: Tensor, places: Tensor | None = None, *, near: tuple[Neighbours, Neighbours] | None = None
    ) -> Tensor:
        """Apply the operator.

        Args:
            x: Values (B, C, N).
            points: Where they are, (N, d), in shares of the box.
            places: Where the result is wanted, (M, d); None: at the points.
            near: ``self.near(points)`` and ``self.near(places, out=True)`` if they are known already.

        Returns:
            (B, out, M).

        Raises:
            ShapeError: If a shape does not fit.
        """
        if x.ndim != 3 or x.shape[1:] != (self.in_channels, len(points)) or points.shape[1] != len(self.shape):
            wanted = f"values (B, {self.in_channels}, N) at points (N, {len(self.shape)})"
            raise ShapeError(f"PointOperator: expected {wanted}, got {tuple(x.shape)} at {tuple(points.shape)}")
        here = points.to(x)
        there = here if places is None else places.to(x)
        v = self.lift(torch.cat([x.movedim(1, -1), here.expand(x.shape[0], *here.shape)], -1))
        way_in, way_out = (self.near(here), self.near(there, out=True)) if near is None else near
        grid = self.enter(v, way_in).movedim(-1, 1).reshape(x.shape[0], -1, *self.shape)
        grid = grid + self.inner(grid)
        out = self.leave(grid.flatten(2).movedim(1, -1), way_out)
        result: Tensor = self.project(out)
        return result.movedim(-1, 1).contiguous()

    def near(self, points: Tensor, *, out: bool = False) -> Neighbours:
        """Which points are near the cells of the grid, or which cells near the points: the same for all calls with these points."""
        cells = grid_points(self.shape, self.periodic, like=points)
        pair = (cells, points) if out else (points, cells)
        return neighbours(*pair, radius=self.radius, periodic=self.periodic)


def grid_points(shape: tuple[int, ...], periodic: tuple[bool, ...], *, like: Tensor) -> Tensor:
    """Places (prod(shape), d) of the cells in shares of the box: i/n along circles, (i + 1/2)/n between ends."""
    axes = [(torch.arange(n).to(like) + (0 if closed else 0.5)) / n for n, closed in zip(shape, periodic, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(math.prod(shape), len(shape))
