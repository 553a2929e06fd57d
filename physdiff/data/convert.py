"""The border between named data (xarray, CF) and tensors (batch, channel, time, *space).

`spec_of` says what the channels of a data set are, `to_tensor` takes it inside, `to_dataset` brings windows out. Arrays are addressed by
dimension name, never by position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, ShapeError
from physdiff.data.axes import PLANE, SPHERE
from physdiff.data.names import cf_attributes, unknown_variable
from physdiff.data.timeline import as_times, is_calendar, time_axis
from physdiff.data.units import check_unit, normal_unit
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields, FieldSpec
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import EARTH_RADIUS, LatLonGrid
from physdiff.grids.points import PointGrid

__all__ = ["ROWS", "field_names", "grid_of", "one_grid", "spec_of", "to_dataset", "to_tensor", "value_mask"]

ROWS = ("sample", "member")
"""Dimensions that become the batch, in this order."""
_MEMBER = {"standard_name": "realization", "units": "1"}


def field_names(ds: xr.Dataset) -> tuple[str, ...]:
    """Names of the variables that are fields in time."""
    return tuple(str(n) for n, v in ds.data_vars.items() if "time" in v.dims and v.dtype.kind in "fiu")


def grid_of(ds: xr.Dataset, *, periodic: bool | tuple[bool, ...] | None = None) -> Grid:
    """The grid of a data set, from its coordinates.

    Args:
        ds: With dimensions latitude and longitude, or x, or y and x, or z, y and x; or point, with coordinates x, y, z along it.
        periodic: Whether the Cartesian axes close; if None, what the coordinates' attribute `periodic` says (as `to_dataset` writes it),
            or the data set's; else False. Longitude closes by itself.

    Raises:
        DataError: If the dimensions are none of these or have no coordinates.
    """
    if "point" in ds.dims:
        return _points(ds)
    dims = [d for d in (*PLANE, *SPHERE) if d in ds.dims]
    missing = [d for d in dims if d not in ds.coords]
    if missing:
        raise DataError(f"expected coordinates along {', '.join(dims)}, got none along {', '.join(missing)}; add them to the data set")
    if dims == list(SPHERE):
        radius = ds["latitude"].attrs.get("sphere_radius")
        latitude, longitude = (torch.from_numpy(np.array(ds[d].values, dtype=np.float64)) for d in SPHERE)
        return LatLonGrid(latitude, longitude, EARTH_RADIUS if radius is None else float(radius))
    if tuple(dims) not in (PLANE[-1:], PLANE[-2:], PLANE):
        found = ", ".join(map(str, ds.dims))
        raise DataError(f"expected dimensions latitude and longitude, or x, or y and x, or z, y and x, got {found}; open files with open_dataset")
    return _cartesian(ds, dims, periodic)


def _points(ds: xr.Dataset) -> PointGrid:
    names = [d for d in PLANE[::-1] if d in ds.coords and ds[d].dims == ("point",)]
    if not names:
        raise DataError("expected coordinates x, y, z of each point, got none along point; add them to the data set")
    area = torch.from_numpy(np.array(ds["area"].values, dtype=np.float64)) if "area" in ds.coords and ds["area"].dims == ("point",) else None
    points = torch.from_numpy(np.stack([np.asarray(ds[d].values, dtype=np.float64) for d in names], 1))
    return PointGrid(points, area, normal_unit(str(ds[names[0]].attrs.get("units", "1"))))


def _cartesian(ds: xr.Dataset, dims: Sequence[str], periodic: bool | tuple[bool, ...] | None) -> CartesianGrid:
    if periodic is None:
        closes = tuple(_says_yes(ds[d].attrs.get("periodic", ds.attrs.get("periodic"))) for d in dims)
    else:
        closes = tuple(periodic) if isinstance(periodic, tuple) else (periodic,) * len(dims)
    unit = normal_unit(str(ds["x"].attrs.get("units", "1")))
    boxes = [_box(ds[d], closed) for d, closed in zip(dims, closes, strict=True)]
    shape = tuple(ds.sizes[d] for d in dims)
    if any(b is None for b in boxes):
        points = tuple(torch.from_numpy(np.array(ds[d].values, dtype=np.float64)) for d in dims)
        return CartesianGrid(shape, periodic=closes, points=points, length_unit=unit)
    origin, extent = zip(*(b for b in boxes if b is not None), strict=True)
    return CartesianGrid(shape, extent, origin, periodic=closes, length_unit=unit)


def _says_yes(value: Any) -> bool:  # noqa: ANN401 - an attribute of a file
    if isinstance(value, str):
        return value.strip().lower() in ("true", "yes", "1", "periodic")
    return value is not None and bool(np.all(value))


def _box(axis: xr.DataArray, closed: bool) -> tuple[float, float] | None:
    """Origin and extent of a uniform axis, or None if it is not uniform."""
    values = np.asarray(axis.values, dtype=np.float64)
    n, shift = values.size, 0.0 if closed else 0.5
    told = (axis.attrs.get("origin"), axis.attrs.get("extent"))
    if told[0] is not None and told[1] is not None:
        origin, extent = float(told[0]), float(told[1])
        rebuilt = origin + extent / n * (np.arange(n) + shift)
        # the attributes of a whole axis survive a selection of part of it
        if np.abs(rebuilt - values).max() <= 1e-9 * extent:
            return origin, extent
    if n == 1:
        return float(values[0]) - shift, 1.0
    h = (values[-1] - values[0]) / (n - 1)
    # coordinates in float32 differ from uniform ones by some 1e-7 of their size
    if np.abs(np.diff(values) - h).max() > max(1e-4 * h, 4e-7 * np.abs(values).max()):
        return None
    return float(values[0] - shift * h), float(n * h)


def spec_of(
    ds: xr.Dataset,
    names: Sequence[str] | None = None,
    *,
    frames: int = 1,
    mask: bool | str = False,
    periodic: bool | tuple[bool, ...] | None = None,
    gaps: bool = False,
) -> FieldSpec:
    """What the fields of a data set are.

    Args:
        ds: In house conventions, as `open_dataset` returns it.
        names: Which variables, in which order; all fields in time if not given.
        frames: Number of frames of a window.
        mask: True finds the points that never have a value in any field (reads everything); a name takes the field of that name,
            non-zero where there are values.
        periodic: See `grid_of`.
        gaps: Whether missing frames are allowed (windows skip them).

    Raises:
        DataError: If there is no time dimension or one step only, the step is not uniform, variables live on two grids, a name is unknown,
            or a field has no value at all.
    """
    names = field_names(ds) if names is None else tuple(names)
    for name in names:
        if name not in ds.data_vars:
            raise unknown_variable(name, map(str, ds.data_vars), "data set")
    if "time" not in ds.dims or not names or any("time" not in ds[n].dims for n in names):
        still = [n for n in names if "time" not in ds[n].dims] or ["the data set"]
        raise DataError(f"expected fields with a time dimension, got none for {', '.join(still)}; open files with open_dataset")
    one_grid(ds, names)
    times = as_times(ds["time"].values) if "time" in ds.coords else np.arange(ds.sizes["time"], dtype=np.float64)
    axis = time_axis(times)
    if axis.gaps and not gaps:
        i = axis.gaps[0]
        raise DataError(
            f"time: expected a uniform time step of {axis.dt:g}, got {len(axis.gaps)} gaps, the first of {axis.missing[0]} frames after index {i}; "
            "select a stretch without gaps (windows of TrajectoryWindows skip them)"
        )
    for name in names:
        _check_any_value(ds[name])
    where = None
    if mask:
        where = value_mask(ds, names) if mask is True else _named_mask(ds, str(mask))
    return FieldSpec(
        names,
        tuple(normal_unit(str(ds[n].attrs.get("units", "1"))) for n in names),
        grid_of(ds[list(names)], periodic=periodic),
        axis.dt,
        frames=frames,
        mask=where,
        time_unit="s" if is_calendar(times) else normal_unit(str(ds["time"].attrs.get("units", "1"))),
    )


def one_grid(ds: xr.Dataset, names: Sequence[str]) -> tuple[str, ...]:
    """The directions of space that all these variables share, storage order.

    Raises:
        DataError: If two variables differ, or have dimensions besides time, sample, member and space.
    """
    first = names[0]
    for name in names:
        mine = {str(d) for d in ds[name].dims} - {"time", *ROWS}
        if mine != {str(d) for d in ds[first].dims} - {"time", *ROWS}:
            raise DataError(
                f"expected all variables on one grid, got two grids: {first} on {tuple(ds[first].dims)} and {name} on {tuple(ds[name].dims)}; "
                "choose variables of one grid or regrid"
            )
    unknown = {str(d) for d in ds[first].dims} - {"time", *ROWS, *PLANE, *SPHERE, "point"}
    if unknown:
        raise DataError(f"{first}: expected dimensions sample, member, time and space, got also {', '.join(sorted(unknown))}; select one entry of it")
    return tuple(d for d in (*PLANE, *SPHERE, "point") if d in ds[first].dims)


def _check_any_value(field: xr.DataArray) -> None:
    """Raise DataError if a field is missing everywhere; stops at the first frame with a value."""
    for i in range(field.sizes["time"]):
        if np.isfinite(np.asarray(field.isel(time=i).values)).any():
            return
    raise DataError(f"{field.name}: expected values, got an all-NaN field (missing everywhere); leave the variable out or check its fill value")


def value_mask(ds: xr.Dataset, names: Sequence[str] | None = None) -> Tensor | None:
    """Points of the grid that have a value in some field at some time, boolean (*S); None if that is everywhere."""
    names = field_names(ds) if names is None else tuple(names)
    space = one_grid(ds, names)
    seen = np.zeros([ds.sizes[d] for d in space], dtype=bool)
    for name in names:
        rows = [d for d in ds[name].dims if d not in space]
        for i in range(ds.sizes["time"]):
            frame = ds[name].isel(time=i).transpose(*[d for d in rows if d != "time"], *space)
            seen |= np.isfinite(frame.values).reshape(-1, *seen.shape).any(0)
            if seen.all():
                return None
    return torch.from_numpy(seen)


def _named_mask(ds: xr.Dataset, name: str) -> Tensor:
    if name not in ds:
        raise unknown_variable(name, map(str, ds.data_vars), "mask")
    field = ds[name].isel(time=0) if "time" in ds[name].dims else ds[name]
    values = field.transpose(*[d for d in (*PLANE, *SPHERE) if d in field.dims]).values
    return torch.from_numpy(np.nan_to_num(values) != 0)


def to_tensor(ds: xr.Dataset, spec: FieldSpec, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The fields of a data set as (B, C, T, *S); B runs over samples, then members, and is 1 without these; NaN where missing or masked.

    Raises:
        DataError: If a variable is missing or has no value at all.
        GridMismatch: If the data set is not on the spec's grid.
        UnitError: If a unit differs from the spec's.
    """
    for name, unit in zip(spec.names, spec.units, strict=True):
        if name not in ds.data_vars:
            raise unknown_variable(name, map(str, ds.data_vars), "data set")
        check_unit(str(ds[name].attrs.get("units", "1")), unit, name)
    space = one_grid(ds, spec.names)
    periodic = spec.grid.periodic if isinstance(spec.grid, CartesianGrid) else None
    spec.grid.check_same(grid_of(ds[list(spec.names)], periodic=periodic), "data set")
    fields = []
    for name in spec.names:
        field = ds[name] if "time" in ds[name].dims else ds[name].expand_dims("time")
        rows = [d for d in ROWS if d in field.dims]
        values = np.array(field.transpose(*rows, "time", *space).values)
        if not np.isfinite(values).any():
            raise DataError(f"{name}: expected values, got an all-NaN field (missing everywhere); leave the variable out or check its fill value")
        fields.append(torch.from_numpy(values.reshape(-1, *values.shape[len(rows) :])).to(dtype))
    if len({f.shape for f in fields}) > 1:
        raise DataError(f"expected the same samples and members for all variables, got {[tuple(f.shape) for f in fields]}; select one of them")
    x = torch.stack(fields, dim=1)
    # what files hold on land or inside an obstacle is no value
    return x if spec.mask is None else torch.where(spec.mask.to(x.device), x, torch.nan)


