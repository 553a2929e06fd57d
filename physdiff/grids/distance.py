r"""Distances between places of a grid, in its unit of length: great circles on the sphere, straight lines in a box.

On the sphere by the chord between the unit vectors, $d = 2 a \arcsin(|e_1 - e_2| / 2)$, which keeps its digits at small distances, where the arc
cosine loses them. Periodic axes are closed: the shorter way round counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid

__all__ = ["cell_places", "separation", "unit_vectors"]


def unit_vectors(points: Tensor) -> Tensor:
    """Longitude and latitude in degrees (n, 2) -> unit vectors (n, 3)."""
    longitude, latitude = torch.deg2rad(points.double()).unbind(1)
    return torch.stack([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()], 1)


def cell_places(grid: Grid) -> Tensor:
    """All points of a grid in storage order, (cells, ndim), x, y, z order, in the units of its axes (longitude, latitude in degrees)."""
    return torch.stack([c.flatten() for c in reversed(torch.meshgrid(*grid.axes(), indexing="ij"))], 1)


def separation(grid: Grid, points: Tensor, others: Tensor) -> Tensor:
    """Distance of each point from each of the others, (n, m), float64, in the grid's `length_unit` (metres on the sphere).

    Args:
        grid: The grid.
        points: (n, ndim), x, y, z order, in the units of the grid's axes (longitude, latitude in degrees).
        others: (m, ndim), the same.

    Raises:
        ShapeError: If a point has another number of coordinates than the grid has axes.
    """
    for each in (points, others):
        if each.ndim != 2 or each.shape[1] != grid.ndim:
            raise ShapeError(f"separation: expected points (n, {grid.ndim}), got {tuple(each.shape)}")
    if isinstance(grid, LatLonGrid):
        chord = torch.cdist(unit_vectors(points), unit_vectors(others), compute_mode="donot_use_mm_for_euclid_dist")
        return 2 * grid.radius * torch.asin((chord / 2).clamp_max(1))
    assert isinstance(grid, CartesianGrid)  # there are two kinds of grids
    square = torch.zeros((), dtype=torch.float64)
    for k, (extent, closed) in enumerate(zip(reversed(grid.extent), reversed(grid.periodic), strict=True)):
        apart = (points[:, k, None].double() - others[:, k].double()).abs()
        if closed:
            apart = torch.minimum(apart % extent, extent - apart % extent)
        square = square + apart**2
    return square.sqrt()
