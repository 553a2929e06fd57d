"""What the dimensions of a file mean, by name and attributes and never by position, and in which order the house reads them.

Latitude stays as it is. Longitude, x, y and z become increasing: a longitude that jumps (350, 355, 0, 5) is unrolled, a descending axis is
read backwards. Values move together with their coordinates; nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cftime
import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.units import normal_unit

__all__ = ["EPOCH", "HOUSE", "PLANE", "POINT", "SPACE", "SPHERE", "Axis", "align", "decode_times", "role_of", "space_axis"]

SPHERE = ("latitude", "longitude")
PLANE = ("z", "y", "x")
POINT = "point"
SPACE = (*PLANE, *SPHERE, POINT)
HOUSE = ("sample", "init_time", "member", "lead_time", "time", *SPACE)
"""All dimensions a house data set may have, in their order."""

EPOCH = "days since 1850-01-01"
"""What times of calendars without datetime64 (360 days, no leap years) are counted in, in their own calendar."""

_NAMES = {
    "time": ("time", "t", "valid_time"),
    "init_time": ("init_time", "initial_time", "forecast_reference_time"),
    "lead_time": ("lead_time", "prediction_timedelta", "leadtime"),
    "sample": ("sample", "trajectory", "simulation"),
    "member": ("member", "number", "realization", "ensemble", "ensemble_member"),
    "level": ("level", "lev", "plev", "pressure_level", "isobaricinhpa", "isobaricinpa", "isobaric", "pressure"),
    "model_level": ("hybrid", "model_level", "mlev"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "long"),
    "x": ("x",),
    "y": ("y",),
    "z": ("z",),
    "expver": ("expver",),
}
_ROLES = {name: role for role, names in _NAMES.items() for name in names}
_SPANS = ("nanoseconds", "microseconds", "milliseconds", "seconds", "minutes", "hours", "days")
_NORTH = ("degrees_north", "degree_north", "degrees_n", "degree_n")
_EAST = ("degrees_east", "degree_east", "degrees_e", "degree_e")


@dataclass(frozen=True)
class Axis:
    """One dimension of a file as the house reads it.

    Args:
        dim: Its name in the file.
        values: Coordinates in house order, float64 (or times); None if the dimension has no coordinate.
        order: Positions in the file of the values in house order; None for the file's own order.
        attrs: Attributes of the coordinate.
        places: Of scattered points, which are numbered: coordinates x, y, z of each, and its area if the file has it.
    """

    dim: str
    values: np.ndarray | None
    order: np.ndarray | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, xr.Variable] = field(default_factory=dict)


def role_of(dim: str, attrs: Mapping[str, Any]) -> str | None:
    """What a dimension is (one of HOUSE, or level, model_level, expver), from its attributes or its name; None if unknown."""
    units = str(attrs.get("units", "")).strip().lower()
    if units in _NORTH or attrs.get("standard_name") == "latitude":
        return "latitude"
    if units in _EAST or attrs.get("standard_name") == "longitude":
        return "longitude"
    by_name = _ROLES.get(dim.lower())
    if by_name:
        return by_name
    if attrs.get("standard_name") == "realization":
        return "member"
    if attrs.get("standard_name") == "air_pressure" or normal_unit(units) == "hPa":
        return "level"
    if " since " in units:
        return "time"
    return {"x": "x", "y": "y", "t": "time"}.get(str(attrs.get("axis", "")).lower())


def decode_times(variable: xr.Variable, what: str, *, spans: bool = False) -> np.ndarray:
    """CF times as datetime64[ns], spans as timedelta64[ns], other numbers as float64; times of other calendars as days since `EPOCH`.

    Args:
        variable: The coordinate as it stands in the file.
        what: Name for messages.
        spans: Whether units as in ``"hours"`` make a span.

    Raises:
        DataError: If the units cannot be read.
    """
    units = str(variable.attrs.get("units", ""))
    span = str(variable.attrs.get("dtype", "")).startswith("timedelta64") or (spans and units.lower() in _SPANS)
    if " since " not in units and not span:
        return np.asarray(variable.values, dtype=np.float64)
    flat = xr.Dataset({"times": ("entry", np.atleast_1d(variable.values), dict(variable.attrs))})
    try:
        values = xr.decode_cf(flat, decode_timedelta=True)["times"].values
    except (ValueError, OverflowError) as error:
        raise DataError(f"{what}: expected CF time units as in 'hours since 1900-01-01', got {units!r}: {error}") from error
    if values.dtype.kind not in "mM":
        # numbers of one epoch: files of one calendar may count from different days
        days = cftime.date2num(values, EPOCH, calendar=str(variable.attrs["calendar"]))
        return np.asarray(days, dtype=np.float64).reshape(variable.shape)
    values = values.astype("timedelta64[ns]" if values.dtype.kind == "m" else "datetime64[ns]")
    return values.reshape(variable.shape)


def space_axis(role: str, dim: str, *, variable: xr.Variable | None, where: str) -> Axis:
    """The axis of a direction of space, in house order.

    Raises:
        DataError: If it has no coordinate, or one that is not monotonic.
    """
    if variable is None or variable.ndim != 1 or variable.dtype.kind not in "fiu":
        raise DataError(f"{where}: expected a coordinate variable {dim!r} that says where the points of {role} lie, got none; add it to the file")
    values = np.asarray(variable.values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{where}: expected finite coordinates along {dim}, got missing ones; repair the file")
    order = None
    if role == "longitude":
        values, order = _increasing_longitude(values)
    elif role != "latitude" and values.size > 1 and values[0] > values[-1]:
        order = np.arange(values.size)[::-1]
        values = values[order]
    steps = np.diff(values)
    if not ((steps > 0).all() or (role == "latitude" and (steps < 0).all())):
        raise DataError(f"{where}: expected monotonic coordinates along {dim}, got {values[:4]}...; sort the file")
    return Axis(dim, values, order, variable.attrs)


def _increasing_longitude(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Longitudes without jumps, and the order in which the file is read; a repeated first meridian at the end is left out."""
    order = np.arange(values.size)
    if values.size > 1 and (np.diff(values) < 0).all():
        order = order[::-1]
    turned = values[order]
    if values.size > 1 and not (np.diff(turned) > 0).all():
        unrolled = turned[0] + np.concatenate([[0.0], np.cumsum(np.mod(np.diff(turned), 360.0))])
        if unrolled[-1] - unrolled[0] <= 360.0:
            turned = unrolled - 360.0 if unrolled[-1] > 360.0 else unrolled
    if turned.size > 2 and abs(turned[-1] - turned[0] - 360.0) < 1e-6:
        order, turned = order[:-1], turned[:-1]
    return turned, None if np.array_equal(order, np.arange(values.size)) else order


def align(axis: Axis, reference: Axis, *, role: str) -> Axis | None:
    """`axis` read in the order of `reference`, or None if the places differ; longitudes are compared modulo 360."""
    mine, theirs = axis.values, reference.values
    if mine is None or theirs is None or mine.size != theirs.size:
        return None
    if role == POINT:
        same = axis.places.keys() == reference.places.keys()
        return reference if same and all(np.array_equal(v.values, reference.places[k].values) for k, v in axis.places.items()) else None
    step = np.abs(np.diff(theirs)).min() if theirs.size > 1 else 1.0
    difference = np.abs(mine[None, :] - theirs[:, None])
    if role == "longitude":
        difference = np.abs((difference + 180.0) % 360.0 - 180.0)
    nearest = difference.argmin(1)
    if (difference[np.arange(theirs.size), nearest] > 1e-4 * step).any():
        return None
    order = nearest if axis.order is None else axis.order[nearest]
    return Axis(axis.dim, theirs, order, axis.attrs)
