"""Cartesian grids in one to three dimensions, uniform or with given axes.

A uniform axis of `n` points and extent L has spacing h = L/n. Periodic: points at origin + i h. Not periodic: points at the cell centres
origin + (i + 1/2) h, so that walls lie at origin and origin + L, half a cell outside the outermost points.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import InputError
from physdiff.grids.grid import Grid, wrapped

__all__ = ["CartesianGrid"]

_NAMES = ("z", "y", "x")


class CartesianGrid(Grid):
    """Points of a box, storage order `([z,] [y,] x)`.

    Args:
        shape: Number of points, one integer (1-D) or one per axis in storage order.
        extent: Length of the box, one for all axes or one per axis, in `length_unit`.
        origin: Lower corner, one for all axes or one per axis.
        periodic: Whether the axes close, one for all or one per axis.
        points: Coordinates of the points along each axis (storage order), for axes that are not uniform; replaces extent and origin.
        length_unit: Unit of all lengths.

    Raises:
        InputError: If a size, an extent or an axis makes no sense.
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        extent: float | tuple[float, ...] = 1.0,
        origin: float | tuple[float, ...] = 0.0,
        *,
        periodic: bool | tuple[bool, ...] = True,
        points: tuple[Tensor, ...] | None = None,
        length_unit: str = "m",
    ) -> None:
        self.shape = tuple(int(n) for n in shape) if isinstance(shape, Sequence) else (int(shape),)
        n_axes = len(self.shape)
        if not 1 <= n_axes <= 3 or min(self.shape) < 1:
            raise InputError(f"CartesianGrid: expected 1 to 3 positive sizes, got {shape!r}")
        self.dims = _NAMES[-n_axes:]
        self.extent = tuple(check_positive(float(v), "CartesianGrid extent") for v in per_axis(extent, n_axes, "extent"))
        self.origin = tuple(float(v) for v in per_axis(origin, n_axes, "origin"))
        self.periodic = tuple(bool(v) for v in per_axis(periodic, n_axes, "periodic"))
        self.length_unit = length_unit
        self.points = None if points is None else tuple(p.detach().to("cpu", torch.float64, copy=True) for p in points)
        if self.points is not None:
            self._take_points(self.points)

    def _take_points(self, points: tuple[Tensor, ...]) -> None:
        if tuple(p.numel() for p in points) != self.shape:
            raise InputError(f"CartesianGrid points: expected axes of sizes {self.shape}, got {tuple(p.numel() for p in points)}")
        if any(self.periodic):
            raise InputError("CartesianGrid points: given axes cannot be periodic; give extent and origin for a uniform periodic axis")
        edges = [_edges(p, name) for p, name in zip(points, self.dims, strict=True)]
        self.origin = tuple(float(e[0]) for e in edges)
        self.extent = tuple(float(e[-1] - e[0]) for e in edges)

    @property
    def uniform(self) -> bool:
        """Whether every axis has one spacing."""
        return self.points is None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours along each axis, storage order (the mean one where points are given)."""
        return tuple(length / n for length, n in zip(self.extent, self.shape, strict=True))

    def axes(self) -> tuple[Tensor, ...]:
        """Coordinates along each axis, 1-D, float64, storage order."""
        if self.points is not None:
            return self.points
        return tuple(
            start + h * (torch.arange(n, dtype=torch.float64, device="cpu") + (0.0 if closed else 0.5))
            for start, h, n, closed in zip(self.origin, self.spacing, self.shape, self.periodic, strict=True)
        )

    def coordinates(self) -> tuple[Tensor, ...]:
        """Coordinates x, y, z, each of `shape`, float64."""
        return tuple(reversed(torch.meshgrid(*self.axes(), indexing="ij")))

    def weights(self) -> Tensor:
        """Cell volumes over the box's volume, of `shape`, sum 1."""
        if self.points is None:
            return torch.full(self.shape, 1.0 / float(torch.tensor(self.shape).prod()), dtype=torch.float64)
        total = torch.ones((), dtype=torch.float64)
        for axis, name in zip(self.points, self.dims, strict=True):
            edges = _edges(axis, name)
            width = edges[1:] - edges[:-1]
            total = total[..., None] * (width / width.sum())
        return total

    def locate(self, points: Tensor) -> Tensor:
        """Fractional indices (n, ndim), storage order, of points (n, ndim) given as x, y, z; see Grid.locate."""
        points = points.to(torch.float64).reshape(-1, self.ndim)
        columns = []
        for k, axis in enumerate(self.axes()):
            x = points[:, self.ndim - 1 - k]
            start, length, n = self.origin[k], self.extent[k], self.shape[k]
            outside = ~((x >= start - 1e-9 * length) & (x <= start + length * (1 + 1e-9)))
            if bool(outside.any()):
                bad = int(outside.nonzero()[0])
                raise InputError(
                    f"point {bad} has {self.dims[k]} = {float(x[bad]):g}, expected {start:g} to {start + length:g}; drop it or use a larger grid"
                )
            columns.append(_fraction(x, axis, self.periodic[k], length / n))
        return torch.stack(columns, dim=1)


def _edges(axis: Tensor, name: str) -> Tensor:
    if axis.ndim != 1 or axis.numel() < 2 or not bool((axis[1:] > axis[:-1]).all()):
        raise InputError(f"CartesianGrid points: expected at least two increasing coordinates along {name}, got {axis.tolist()[:4]}")
    middle = (axis[1:] + axis[:-1]) / 2
    return torch.cat([2 * axis[:1] - middle[:1], middle, 2 * axis[-1:] - middle[-1:]])


def _fraction(x: Tensor, axis: Tensor, periodic: bool, h: float) -> Tensor:
    if periodic:
        return wrapped((x - axis[0]) / h, axis.numel())
    if axis.numel() == 1:
        return torch.zeros_like(x)
    upper = torch.searchsorted(axis, x.contiguous()).clamp(1, axis.numel() - 1)
    low, high = axis[upper - 1], axis[upper]
    return (upper - 1 + (x - low) / (high - low)).clamp(0, axis.numel() - 1)
