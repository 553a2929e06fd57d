"""What one netCDF file holds, in house terms: which variables become which fields, on which axes, at which times.

Levels become names (`z` at 500 hPa is ``z_500``, also where the file has one level only); bounds, strings and auxiliary coordinates
(``expver``, ``number``, ``surface``) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.axes import EPOCH, HOUSE, PLANE, POINT, SPACE, SPHERE, Axis, decode_times, role_of, space_axis
from physdiff.data.lazy import EXPVER, Files, Piece, damaged
from physdiff.data.names import level_name
from physdiff.data.units import normal_unit

__all__ = ["Found", "scan"]

_LEVELS = ("level", "model_level")
_TIMES = ("time", "init_time", "lead_time")


@dataclass(frozen=True)
class Found:
    """One field of one file.

    Args:
        name: House name, with the level.
        base: Name of the variable in the file.
        piece: How to read it.
        dims: House dimensions, in order.
        axes: The axis behind each of them.
        attrs: Attributes, units in CF spelling.
        moment: The time of a file without a time dimension, if it names one.
        problem: Why it cannot be used; empty if it can.
    """

    name: str
    base: str
    piece: Piece
    dims: tuple[str, ...]
    axes: Mapping[str, Axis]
    attrs: Mapping[str, Any]
    moment: Any = None
    problem: str = ""

    @property
    def moves(self) -> bool:
        """Whether the field depends on time."""
        return any(d in self.dims for d in _TIMES)


def scan(path: str, files: Files) -> list[Found]:
    """All fields of a file.

    Raises:
        DataError: If the file is missing or not netCDF, or has an axis that cannot be read.
    """
    try:
        return _scanned(files.get(path), path)
    except (RuntimeError, OSError) as error:
        raise damaged(path, "the coordinates", error) from error


def _scanned(raw: xr.Dataset, path: str) -> list[Found]:
    bounds = {str(v.attrs[k]) for v in raw.variables.values() for k in ("bounds", "climatology") if k in v.attrs}
    fields = []
    places = {name for dim in raw.dims for name in _places(str(dim), raw)}
    for name, variable in raw.data_vars.items():
        base = str(name)
        left_out = base in bounds or base in places or base.endswith(("_bnds", "_bounds")) or variable.dtype.kind not in "fiu"
        if not left_out and variable.ndim:
            fields += list(_fields(base, variable.variable, raw, path))
    return fields


def _fields(base: str, variable: xr.Variable, raw: xr.Dataset, path: str) -> Iterator[Found]:
    """The fields of one variable, one per level; none if it does not live in space."""
    roles = {str(d): _role(str(d), variable, raw) for d in variable.dims}
    roles |= {d: POINT for d, r in roles.items() if r is None and _places(d, raw)}
    if not any(r in SPACE for r in roles.values()):
        return
    attrs = _attributes(variable)
    problem = _problem(roles)
    if problem:
        yield Found(base, base, Piece(path, base, (), {}, 0), (), {}, attrs, problem=f"{base} {problem}")
        return
    axes = {r: _axis(r, d, raw, path) for d, r in roles.items() if r in HOUSE}
    dims = tuple(d for d in HOUSE if d in axes)
    moment = None if any(d in axes for d in _TIMES) else _scalar_time(raw)
    for name, index in _levels(base, roles, variable, raw):
        instruct = tuple(index if r in _LEVELS else (EXPVER if r == EXPVER else (r if r in axes else 0)) for r in roles.values())
        orders = {r: a.order for r, a in axes.items() if a.order is not None}
        frames = axes["time"].values.size if "time" in axes and axes["time"].values is not None else 1
        yield Found(name, base, Piece(path, base, instruct, orders, frames), dims, axes, attrs, moment=moment)


def _role(dim: str, variable: xr.Variable, raw: xr.Dataset) -> str | None:
    """Role of a dimension; 'single' for an unknown one of length one."""
    attrs = raw.variables[dim].attrs if dim in raw.variables else {}
    role = role_of(dim, attrs)
    return "single" if role is None and variable.sizes[dim] == 1 else role


def _places(dim: str, raw: xr.Dataset) -> dict[str, xr.Variable]:
    """Where the points along a dimension lie, by x, y, z, and their area; empty if it is no list of scattered points."""
    if role_of(dim, raw.variables[dim].attrs if dim in raw.variables else {}) is not None:
        return {}
    along = {str(n): v for n, v in raw.variables.items() if v.dims == (dim,) and v.dtype.kind in "fiu"}
    found = {role: v for n, v in along.items() if (role := role_of(n, v.attrs)) in SPACE}
    if len(found) < 2:
        return {}
    return found | ({"area": along["area"]} if "area" in along else {})


def _problem(roles: Mapping[str, str | None]) -> str:
    """Why a variable with these dimensions cannot be used, or an empty text."""
    unknown = [d for d, r in roles.items() if r is None]
    if unknown:
        return f"has a dimension {unknown[0]!r} that is neither time, member, sample, level nor space; select one entry of it or rename it"
    known = [r for r in roles.values() if r != "single"]
    twice = [r for r in known if known.count(r) > 1]
    if twice:
        return f"has two dimensions that mean {twice[0]}: {', '.join(d for d, r in roles.items() if r == twice[0])}; select one of them"
    if sum(r in _LEVELS for r in known) > 1:
        return "has two level dimensions; select one of them"
    space = {r for r in known if r in SPACE}
    if space not in ({*SPHERE}, {"x"}, {"y", "x"}, {*PLANE}, {POINT}):
        return f"has the directions {', '.join(sorted(map(str, space)))}, expected latitude and longitude, or x, or y and x, or z, y and x"
    return ""


def _axis(role: str, dim: str, raw: xr.Dataset, path: str) -> Axis:
    variable = raw.variables.get(dim)
    if role == POINT:
        places = _places(dim, raw)
        if not set(places) <= {*PLANE, "area"}:
            got = ", ".join(places)
            raise DataError(f"{path}: expected scattered points with coordinates x, y, z, got {got} along {dim!r}; put a sphere's points on a grid")
        return Axis(dim, np.arange(raw.sizes[dim]), places=places)
    if role in SPHERE or role in PLANE:
        return space_axis(role, dim, variable=variable, where=path)
    if role not in _TIMES:
        values = None if variable is None or variable.dtype.kind not in "fiu" else np.asarray(variable.values)
        attrs = {} if variable is None else {k: v for k, v in variable.attrs.items() if k in ("standard_name", "long_name", "units")}
        return Axis(dim, values if values is not None else np.arange(raw.sizes[dim]), None, attrs)
    valid = raw.variables.get("valid_time")
    if role == "time" and valid is not None and valid.dims == (dim,):
        variable = valid
    if variable is None:
        raise DataError(f"{path}: expected a coordinate variable {dim!r} that says when the frames are, got none; add it to the file")
    times = decode_times(variable, f"{path}: {dim}", spans=role == "lead_time")
    kept = {"long_name", *(() if times.dtype.kind in "mM" else ("units",)), *(() if role == "time" else ("standard_name",))}
    attrs = {k: v for k, v in variable.attrs.items() if k in kept and not (role == "time" and times.dtype.kind == "M")}
    if times.dtype.kind == "f" and " since " in str(attrs.get("units", "")):
        attrs |= {"units": "day", "comment": f"{EPOCH}, calendar {variable.attrs.get('calendar')}"}
    return Axis(dim, times, None, attrs)


def _scalar_time(raw: xr.Dataset) -> Any:  # noqa: ANN401 - a numpy scalar of either kind
    """The one time of a file without a time dimension, if it has a scalar one."""
    for name in ("valid_time", "time"):
        variable = raw.variables.get(name)
        if variable is not None and variable.ndim == 0:
            return decode_times(variable, name)[()]
    return None


def _levels(base: str, roles: Mapping[str, str | None], variable: xr.Variable, raw: xr.Dataset) -> Iterator[tuple[str, int]]:
    """Name and index of each level."""
    dim = next((d for d, r in roles.items() if r in _LEVELS), None)
    if dim is not None:
        model = roles[dim] == "model_level"
        coordinate = raw.variables.get(dim)
        units = None if coordinate is None else coordinate.attrs.get("units")
        values = np.arange(variable.sizes[dim]) + 1 if coordinate is None else coordinate.values
        for i, value in enumerate(np.asarray(values, dtype=np.float64)):
            yield level_name(base, float(value), units=units, model=model), i
        return
    listed = str(variable.encoding.get("coordinates", "")).split()
    for name in listed:
        scalar = raw.variables.get(name)
        if scalar is not None and scalar.ndim == 0 and scalar.dtype.kind in "fiu" and role_of(name, scalar.attrs) == "level":
            yield level_name(base, float(scalar.values), units=scalar.attrs.get("units")), 0
            return
    yield base, 0


def _attributes(variable: xr.Variable) -> dict[str, Any]:
    """Attributes worth keeping; units in CF spelling."""
    kept = {str(k): v for k, v in variable.attrs.items() if not str(k).startswith(("GRIB_", "_")) and k not in ("grid_mapping", "cell_methods")}
    if "units" in kept:
        kept["units"] = normal_unit(str(kept["units"]))
    return kept
