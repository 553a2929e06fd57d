r"""Values between grid points: multilinear interpolation as a sparse linear map.

A point with fractional index $i + f$ along an axis takes $(1-f)\,v_i + f\,v_{i+1}$; over d axes the $2^d$ corners carry the products of
these weights. On a latitude-longitude grid this is bilinear in degrees. The map and its transpose are exact adjoints.

Among scattered points a place takes the value there of the straight (plane) function that fits the nearest points best, each weighted by one over
its squared distance: exact for linear fields, and at a point its own value (moving least squares; Lancaster and Salkauskas, Math. Comp. 37, 1981).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.grid import Grid
from physdiff.grids.points import PointGrid

__all__ = ["Interpolation", "interpolation"]


_NEAREST = (4, 7, 11)  # points that a place is read from, by the number of coordinates
_FAR = (1.5, 2.0)  # in radii of the nearest point's own neighbourhood and in mean distances of all, beyond both of which nothing is known of a place
_RIDGE = 1e-9  # of slopes along which the nearest points do not differ


@dataclass(frozen=True)
class Interpolation:
    """A linear map from grid values to point values.

    Args:
        index: Flat grid indices of the corners, (n, 2^d), or of the nearest scattered points, int64.
        weight: Their weights, likewise, float64, each row sums to one.
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
        return torch.where(weight != 0, corners * weight, 0.0).sum(-1)

    def adjoint(self, at_points: Tensor) -> Tensor:
        """The transposed map, (..., n) -> (..., *shape)."""
        if not at_points.ndim or at_points.shape[-1] != self.index.shape[0]:
            raise ShapeError(f"adjoint of an interpolation: expected (..., {self.index.shape[0]}), got {tuple(at_points.shape)}")
        spread = at_points[..., None] * self.weight.to(at_points)
        flat = at_points.new_zeros(*at_points.shape[:-1], math.prod(self.shape))
        flat = flat.index_add(-1, self.index.to(at_points.device).flatten(), spread.flatten(-2))
        return flat.reshape(*at_points.shape[:-1], *self.shape)


def interpolation(grid: Grid, points: Tensor) -> Interpolation:
    """Multilinear interpolation from a grid to points; among scattered points by the nearest ones.

    Args:
        grid: The grid.
        points: (n, ndim), x, y, z order, in the units of `grid.axes()` (longitude, latitude in degrees).

    Raises:
        InputError: If a point lies outside the grid, or in a gap between scattered points.
    """
    if isinstance(grid, PointGrid):
        return _among(grid, points)
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


def _among(grid: PointGrid, places: Tensor) -> Interpolation:
    """Weights of the nearest points: the first row of (P' W P)^-1 P' W with P = (1, x - place) and W one over squared distances."""
    places = torch.as_tensor(places).double().cpu()
    grid.locate(places)
    axes = grid.points.shape[1]
    count = min(_NEAREST[axes - 1], len(grid.points))
    distance, index = torch.cdist(places, grid.points).topk(count, dim=1, largest=False)
    near = grid.points[index]
    around = torch.cdist(near[:, 0], grid.points).topk(count, dim=1, largest=False).values.amax(1)
    box = grid.points.amax(0) - grid.points.amin(0)
    usual = float((box.prod() / len(grid.points)) ** (1 / axes))
    far = (distance[:, 0] > _FAR[0] * around) & (distance[:, 0] > _FAR[1] * usual)
    if axes > 1 and bool(far.any()):  # on a line a gap has two ends, and a straight line between them
        k = int(far.nonzero()[0])
        raise InputError(
            f"interpolation: expected places among the points, got {places[k].tolist()}, {float(distance[k, 0]):.4g} from the nearest, "
            f"which has {count - 1} others within {float(around[k]):.4g}; drop it"
        )
    size = distance.amax(1, keepdim=True).clamp_min(1e-300)
    shift = (near - places[:, None]) / size[..., None]
    share = 1 / ((distance / size) ** 2 + 1e-18)
    basis = torch.cat([torch.ones_like(shift[..., :1]), shift], -1)
    left = basis.transpose(1, 2) * share[:, None]
    ridge = torch.diag(torch.tensor([0.0] + [_RIDGE] * axes, dtype=torch.float64))
    system = left @ basis + ridge * share.sum(1)[:, None, None]
    first = torch.zeros(len(places), axes + 1, 1, dtype=torch.float64)
    first[:, 0] = 1
    weight = (torch.linalg.solve(system, first).transpose(1, 2) @ left)[:, 0]
    return Interpolation(index, weight / weight.sum(1, keepdim=True), grid.shape)