def to_dataset(
    x: Tensor | Fields,
    spec: FieldSpec,
    times: Any = None,  # noqa: ANN401 - whatever a user has as times
    *,
    batch: str | tuple[str, ...] = "member",
    time_dim: str = "time",
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Windows in physical units as a data set with CF names and units.

    Args:
        x: (*batch, C, T, *S), or a dict of (*batch, T, *S); without batch dimensions (C, T, *S).
        spec: What the channels are.
        times: (T,) datetime64, text or numbers; 0, dt, 2 dt, ... in the spec's time unit if None.
        batch: Names of the leading dimensions.
        time_dim: Name of the time dimension, as in ``"lead_time"``.
        coords: Further coordinates, as for xarray.
        attrs: Attributes of the data set.

    Returns:
        A data set on (*batch, time, *space), NaN where the spec's mask says that there are no values; the grid and whether it closes are
        attributes of the coordinates, so that `spec_of` finds the same grid again.

    Raises:
        ShapeError: If `x` is no window of `spec`.
    """
    if isinstance(x, Mapping):
        x = torch.stack([x[n] for n in spec.names], dim=-2 - spec.grid.ndim)
    leading = (batch,) if isinstance(batch, str) else tuple(batch)
    n_lead = x.ndim - spec.grid.ndim - 2
    if n_lead == 0:
        leading = ()
    want = (len(spec.names), *spec.grid.shape)
    if n_lead != len(leading) or (x.shape[n_lead], *x.shape[n_lead + 2 :]) != want:
        raise ShapeError(f"to_dataset: expected ({', '.join((*leading, str(want[0]), 'time', *map(str, want[1:])))}), got {tuple(x.shape)}")
    frames = x.shape[n_lead + 1]
    stamps = np.arange(frames) * spec.dt if times is None else as_times(times.detach().cpu() if isinstance(times, Tensor) else times)
    if stamps.shape != (frames,):
        raise ShapeError(f"to_dataset: expected {frames} times, got {stamps.shape}")
    values = x.detach().cpu().numpy()
    if spec.mask is not None:
        values = np.where(spec.mask.cpu().numpy(), values, np.nan).astype(values.dtype)
    dims = (*leading, time_dim, *spec.grid.dims)
    on_sphere = isinstance(spec.grid, LatLonGrid)
    data = {
        name: xr.Variable(dims, np.take(values, c, axis=n_lead), {"units": unit, **cf_attributes(name, unit=unit, on_sphere=on_sphere)})
        for c, (name, unit) in enumerate(zip(spec.names, spec.units, strict=True))
    }
    time_attrs = {"units": spec.time_unit} if stamps.dtype.kind == "f" else {}
    counts = {d: (d, np.arange(n), _MEMBER if d == "member" else {}) for d, n in zip(leading, x.shape[:n_lead], strict=True)}
    every = {**counts, time_dim: (time_dim, stamps, time_attrs), **_space_coords(spec.grid), **dict(coords or {})}
    return xr.Dataset(data, coords=every, attrs={"Conventions": "CF-1.8", **dict(attrs or {})})


def _space_coords(grid: Grid) -> dict[str, tuple[str, np.ndarray, dict[str, Any]]]:
    found: dict[str, tuple[str, np.ndarray, dict[str, Any]]] = {}
    if isinstance(grid, PointGrid):
        for dim, values in zip(PLANE[::-1], grid.coordinates(), strict=False):
            found[dim] = ("point", values.numpy(), {"units": grid.length_unit, "axis": dim.upper()})
        return found if grid.area is None else {**found, "area": ("point", grid.area.numpy(), {})}
    for k, (dim, axis) in enumerate(zip(grid.dims, grid.axes(), strict=True)):
        attrs: dict[str, Any] = {"units": grid.length_unit, "periodic": "true" if grid.periodic[k] else "false"}
        if isinstance(grid, LatLonGrid):
            attrs = {"standard_name": dim, "units": f"degrees_{'north' if dim == 'latitude' else 'east'}", "axis": "Y" if dim == "latitude" else "X"}
            if dim == "latitude":
                attrs["sphere_radius"] = grid.radius
        elif isinstance(grid, CartesianGrid):
            attrs |= {"axis": dim.upper(), **({"origin": grid.origin[k], "extent": grid.extent[k]} if grid.uniform else {})}
        found[dim] = (dim, axis.numpy(), attrs)
    return found
