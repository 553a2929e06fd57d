r"""Values between grid points: multilinear interpolation as a sparse linear map.

A point with fractional index $i + f$ along an axis takes $(1-f)\,v_i + f\,v_{i+1}$; over d axes the $2^d$ corners carry the products of
these weights. On a latitude-longitude grid this is bilinear in degrees. The map and its transpose are exact adjoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.grids.grid import Grid

__all__ = ["Interpolation", "interpolation"]


@dataclass(frozen=True)
class Interpolation:
    """A linear map from grid values to point values.

    Args:
        index: Flat grid indices of the corners, (n, 2^d), int64.
        weight: Their weights, (n, 2^d), float64, each row sums to one.
        shape: Shape of the grid.
    """

    index: Tensor
    weight: Tensor
    shape: tuple[int, ...]

    def __call__(self, values: Tensor) -> Tensor:
        """Values at the points, (..., *shape) -> (..., n); NaN where a neighbour that counts is missing."""
        if tuple(values.shape[values.ndim - len(self.shape) :]) != self.shape:
            raise ShapeError(f"interpolation: expected values of shape (..., {', '.join(map(str, self.shape))}), got {tuple(values.shape)}")
        corners = values.flatten(-len(self.shape))[..., self.index.to(values.device)]
        weight = self.weight.to(corners)
        # a missing neighbour does not matter to a point that stands on a grid point
        return torch.where(weight > 0, corners * weight, 0.0).sum(-1)

    def adjoint(self, at_points: Tensor) -> Tensor:
        """The transposed map, (..., n) -> (..., *shape)."""
        if not at_points.ndim or at_points.shape[-1] != self.index.shape[0]:
            raise ShapeError(f"adjoint of an interpolation: expected (..., {self.index.shape[0]}), got {tuple(at_points.shape)}")
        spread = at_points[..., None] * self.weight.to(at_points)
        flat = at_points.new_zeros(*at_points.shape[:-1], math.prod(self.shape))
        flat = flat.index_add(-1, self.index.to(at_points.device).flatten(), spread.flatten(-2))
        return flat.reshape(*at_points.shape[:-1], *self.shape)


def interpolation(grid: Grid, points: Tensor) -> Interpolation:
    """Multilinear interpolation from a grid to points.

    Args:
        grid: The grid.
        points: (n, ndim), x, y, z order, in the units of `grid.axes()` (longitude, latitude in degrees).

    Raises:
        InputError: If a point lies outside the grid.
    """
    where = grid.locate(points)
    low = where.floor()
    fraction = where - low
    indices, weights = [], []
    for corner in product((0, 1), repeat=grid.ndim):
        flat = torch.zeros(where.shape[0], dtype=torch.int64)
        weight = torch.ones(where.shape[0], dtype=torch.float64)
        for axis, up in enumerate(corner):
            size = grid.shape[axis]
            i = low[:, axis].long() + up
            # beyond the last point of an open axis the fraction is zero: any index does
            i = torch.remainder(i, size) if grid.periodic[axis] else i.clamp_max(size - 1)
            flat = flat * size + i
            weight = weight * (fraction[:, axis] if up else 1 - fraction[:, axis])
        indices.append(flat)
        weights.append(weight)
    return Interpolation(torch.stack(indices, 1), torch.stack(weights, 1), grid.shape)
