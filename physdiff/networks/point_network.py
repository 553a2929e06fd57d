r"""`PointOperator` as a network of fields: values at scattered points, or on a grid, in place of an array of neighbours.

A network of fields is given an array. On scattered points its one axis is a list whose order means nothing; this one is told where they are (`on`)
and averages onto a grid of its own, on which Fourier layers work. On a grid its points are the cells.

Reference: Li et al. (2023), arXiv 2309.00583 (GINO).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import per_axis
from physdiff.base.errors import NotFitted, ShapeError
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.neighbours import Neighbours
from physdiff.networks.point_operator import PointOperator, grid_points

__all__ = ["PointNetwork"]


class PointNetwork(FieldNetwork):
    """Values (B, C, N) at points, or (B, C, *axes) on a grid -> the same with other channels.

    Args:
        in_channels: Channels C of the values.
        out_channels: Channels of the result.
        ndim: Number of axes of the array: 1 for scattered points.
        periodic: Whether each axis of a grid is a circle: one answer for all, or one per axis. Scattered points lie between ends.
        grid: Cells of the grid inside along each axis in space.
        width: Channels inside.
        modes: Wavenumbers of its Fourier layers.
        points: Where the values are, (N, d) in shares of the box; None: not known yet, `on` and `at` give a network with weights.

    Raises:
        InputError: If an argument makes no sense.
        NotFitted: If used before it knows the points.
    """

    takes_noise: ClassVar[bool] = False
    of_extent: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ndim: int = 1,
        periodic: bool | tuple[bool, ...] = False,
        grid: int = 32,
        width: int = 32,
        modes: int = 8,
        points: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.ndim = in_channels, out_channels, ndim
        self.grid, self.width, self.modes = grid, width, modes
        self.periodic = per_axis(periodic, ndim, "PointNetwork periodic")
        self.operator: PointOperator | None = None
        self.points: Tensor | None
        self.register_buffer("points", points, persistent=False)
        if points is None:
            return
        d = points.shape[1]
        closed = self.periodic if d == ndim else (False,) * d
        self.operator = PointOperator(in_channels, out_channels, (grid,) * d, periodic=closed, width=width, modes=modes)
        # who is near whom is the same in every call
        self._near: tuple[Neighbours, Neighbours] = (self.operator.near(points), self.operator.near(points, out=True))

    def at(self, shape: tuple[int, ...]) -> PointNetwork:
        """One with weights for the cells of a grid; itself if its points are known."""
        if self.points is not None:
            return self
        return self._with(grid_points(shape, self.periodic, like=torch.zeros(())))

    def on(self, points: Tensor) -> PointNetwork:
        """One with weights for values at scattered points (N, d), in shares of their box."""
        return self._with(points.float())

    def _with(self, points: Tensor) -> PointNetwork:
        sizes = {"grid": self.grid, "width": self.width, "modes": self.modes}
        return PointNetwork(self.in_channels, self.out_channels, ndim=self.ndim, periodic=self.periodic, points=points, **sizes)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the network; see FieldNetwork.forward."""
        del noise
        self.check_field(x)
        if self.points is None or self.operator is None:
            raise NotFitted("PointNetwork: expected to know its points, got none; build it with `on`, `at` or build_prior")
        if math.prod(x.shape[2:]) != len(self.points):
            raise ShapeError(f"PointNetwork: expected values at {len(self.points)} points, got {tuple(x.shape[2:])}; `on` gives one for other points")
        self._near = tuple(n.to(x) for n in self._near)  # type: ignore[assignment]
        out: Tensor = self.operator(x.flatten(2), self.points, near=self._near)
        return out.reshape(*out.shape[:2], *x.shape[2:])
