"""Where the values are: the abstract grid.

Storage order is (z, y, x) or (latitude, longitude): `dims`, `shape`, `periodic` and `axes` follow it. Directions are x, y, z (longitude,
latitude): `coordinates` follows that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from physdiff.base.errors import GridMismatch
from physdiff.base.saved import Saved

__all__ = ["Grid", "wrapped"]


class Grid(Saved, ABC):
    """Abstract grid; the final classes are CartesianGrid and LatLonGrid.

    Attributes:
        dims: Names of the axes, storage order.
        shape: Number of points along each axis, storage order.
        periodic: Whether each axis closes on itself, storage order.
        length_unit: Unit of distances, as in ``"m"``.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    length_unit: str

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @abstractmethod
    def axes(self) -> tuple[Tensor, ...]:
        """The coordinates along each axis as they stand in files (1-D, float64, storage order; degrees on the sphere)."""

    @abstractmethod
    def coordinates(self) -> tuple[Tensor, ...]:
        """The coordinates a law sees: x, y, z order, each of `shape`, float64 (radians on the sphere)."""

    @abstractmethod
    def weights(self) -> Tensor:
        """Share of the total area or volume of each cell, of `shape`, float64, sum 1."""

    @abstractmethod
    def locate(self, points: Tensor) -> Tensor:
        """Fractional indices of points.

        Args:
            points: (n, ndim) in x, y, z order and in the units of `axes` (longitude, latitude in degrees).

        Returns:
            (n, ndim) fractional indices in STORAGE order, float64; on a periodic axis within [0, size).

        Raises:
            InputError: If a point lies outside the grid; the message names the first one.
        """

    def same_as(self, other: Grid, *, rtol: float = 1e-4) -> bool:
        """Whether both grids have the same dims, shape and, within `rtol` of a spacing, the same places."""
        if type(self) is not type(other) or self.dims != other.dims or self.shape != other.shape or self.periodic != other.periodic:
            return False
        for mine, theirs in zip(self.axes(), other.axes(), strict=True):
            step = (mine[1:] - mine[:-1]).abs().min() if mine.numel() > 1 else torch.ones(())
            if bool(((mine - theirs).abs() > rtol * step).any()):
                return False
        return True

    def check_same(self, other: Grid, what: str) -> None:
        """Raise GridMismatch unless `other` is this grid."""
        if not self.same_as(other):
            raise GridMismatch(f"{what}: expected {self.summary()}, got {other.summary()}; regrid one of them first")

    def summary(self) -> str:
        """One line for messages: kind, sizes and range of each axis."""
        parts = [
            f"{name} {axis.numel()} ({float(axis[0]):g} to {float(axis[-1]):g}{', periodic' if closed else ''})"
            for name, axis, closed in zip(self.dims, self.axes(), self.periodic, strict=True)
        ]
        return f"{type(self).__name__} with " + " x ".join(parts)


def wrapped(index: Tensor, size: int) -> Tensor:
    """Fractional indices on a periodic axis, brought into [0, size)."""
    turned = torch.remainder(index, size)
    # a tiny negative index gives `size` itself by rounding
    return torch.where(turned >= size, torch.zeros_like(turned), turned)
