r"""Fields at moving points: linear or cubic interpolation that can be differentiated, across periodic seams and poles.

Along each axis the polynomial through the 2 (linear) or 4 (cubic) nearest nodes $x_j$ is taken,

$$f(x) = \sum_j f_j \prod_{k\neq j} \frac{x - x_k}{x_j - x_k},$$

and axes are combined by products. A periodic axis is continued by its own values. On a closed sphere a row beyond a pole is the mirrored
row seen half a turn further, so that scalars (also the Cartesian components of a vector) are smooth there. `interpolate` has the fixed
points of sensors instead. Reference: Staniforth and Cote, Semi-Lagrangian integration schemes for atmospheric models, 1991.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid

__all__ = ["Resampling"]


@dataclass(frozen=True)
class _Axis:
    """Nodes of one axis in increasing order, those beyond a seam or a pole included.

    Args:
        nodes: Increasing, float64; minus the latitude where that descends.
        before: Number of nodes added in front.
        after: Number of nodes added behind.
        start: Beginning of the period.
        period: Length of the period; 0 for an open axis.
        ends: Where the grid's cells begin and end.
        sign: -1 where the stored axis descends.
    """

    nodes: Tensor
    before: int
    after: int
    start: float
    period: float
    ends: tuple[float, float]
    sign: float = 1.0


class Resampling:
    """Values of any field of a grid at given points.

    Args:
        grid: The grid; on a closed sphere with an even number of longitudes.
        points: x, y, z as `grid.coordinates()` counts them (radians on the sphere), each (B, *P). On an open axis a point beyond the
            outermost nodes takes the value there.
        cubic: Four nodes per axis instead of two.

    Raises:
        InputError: If an axis has fewer nodes than needed, or a closed sphere an odd number of longitudes.
        ShapeError: If the number of coordinates is not that of the grid's axes.
    """

    def __init__(self, grid: Grid, points: tuple[Tensor, ...], *, cubic: bool = False) -> None:
        if len(points) != grid.ndim:
            raise ShapeError(f"Resampling: expected {grid.ndim} coordinates (x, y, z order), got {len(points)}")
        width = 4 if cubic else 2
        self.grid, self.width = grid, width
        self._axes = _axes_of(grid, width // 2)
        for name, axis in zip(grid.dims, self._axes, strict=True):
            if axis.nodes.numel() < width:
                raise InputError(f"Resampling: expected at least {width} points along {name}, got {axis.nodes.numel()}; take linear or a larger grid")
        together = sum(points[1:], points[0])
        points = tuple(p.expand_as(together) for p in points)
        self.inside = torch.ones_like(points[0], dtype=torch.bool)
        self._first: list[Tensor] = []
        self._weights: list[list[Tensor]] = []
        self._near: list[Tensor] = []
        for axis, point in zip(self._axes, reversed(points), strict=True):
            self._place(axis, point)

    def _place(self, axis: _Axis, point: Tensor) -> None:
        """First node and weights of each point along one axis; notes which points the axis covers."""
        x = axis.sign * point
        if axis.period:
            x = axis.start + torch.remainder(x - axis.start, axis.period)
        else:
            slack = 1e-6 * (axis.ends[1] - axis.ends[0])
            self.inside = self.inside & (x >= axis.ends[0] - slack) & (x <= axis.ends[1] + slack)
            x = x.clamp(float(axis.nodes[0]), float(axis.nodes[-1]))
        nodes = axis.nodes.to(x)
        cell = (torch.searchsorted(nodes, x.detach().contiguous(), right=True) - 1).clamp(0, nodes.numel() - 2)
        first = (cell - (self.width // 2 - 1)).clamp(0, nodes.numel() - self.width)
        near = [nodes[first + j] for j in range(self.width)]
        weights = []
        for j, own in enumerate(near):
            weight = torch.ones_like(x)
            for k, other in enumerate(near):
                if k != j:
                    weight = weight * (x - other) / (own - other)
            weights.append(weight)
        self._first.append(first)
        self._weights.append(weights)
        self._near.append(cell)

    def __call__(self, values: Tensor) -> Tensor:
        """A field (B, *S) at the points (B, *P); a batch of one serves all."""
        flat, strides = self._continued(values)
        total: Tensor | None = None
        for corner in product(range(self.width), repeat=self.grid.ndim):
            index = sum(((first + j) * s for first, j, s in zip(self._first, corner, strides, strict=True)), torch.zeros_like(self._first[0]))
            weight = _product([w[j] for w, j in zip(self._weights, corner, strict=True)])
            term = weight.to(values.dtype) * _taken(flat, index)
            total = term if total is None else total + term
        assert total is not None  # a grid has an axis
        return total

    def bounds(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Least and largest value at the corners of the cell around each point, (B, *P): what no mixing can leave."""
        flat, strides = self._continued(values)
        corners = [
            _taken(flat, sum(((cell + j) * s for cell, j, s in zip(self._near, corner, strides, strict=True)), torch.zeros_like(self._near[0])))
            for corner in product((0, 1), repeat=self.grid.ndim)
        ]
        stacked = torch.stack(corners)
        return stacked.amin(0), stacked.amax(0)

    def _continued(self, values: Tensor) -> tuple[Tensor, list[int]]:
        """The field beyond its seams and poles, flat, (B, M), and the strides of its axes."""
        shape = self.grid.shape
        if values.ndim != len(shape) + 1 or tuple(values.shape[1:]) != shape:
            sizes = ", ".join(map(str, shape))
            raise ShapeError(f"Resampling: expected a field (batch, {sizes}), got {tuple(values.shape)}; use the grid of the data")
        f = values
        for k, axis in enumerate(self._axes):
            dim = k + 1
            if axis.period:
                n = shape[k]
                f = torch.cat([f.narrow(dim, n - axis.before, axis.before), f, f.narrow(dim, 0, axis.after)], dim=dim)
            elif axis.before or axis.after:
                f = self._over_poles(f, axis)
        lengths = f.shape[1:]
        return f.flatten(1), [math.prod(lengths[k + 1 :]) for k in range(len(lengths))]

    def _over_poles(self, f: Tensor, axis: _Axis) -> Tensor:
        """Rows beyond the poles: the mirrored ones, half a turn further."""
        turned = f.roll(self.grid.shape[1] // 2, dims=2)
        north, south = (1 if _at_pole(float(axis.nodes[i])) else 0 for i in (axis.before, -1 - axis.after))
        n = self.grid.shape[0]
        front = turned.narrow(1, north, axis.before).flip(1)
        back = turned.narrow(1, n - south - axis.after, axis.after).flip(1)
        return torch.cat([front, f, back], dim=1)


def _product(factors: list[Tensor]) -> Tensor:
    total = factors[0]
    for factor in factors[1:]:
        total = total * factor
    return total


def _taken(flat: Tensor, index: Tensor) -> Tensor:
    """Entries of flat (B, M) at index (B, *P)."""
    batch = max(flat.shape[0], index.shape[0])
    where = index.flatten(1).expand(batch, -1)
    return flat.expand(batch, -1).gather(1, where).reshape(batch, *index.shape[1:])


def _axes_of(grid: Grid, halo: int) -> list[_Axis]:
    """Axes in storage order with `halo` nodes beyond each seam."""
    if isinstance(grid, LatLonGrid):
        return [_latitude(grid, halo), _line(torch.deg2rad(grid.longitude), 2 * math.pi if grid.periodic[1] else 0.0, halo)]
    assert isinstance(grid, CartesianGrid)  # there are two kinds of grids
    found = []
    for axis, closed, origin, extent in zip(grid.axes(), grid.periodic, grid.origin, grid.extent, strict=True):
        found.append(_line(axis, extent if closed else 0.0, halo, (origin, origin + extent)))
    return found


def _line(nodes: Tensor, period: float, halo: int, ends: tuple[float, float] | None = None) -> _Axis:
    start = float(nodes[0])
    if not period:
        half = float(nodes[-1] - nodes[0]) / max(nodes.numel() - 1, 1) / 2
        return _Axis(nodes, 0, 0, start, 0.0, ends or (start - half, float(nodes[-1]) + half))
    if nodes.numel() < halo:
        raise InputError(f"Resampling: expected at least {halo} points along a periodic axis, got {nodes.numel()}; take a larger grid")
    # single-precision longitudes do not quite divide the circle
    even = start + period / nodes.numel() * torch.arange(-halo, nodes.numel() + halo, dtype=torch.float64, device="cpu")
    return _Axis(even, halo, halo, start, period, (start, start + period))


def _at_pole(latitude: float) -> bool:
    return math.pi / 2 - abs(latitude) < 1e-7


def _latitude(grid: LatLonGrid, halo: int) -> _Axis:
    """Latitudes in increasing order, with the rows beyond the poles where the grid reaches them."""
    phi = torch.deg2rad(grid.latitude)
    sign = 1.0 if phi.numel() < 2 or float(phi[1]) > float(phi[0]) else -1.0
    phi = sign * phi
    n, half_pi = phi.numel(), math.pi / 2
    step = float(phi[-1] - phi[0]) / max(n - 1, 1)
    closed = [grid.periodic[1] and half_pi - abs(float(phi[i])) < step * (1 - 1e-6) for i in (0, -1)]
    if any(closed) and grid.shape[1] % 2:
        raise InputError(f"Resampling: expected an even number of longitudes to look across the pole, got {grid.shape[1]}; regrid")
    if any(closed) and n < halo + 1:
        raise InputError(f"Resampling: expected at least {halo + 1} latitudes, got {n}; take a larger grid")
    front, back = phi[:0], phi[:0]
    if closed[0]:
        skip = int(_at_pole(float(phi[0])))
        front = (-math.pi - phi[skip : skip + halo]).flip(0)
    if closed[1]:
        skip = int(_at_pole(float(phi[-1])))
        back = (math.pi - phi[n - skip - halo : n - skip]).flip(0)
    low = -half_pi if closed[0] else float(phi[0]) - step / 2
    high = half_pi if closed[1] else float(phi[-1]) + step / 2
    return _Axis(torch.cat([front, phi, back]), front.numel(), back.numel(), low, 0.0, (low, high), sign)
