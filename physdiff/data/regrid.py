r"""Parts of a grid, and means over coarser cells: regridding that conserves integrals.

A cell reaches to the midpoints between its point and the next ones. Along each axis the value of a target cell is the mean of the source
over it, $\bar f = \frac{1}{\mu(c)}\int_c f\,d\mu$, with $f$ constant in each source cell and $\mu$ the length, on the sphere $\sin\varphi$ for
latitudes: first-order conservative remapping (Jones, 1999), whose two-dimensional weights are products on such grids. Integrals are differences of
one running sum, so that the integral over all cells is kept to rounding. Missing values are left out; a target cell less than half known
is missing. Components of vectors are taken as scalars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from physdiff.base.errors import DataError, InputError
from physdiff.data.axes import PLANE, SPHERE
from physdiff.data.convert import grid_of

__all__ = ["regrid", "subset"]

_SPACE = (*PLANE, *SPHERE)
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class _Cells:
    """Source and target cells along one axis.

    Args:
        source: Edges of the source cells in the measure of the axis, increasing.
        target: Edges of the target cells, increasing; anywhere on a closed axis.
        turned: Whether the target points lie in decreasing order (latitude from the north).
        centres: Points of the target cells, in their order.
        closed: Whether the last source cell is next to the first.
        falling: Whether the source points lie in decreasing order.
    """

    source: np.ndarray
    target: np.ndarray
    turned: bool
    centres: np.ndarray
    closed: bool
    falling: bool

    def integrals(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Integrals over the target cells of what is constant in each source cell, float64."""
        values = np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1)
        values = values[..., ::-1] if self.falling else values
        widths = np.diff(self.source)
        sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values * widths, axis=-1)], axis=-1)
        turns = np.floor((self.target - self.source[0]) / widths.sum() + 1e-12) if self.closed else np.zeros(self.target.size)
        places = self.target - turns * widths.sum()
        places = places if self.closed else np.clip(places, self.source[0], self.source[-1])
        inside = np.clip(np.searchsorted(self.source, places, side="right") - 1, 0, widths.size - 1)
        at = sums[..., inside] + values[..., inside] * (places - self.source[inside]) + turns * sums[..., -1:]
        parts = np.diff(at, axis=-1)
        return np.moveaxis(parts[..., ::-1] if self.turned else parts, -1, axis)


def subset(ds: xr.Dataset, region: Mapping[str, tuple[float, float]]) -> xr.Dataset:
    """The points of a grid within ranges of its axes, lazily.

    Args:
        ds: In house conventions.
        region: Lowest and highest value by axis, ends included; longitudes in any turn (-10 to 20 and 350 to 380 are the same), and a range that
            crosses the seam of a closed sphere comes out as one piece.

    Raises:
        InputError: If an axis is none of the data, or no point lies within.
    """
    for name, (low, high) in region.items():
        if name not in ds.dims or name not in _SPACE:
            raise InputError(f"region: expected axes among {', '.join(str(d) for d in ds.dims if d in _SPACE)}, got {name!r}")
        values = np.asarray(ds[name].values, dtype=np.float64)
        turns = 360.0 * np.round((0.5 * (low + high) - values) / 360.0) if name == "longitude" else np.zeros_like(values)
        inside = np.flatnonzero((values + turns >= low - _SLACK) & (values + turns <= high + _SLACK))
        if low > high or not inside.size:
            raise InputError(f"region: expected points of {name} ({values.min():g} to {values.max():g}) within {low:g} to {high:g}, got none")
        inside = inside[np.argsort((values + turns)[inside], kind="stable")] if name == "longitude" else inside
        part = slice(int(inside[0]), int(inside[-1]) + 1) if np.array_equal(inside, np.arange(inside[0], inside[-1] + 1)) else inside
        moved = ds[name].variable.copy(data=values + turns) if turns.any() else ds[name].variable
        whole = ds.sizes[name]
        ds = ds.assign_coords({name: moved}).isel({name: part})
        if name != "longitude" and ds.sizes[name] < whole:
            ds = ds.assign_coords({name: ds[name].assign_attrs(periodic="false")})  # part of an axis does not close
    return ds


