r"""Latitude-longitude grids, global or regional, latitudes in any order and spacing.

A cell between latitude edges $\phi_1, \phi_2$ has area proportional to $|\sin\phi_2 - \sin\phi_1|\,\Delta\lambda$; edges lie halfway
between the points and, at the ends, half a step further out but not beyond the poles. With that the weights integrate a constant exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.grids.grid import Grid, wrapped

__all__ = ["EARTH_RADIUS", "LatLonGrid"]

EARTH_RADIUS = 6.371e6
# degrees: what float32 makes of a coordinate near 360, 2 m on the Earth
_SLACK = 2e-5


class LatLonGrid(Grid):
    """Points of a latitude-longitude grid, storage order (latitude, longitude), degrees.

    Args:
        latitude: Degrees north, monotonic either way, within [-90, 90].
        longitude: Degrees east, increasing; any branch (0 to 360 or -180 to 180). The axis is periodic if and only if it closes:
            uniform, with 360 degrees from the first point to one step past the last.
        radius: Radius of the sphere in metres.

    Raises:
        InputError: If an axis is not monotonic or out of range.
    """

    def __init__(self, latitude: Sequence[float] | Tensor, longitude: Sequence[float] | Tensor, radius: float = EARTH_RADIUS) -> None:
        self.latitude = _axis(latitude)
        self.longitude = _axis(longitude)
        self.radius = check_positive(float(radius), "LatLonGrid radius")
        _check_axes(self.latitude, self.longitude)
        self.dims = ("latitude", "longitude")
        self.shape = (self.latitude.numel(), self.longitude.numel())
        self.periodic = (False, _closes(self.longitude))
        self.length_unit = "m"

    def axes(self) -> tuple[Tensor, ...]:
        """Latitude and longitude in degrees, 1-D, float64."""
        return self.latitude, self.longitude

    def coordinates(self) -> tuple[Tensor, ...]:
        """Longitude and latitude in radians, each of `shape`, float64."""
        latitude, longitude = torch.meshgrid(torch.deg2rad(self.latitude), torch.deg2rad(self.longitude), indexing="ij")
        return longitude, latitude

    def weights(self) -> Tensor:
        """Cell areas over the total area, of `shape`, sum 1."""
        bands = _band_areas(self.latitude)
        sectors = _midpoint_widths(self.longitude)
        if self.periodic[1]:
            sectors = torch.ones_like(sectors)
        return torch.outer(bands / bands.sum(), sectors / sectors.sum())

    @property
    def solid_angle(self) -> float:
        """Area of all cells over the square of the radius; 4 pi of a grid that covers the sphere."""
        turn = 2 * math.pi if self.periodic[1] else float(torch.deg2rad(_midpoint_widths(self.longitude)).sum())
        return turn * float(_band_areas(self.latitude).sum())

    def locate(self, points: Tensor) -> Tensor:
        """Fractional indices (n, 2), storage order, of points (n, 2) given as longitude, latitude in degrees; see Grid.locate."""
        points = points.to(torch.float64).reshape(-1, 2)
        longitude, latitude = points[:, 0], points[:, 1]
        rows = _latitude_index(latitude, self.latitude)
        first, last = self.longitude[0], self.longitude[-1]
        # rounding must not push a point on the first meridian to the far end
        turned = first + torch.remainder(longitude - first + _SLACK, 360.0) - _SLACK
        inside = longitude.isfinite() if self.periodic[1] else turned <= last + _SLACK
        if not bool(inside.all()):
            bad = int((~inside).nonzero()[0])
            raise InputError(
                f"point {bad} has longitude {float(longitude[bad]):g}, expected {float(first):g} to {float(last):g}; drop it or use a larger grid"
            )
        n = self.longitude.numel()
        columns = wrapped((turned - first) / 360.0 * n, n) if self.periodic[1] else _search(turned, self.longitude)
        return torch.stack([rows, columns], dim=1)


def _axis(values: Sequence[float] | Tensor) -> Tensor:
    """An own float64 copy on the CPU: files hand out read-only arrays."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return torch.tensor(array.astype(np.float64).reshape(-1))


def _check_axes(latitude: Tensor, longitude: Tensor) -> None:
    for name, axis in (("latitude", latitude), ("longitude", longitude)):
        if axis.numel() < 1 or not bool(axis.isfinite().all()):
            raise InputError(f"LatLonGrid {name}: expected at least one finite coordinate, got {axis.tolist()[:4]}")
    step = latitude[1:] - latitude[:-1]
    if not (bool((step > 0).all()) or bool((step < 0).all())):
        raise InputError("LatLonGrid latitude: expected a monotonic axis; sort it")
    if bool((latitude.abs() > 90 + 1e-6).any()):
        raise InputError(f"LatLonGrid latitude: expected degrees within [-90, 90], got {float(latitude.abs().max()):g}")
    if not bool((longitude[1:] > longitude[:-1]).all()) or float(longitude[-1] - longitude[0]) >= 360:
        raise InputError(
            "LatLonGrid longitude: expected an increasing axis of less than 360 degrees from first to last; sort or roll it, drop a repeated meridian"
        )


def _closes(longitude: Tensor) -> bool:
    if longitude.numel() < 3:
        return False
    step = (longitude[-1] - longitude[0]) / (longitude.numel() - 1)
    uniform = bool(((longitude[1:] - longitude[:-1] - step).abs() < 1e-3 * step).all())
    return uniform and abs(float(longitude[-1] + step - longitude[0]) - 360.0) < 1e-3 * float(step)


def _midpoint_widths(axis: Tensor) -> Tensor:
    if axis.numel() == 1:
        return torch.ones_like(axis)
    middle = (axis[1:] + axis[:-1]) / 2
    edges = torch.cat([2 * axis[:1] - middle[:1], middle, 2 * axis[-1:] - middle[-1:]])
    return (edges[1:] - edges[:-1]).abs()


def _band_areas(latitude: Tensor) -> Tensor:
    if latitude.numel() == 1:
        return torch.ones_like(latitude)
    middle = (latitude[1:] + latitude[:-1]) / 2
    edges = torch.cat([2 * latitude[:1] - middle[:1], middle, 2 * latitude[-1:] - middle[-1:]]).clamp(-90.0, 90.0)
    return torch.sin(torch.deg2rad(edges)).diff().abs()


def _search(x: Tensor, axis: Tensor) -> Tensor:
    if axis.numel() == 1:
        return torch.zeros_like(x)
    upper = torch.searchsorted(axis, x.contiguous()).clamp(1, axis.numel() - 1)
    low, high = axis[upper - 1], axis[upper]
    return (upper - 1 + (x - low) / (high - low)).clamp(0, axis.numel() - 1)


def _latitude_index(latitude: Tensor, axis: Tensor) -> Tensor:
    low, high = float(axis.min()), float(axis.max())
    near_pole = 90.0 - float(_midpoint_widths(axis).max())
    # a global grid without pole rows still covers the caps
    low = -90.0 if low < -near_pole else low
    high = 90.0 if high > near_pole else high
    outside = ~((latitude >= low - _SLACK) & (latitude <= high + _SLACK))
    if bool(outside.any()):
        bad = int(outside.nonzero()[0])
        raise InputError(f"point {bad} has latitude {float(latitude[bad]):g}, expected {low:g} to {high:g}; drop it or use a larger grid")
    if axis.numel() > 1 and float(axis[1]) < float(axis[0]):
        return axis.numel() - 1 - _search(latitude, axis.flip(0))
    return _search(latitude, axis)
