r"""Distances from the points of a grid to sensors, and the taper that keeps a reading's influence near it.

A small ensemble has chance correlations of size $1/\sqrt{N}$ between places far apart; multiplying $1/R$ of a reading by a taper that is zero beyond
twice `radius` removes what they do. Reference: Houtekamer and Mitchell, A sequential ensemble Kalman filter for atmospheric data assimilation, 2001.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.ensemble_kalman import gaspari_cohn

__all__ = ["distances_to", "window_taper"]


def distances_to(grid: Grid, points: Tensor) -> Tensor:
    """Distance from every point of a grid (storage order) to given points, (P, n), float64.

    Args:
        grid: The grid.
        points: (n, ndim), x, y, z order; longitude, latitude in degrees on the sphere.

    Returns:
        Degrees of great circle on a LatLonGrid, `length_unit` on a CartesianGrid (the shorter way round along periodic axes).

    Raises:
        ShapeError: If the points are not (n, ndim).
        InputError: If the grid is of neither kind.
    """
    if points.ndim != 2 or points.shape[1] != grid.ndim:
        raise ShapeError(f"distances_to: expected points (n, {grid.ndim}), got {tuple(points.shape)}")
    where = points.double()
    if isinstance(grid, LatLonGrid):
        here = _unit(*(c.double().flatten() for c in grid.coordinates()))
        there = _unit(*torch.deg2rad(where).unbind(1))
        # the chord keeps its digits at small distances, where the arc cosine loses them
        chord = torch.cdist(here, there, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.rad2deg(2 * torch.asin((chord / 2).clamp_max(1)))
    if not isinstance(grid, CartesianGrid):
        raise InputError(f"distances_to: expected a CartesianGrid or LatLonGrid, got {type(grid).__name__}")
    square = torch.zeros(math.prod(grid.shape), len(where), dtype=torch.float64)
    for k, (here, there) in enumerate(zip(grid.coordinates(), where.unbind(1), strict=True)):
        axis = grid.ndim - 1 - k
        apart = (here.double().flatten()[:, None] - there).abs()
        if grid.periodic[axis]:
            apart = torch.remainder(apart, grid.extent[axis])
            apart = torch.minimum(apart, grid.extent[axis] - apart)
        square += apart**2
    return square.sqrt()


def window_taper(spec: FieldSpec, points: Tensor, radius: float) -> Tensor:
    """Weight of n sensors for every entry of a window (C, T, *S), (C T P, n), float64: `gaspari_cohn` of distance over radius.

    Args:
        spec: What the windows are; all fields and frames of a place have the same weights.
        points: (n, ndim), see `distances_to`.
        radius: Half of the distance at which the influence ends; degrees on the sphere.
    """
    taper = gaspari_cohn(distances_to(spec.grid, points) / check_positive(radius, "localisation radius"))
    return taper.repeat(len(spec.names) * spec.frames, 1)


def _unit(longitude: Tensor, latitude: Tensor) -> Tensor:
    return torch.stack([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()], 1)