def regrid(
    ds: xr.Dataset, *, factor: int | Mapping[str, int] | None = None, resolution: float | None = None, like: xr.Dataset | None = None
) -> xr.Dataset:
    """Means over coarser cells, computed when values are asked for; fields of other dimensions stay as they are.

    Args:
        ds: In house conventions, on latitudes and longitudes or a Cartesian grid.
        factor: So many source cells of each axis (or of the axes named) become one.
        resolution: Width of the target cells, in degrees or in the unit of the axes: on the sphere bands from the south pole on and longitudes
            centred at multiples of it, as WeatherBench2 has them; on a Cartesian grid cells from the beginning of each axis on. Target cells that the
            source does not cover wholly are left out.
        like: Data on the target grid, any rectilinear one of the same axes, evenly spaced or not. Target cells of which the source covers less than
            half are missing.

    Returns:
        A lazy data set; edges between equal cells are those of the target grid, so that `Grid.weights` gives the same integrals.

    Raises:
        InputError: If not exactly one of the three is given, an axis is no multiple of its factor, target cells are finer than the source's, or the
            target has other axes or lies elsewhere.
        DataError: If the data have scattered points, or no grid.
    """
    if sum(given is not None for given in (factor, resolution, like)) != 1:
        raise InputError("regrid: expected either a factor, a resolution or data on the target grid (like), got several or none")
    if "point" in ds.dims:
        raise DataError("regrid: expected a grid, got scattered points; interpolate them first")
    closed = dict(zip(grid_of(ds).dims, grid_of(ds).periodic, strict=True))
    factors = factor if isinstance(factor, Mapping) else dict.fromkeys(closed, factor or 1)
    unknown = [d for d in factors if d not in closed]
    if unknown:
        raise InputError(f"regrid: expected axes among {', '.join(closed)}, got {', '.join(unknown)}")
    if like is None:
        cells = {d: _cells(d, np.asarray(ds[d].values, dtype=np.float64), closed[d], factors.get(d, 1), resolution) for d in closed}
    else:
        cells = _cells_like(ds, like, closed)
    coords = {d: xr.Variable((d,), c.centres, {k: v for k, v in ds[d].attrs.items() if k not in ("origin", "extent")}) for d, c in cells.items()}
    data = {}
    for name, field in ds.data_vars.items():
        if not set(cells) <= set(field.dims) or field.dtype.kind not in "fiu":
            if not set(cells) & set(field.dims):
                data[name] = field.variable
            continue
        field = field.transpose(..., *cells)
        lazy = indexing.LazilyIndexedArray(_Means(field.variable, tuple(cells.values())))
        data[name] = xr.Variable(field.dims, lazy, dict(field.attrs))
    return xr.Dataset(data, coords={**{n: c.variable for n, c in ds.coords.items() if not set(cells) & set(c.dims)}, **coords}, attrs=dict(ds.attrs))


class _Means(BackendArray):
    """Means over target cells of a variable whose last dimensions are those of space."""

    def __init__(self, source: xr.Variable, cells: Sequence[_Cells]) -> None:
        self.source, self.cells = source, tuple(cells)
        self.shape = (*source.shape[: source.ndim - len(self.cells)], *(c.centres.size for c in self.cells))
        self.dtype = source.dtype if source.dtype.kind == "f" else np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        leading = len(self.shape) - len(self.cells)
        values = np.asarray(self.source[key[:leading]].values, dtype=np.float64)
        known = np.isfinite(values)
        total, share = np.where(known, values, 0.0), known.astype(np.float64)
        whole = np.ones((1,) * len(self.cells))
        for k, cells in enumerate(self.cells):
            axis = k - len(self.cells)
            total, share = cells.integrals(total, axis), cells.integrals(share, axis)
            widths = np.diff(cells.target)
            whole = whole * (widths[::-1] if cells.turned else widths).reshape([-1 if j == k else 1 for j in range(len(self.cells))])
        with np.errstate(divide="ignore", invalid="ignore"):
            means = np.where(share >= 0.5 * whole * (1 - _SLACK), total / share, np.nan)
        return means.astype(self.dtype)[(Ellipsis, *key[leading:])]


def _cells(name: str, points: np.ndarray, closed: bool, factor: int, resolution: float | None) -> _Cells:
    rising, turned = _rising(points)
    edges = _edges(name, rising, closed)
    if resolution is None:
        if factor < 1 or points.size % factor:
            raise InputError(f"regrid: expected a factor of the {points.size} points of {name}, got {factor}; take a subset or give a resolution")
        target = edges[::factor]
    else:
        target = _regular(name, edges, closed, resolution, first=float(rising[0]))
    _check_coarser(name, edges, target)
    centres = 0.5 * (target[1:] + target[:-1])
    if name == "latitude":
        edges, target = (np.sin(np.radians(e)) for e in (edges, target))
    target = target if closed else np.clip(target, edges[0], edges[-1])
    return _Cells(edges, target, turned, centres[::-1] if turned else centres, closed, turned)


