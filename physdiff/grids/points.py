"""Points anywhere in a box: the nodes of a mesh, sites of measurement."""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.grid import Grid

__all__ = ["PointGrid", "place_axes"]


class PointGrid(Grid):
    """N points of 1 to 3 coordinates; one axis, ``point``, that is no direction of space.

    A law has no derivatives here: `MeshAutoencoder` takes windows to a regular grid and back.

    Args:
        points: (N, d) in x, y, z order.
        area: Area (length, volume) that each point stands for, (N,); None: all alike.
        length_unit: Unit of the coordinates.

    Raises:
        ShapeError: If the points or areas have another shape.
        InputError: If a coordinate is not finite, or all points agree in one, or an area is negative.
    """

    def __init__(self, points: Tensor, area: Tensor | None = None, length_unit: str = "1") -> None:
        points = torch.as_tensor(points).detach().double().cpu()
        if points.ndim != 2 or not 1 <= points.shape[1] <= 3 or len(points) < 2 or (area is not None and tuple(area.shape) != (len(points),)):
            got = f"{tuple(points.shape)}{'' if area is None else f' with areas {tuple(area.shape)}'}"
            raise ShapeError(f"PointGrid: expected points (N, 1 to 3), at least two, and one area for each, got {got}")
        if not bool(points.isfinite().all()) or bool((points.amax(0) <= points.amin(0)).any()):
            raise InputError("PointGrid: expected finite coordinates that differ along every direction, got others; leave a constant one out")
        if area is not None and (bool((area < 0).any()) or not float(area.sum()) > 0):
            raise InputError("PointGrid: expected areas that are not negative, got some")
        self.points, self.area = points, None if area is None else area.detach().double().cpu()
        self.dims, self.shape, self.periodic, self.length_unit = ("point",), (len(points),), (False,), length_unit

    def axes(self) -> tuple[Tensor, ...]:
        """The numbers of the points."""
        return (torch.arange(self.shape[0], dtype=torch.float64),)

    def coordinates(self) -> tuple[Tensor, ...]:
        """x, y, z of each point, (N,)."""
        return tuple(self.points.T)

    def weights(self) -> Tensor:
        """Shares of the total area, (N,)."""
        area = torch.ones(self.shape, dtype=torch.float64) if self.area is None else self.area
        return area / area.sum()

    def locate(self, points: Tensor) -> Tensor:
        """Number (n, 1) of the nearest point of the grid.

        Raises:
            InputError: If a place is outside the box of the points.
        """
        places = torch.as_tensor(points).double()
        outside = ((places < self.points.amin(0)) | (places > self.points.amax(0))).any(1)
        if bool(outside.any()):
            raise InputError(f"PointGrid: expected places within the box of the points, got {places[outside][0].tolist()}")
        return torch.cdist(places, self.points).argmin(1, keepdim=True).double()

    def same_as(self, other: Grid, *, rtol: float = 1e-4) -> bool:
        """Whether both have the same points, within `rtol` of the size of the box."""
        if not isinstance(other, PointGrid) or other.points.shape != self.points.shape:
            return False
        size = self.points.amax(0) - self.points.amin(0)
        return bool(((self.points - other.points).abs() <= rtol * size).all())

    def shares(self) -> Tensor:
        """The points in shares of their box, (N, d) in storage order (z, y, x): what networks of a regular grid see."""
        low, high = self.points.amin(0), self.points.amax(0)
        return ((self.points - low) / (high - low)).flip(1)

    def summary(self) -> str:
        """One line for messages."""
        low, high = self.points.amin(0).tolist(), self.points.amax(0).tolist()
        return f"PointGrid with {self.shape[0]} points from {', '.join(f'{v:g}' for v in low)} to {', '.join(f'{v:g}' for v in high)}"


def place_axes(grid: Grid) -> tuple[str, ...]:
    """Names of the coordinates of a place, in the order in which places are given: x, y, z, or longitude, latitude."""
    return ("x", "y", "z")[: grid.points.shape[1]] if isinstance(grid, PointGrid) else tuple(reversed(grid.dims))
