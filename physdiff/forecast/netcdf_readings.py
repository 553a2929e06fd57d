"""Readings from netCDF: stations and moving platforms (CF point tables), and fields on the prior's grid with gaps.

A point table has one dimension for the places, perhaps one for the times, and coordinates found by their CF attributes or names. A field on the grid
is read cell by cell, missing values left out. Units are compared with the prior's and never converted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, GridMismatch
from physdiff.data.axes import decode_times, role_of
from physdiff.data.convert import grid_of
from physdiff.data.names import find_name
from physdiff.data.open import open_dataset
from physdiff.data.timeline import as_times
from physdiff.data.units import check_unit
from physdiff.grids.distance import cell_places
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.points import PointGrid, place_axes

__all__ = ["coarse_readings", "netcdf_readings"]

Table = tuple[Tensor, Tensor, np.ndarray | None]


def netcdf_readings(path: str | os.PathLike[str], spec: FieldSpec) -> Table:
    """Read places, values and times.

    Args:
        path: netCDF file.
        spec: Fields and grid of the prior.

    Returns:
        Points (n, ndim) in x, y, z order, values (C, n) with NaN where a field was not read, times (n,) or None; readings of nothing are left out.

    Raises:
        DataError: If the file is none, holds no field of the prior, or says not where or when.
        UnitError: If a unit is missing or not the prior's.
        GridMismatch: If fields are on another grid than the prior's.
    """
    try:
        raw = xr.open_dataset(path, decode_times=False, engine="netcdf4")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a netCDF file of readings, got none or something else: {error}") from error
    with raw:
        names = {n: found for n in spec.names if (found := find_name(n, map(str, raw.data_vars))) is not None}
        if not names:
            have = ", ".join(map(str, raw.data_vars)) or "none"
            raise DataError(f"{path}: expected a variable for one of the fields {', '.join(spec.names)}, got {have}")
        for name, variable in names.items():
            check_unit(raw[variable].attrs.get("units"), spec.units[spec.channel(name)], f"{path}, variable {variable!r}")
        roles = {role_of(str(d), raw[d].attrs if d in raw.variables else {}) for d in raw[next(iter(names.values()))].dims}
        table = None if roles >= set(spec.grid.dims) and not isinstance(spec.grid, PointGrid) else _points(raw, names, spec, f"{path}")
    points, values, times = _cells(path, names, spec) if table is None else table
    if bool(values.isinf().any()):
        raise DataError(f"{path}: expected finite readings, and missing values where nothing was read, got infinite ones; check the fill value")
    taken = values.isfinite().any(0)
    if not bool(taken.any()):
        raise DataError(f"{path}: expected at least one reading of {' or '.join(names)}, got missing values only; drop the file")
    return points[taken], values[:, taken], None if times is None else times[taken.numpy()]


def _points(raw: xr.Dataset, names: Mapping[str, str], spec: FieldSpec, path: str) -> Table:
    """A table of places: every variable broadcast over place and time."""
    found: dict[str, xr.DataArray] = {}
    for name in raw.variables:
        role = role_of(str(name), raw[name].attrs)
        if role is not None and raw[name].dtype.kind in "fiu":
            found.setdefault(role, raw[name])
    axes = place_axes(spec.grid)
    missing = [axis for axis in axes if axis not in found]
    if missing:
        raise DataError(
            f"{path}: expected coordinates {', '.join(axes)} of the places, got none for {', '.join(missing)}; add them with CF attributes"
        )
    for axis in axes:
        unit = found[axis].attrs.get("units")
        if axis in ("x", "y", "z") and unit is not None:
            check_unit(unit, spec.grid.length_unit, f"{path}, coordinate {found[axis].name!r}")
    arrays = {axis: found[axis] for axis in axes} | {name: raw[variable] for name, variable in names.items()}
    if "time" in found:
        when = decode_times(found["time"].variable, f"{path}, {found['time'].name!r}")
        arrays["time"] = xr.DataArray(when, dims=found["time"].dims)
    wide = max((raw[v] for v in names.values()), key=lambda v: v.ndim)
    strangers = [str(d) for name, a in arrays.items() for d in a.dims if d not in wide.dims]
    if strangers:
        raise DataError(
            f"{path}: expected coordinates along {', '.join(map(str, wide.dims))}, got some along {', '.join(strangers)}; one row per reading"
        )
    # without index coordinates: nothing is aligned by value
    flat = [a.drop_vars(list(a.coords)) for a in arrays.values()]
    columns = dict(
        zip(arrays, (b.transpose(*wide.dims).values.ravel() for b in xr.broadcast(wide.drop_vars(list(wide.coords)), *flat)[1:]), strict=True)
    )
    points = torch.from_numpy(np.stack([columns[axis].astype(np.float64) for axis in axes], 1))
    values = torch.full((len(spec.names), len(points)), torch.nan)
    for name in names:
        values[spec.channel(name)] = torch.from_numpy(columns[name].astype(np.float32))
    return points, values, as_times(columns["time"]) if "time" in columns else None


def _cells(path: str | os.PathLike[str], names: Mapping[str, str], spec: FieldSpec) -> Table:
    """Fields on the prior's grid, cell by cell."""
    ds = open_dataset(path, variables=list(names))
    turned = {dim: ds[dim][::-1] for dim in ("latitude",) if dim in ds.dims and ds.sizes[dim] > 1}
    if not spec.grid.same_as(grid_of(ds)) and turned:
        flipped = ds.sel(turned)
        ds = flipped if spec.grid.same_as(grid_of(flipped)) else ds
    grid = grid_of(ds, periodic=spec.grid.periodic if "x" in spec.grid.dims else None)
    if not spec.grid.same_as(grid):
        raise GridMismatch(
            f"{path}: readings on a grid: expected {spec.grid.summary()}, got {grid.summary()}; regrid them; a coarser grid "
            "is taken where each of its cells is a block of the prior's, with its centre at their mean"
        )
    if extra := [str(d) for d in ds.dims if d not in ("time", *spec.grid.dims)]:
        raise DataError(
            f"{path}: expected readings along time and {', '.join(spec.grid.dims)}, got also {', '.join(extra)}; write one of them to a file"
        )
    frames, cells = ds.sizes["time"], spec.grid.weights().numel()
    values = torch.full((len(spec.names), frames * cells), torch.nan)
    for name in names:
        values[spec.channel(name)] = torch.from_numpy(ds[name].transpose("time", *spec.grid.dims).values.astype(np.float32).reshape(-1))
    if spec.mask is not None:
        values[:, ~spec.mask.cpu().flatten().repeat(frames)] = torch.nan
    return cell_places(spec.grid).repeat(frames, 1), values, np.repeat(as_times(ds["time"].values), cells)