def _cells_like(ds: xr.Dataset, like: xr.Dataset, closed: Mapping[str, bool]) -> dict[str, _Cells]:
    """Cells of a target grid that was given, in its own order of points."""
    axes = dict(zip(grid_of(like).dims, grid_of(like).periodic, strict=True))
    if set(axes) != set(closed):
        raise InputError(f"regrid: expected like to have the axes {', '.join(closed)}, got {', '.join(axes)}")
    cells = {}
    for d in closed:
        own, points = (np.asarray(a[d].values, dtype=np.float64) for a in (ds, like))
        (source, _), (wanted, turned) = (_rising(a) for a in (own, points))
        edges, target = _edges(d, source, closed[d]), _edges(d, wanted, axes[d])
        if d == "longitude" and not closed[d]:
            target = target + 360.0 * np.round((edges.mean() - target.mean()) / 360.0)
        if not closed[d] and (target[0] >= edges[-1] or target[-1] <= edges[0]):
            raise InputError(f"regrid: expected cells of {d} within {edges[0]:g} to {edges[-1]:g}, got {target[0]:g} to {target[-1]:g}")
        _check_coarser(d, edges, target)
        if d == "latitude":
            edges, target = (np.sin(np.radians(e)) for e in (edges, target))
        cells[d] = _Cells(edges, target, turned, points, closed[d], bool(own[0] > own[-1]))
    return cells


def _rising(points: np.ndarray) -> tuple[np.ndarray, bool]:
    """Points in increasing order, and whether that is not their own."""
    turned = points.size > 1 and points[0] > points[-1]
    return (points[::-1] if turned else points), bool(turned)


def _check_coarser(name: str, edges: np.ndarray, target: np.ndarray) -> None:
    finest, asked = float(np.diff(edges).min()), float(np.diff(target).min())
    if asked < finest * (1 - _SLACK):
        raise InputError(f"regrid: expected cells of {name} no finer than {finest:g}, got {asked:g}; nothing is refined")


def _edges(name: str, points: np.ndarray, closed: bool) -> np.ndarray:
    """Edges of the cells of increasing points; the outermost ones are as wide as their neighbours, and end at the poles."""
    if points.size < 2:
        raise InputError(f"regrid: expected at least two points along {name}, got {points.size}")
    middle = 0.5 * (points[1:] + points[:-1])
    if closed and name == "longitude":
        first = 0.5 * (points[0] + points[-1] - 360.0)
        return np.concatenate([[first], middle, [first + 360.0]])
    if closed:  # a point stands at the beginning of its cell on closed Cartesian axes of the house
        step = (points[-1] - points[0]) / (points.size - 1)
        return points[0] + step * np.arange(points.size + 1) - 0.5 * step
    edges = np.concatenate([[2 * points[0] - middle[0]], middle, [2 * points[-1] - middle[-1]]])
    return np.clip(edges, -90.0, 90.0) if name == "latitude" else edges


def _regular(name: str, edges: np.ndarray, closed: bool, resolution: float, *, first: float) -> np.ndarray:
    """Edges of equal target cells that lie within the source, whose first point is `first`."""
    if not resolution > 0:
        raise InputError(f"regrid: expected a positive resolution, got {resolution}")
    span = edges[-1] - edges[0]
    if closed:
        count = round(span / resolution)
        if count < 1 or abs(count * resolution - span) > 1e-6 * span:
            raise InputError(f"regrid: expected a resolution that divides the period {span:g} of {name}, got {resolution:g}")
        begin = resolution * (round(first / resolution) - 0.5) if name == "longitude" else edges[0]
        return np.asarray(begin + resolution * np.arange(count + 1))
    origin = {"latitude": -90.0, "longitude": -0.5 * resolution}.get(name, float(edges[0]))
    low, high = np.ceil((edges[0] - origin) / resolution - _SLACK), np.floor((edges[-1] - origin) / resolution + _SLACK)
    if high - low < 1:
        raise InputError(f"regrid: expected target cells within {edges[0]:g} to {edges[-1]:g} of {name}, got none {resolution:g} wide")
    return np.asarray(origin + resolution * np.arange(low, high + 1))