def coarse_readings(path: str | os.PathLike[str], spec: FieldSpec) -> tuple[Table, tuple[int, ...], Tensor] | None:
    """Fields on a coarser grid, whose every cell is a block of the prior's cells.

    Returns:
        Readings as of `netcdf_readings`, at the centres; the cells of a block along each axis; and which block (n,) each reading is of. None where
        the grid is no coarser one of that kind.
    """
    with xr.open_dataset(path, decode_times=False, engine="netcdf4") as raw:
        names = {n: found for n in spec.names if (found := find_name(n, map(str, raw.data_vars))) is not None}
    ds = open_dataset(path, variables=list(names))
    if not set(spec.grid.dims) <= set(ds.dims) or set(ds.dims) - {"time", *spec.grid.dims}:
        return None
    block, centres = [], []
    for dim, axis in zip(spec.grid.dims, spec.grid.axes(), strict=True):
        side, left = divmod(axis.numel(), ds.sizes[dim])
        if left or side < 1:
            return None
        middle = axis.double().reshape(-1, side).mean(1)
        if ds.sizes[dim] > 1 and bool((middle[1] - middle[0]) * float(ds[dim][1] - ds[dim][0]) < 0):
            ds = ds.isel({dim: slice(None, None, -1)})
        # files hold coordinates in single precision
        off = (torch.from_numpy(ds[dim].values.astype(np.float64)) - middle).abs().max()
        if float(off) > 1e-3 * float((axis[1:] - axis[:-1]).abs().min() if axis.numel() > 1 else 1.0):
            return None
        block.append(side)
        centres.append(middle)
    places = torch.stack([c.flatten() for c in torch.meshgrid(*centres, indexing="ij")][::-1], 1)
    values = torch.full((len(spec.names), ds.sizes["time"] * len(places)), torch.nan)
    for name in names:
        values[spec.channel(name)] = torch.from_numpy(ds[name].transpose("time", *spec.grid.dims).values.astype(np.float32).reshape(-1))
    cells = torch.arange(len(places)).repeat(ds.sizes["time"])
    if spec.mask is not None and not bool(spec.mask.all()):
        return None  # blocks without any cell would shift the count of the others
    taken = values.isfinite().any(0)
    times = np.repeat(as_times(ds["time"].values), len(places))
    table = (places.repeat(ds.sizes["time"], 1)[taken], values[:, taken], times[taken.numpy()])
    return table, tuple(block), cells[taken]
