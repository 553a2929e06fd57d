"""Coast lines on maps of longitude and latitude, from Natural Earth through cartopy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError

__all__ = ["coast_lines"]

_SCALES = ("110m", "50m", "10m")


def coast_lines(axes: Axes, *, scale: str = "110m", color: str = "#222222", width: float = 0.6) -> Axes:
    """Draw the coasts into a map that is there; its limits stay.

    Axes are plain ones in degrees, as `map_plot` makes them, with longitudes of either convention. cartopy (the extra ``maps``) loads the lines
    once and keeps them in its own folder.

    Args:
        axes: A map whose horizontal axis is the longitude and whose vertical one is the latitude, in degrees.
        scale: Of the lines, 1 to 110, 50 or 10 million.
        color: Of the lines.
        width: Of the lines, in points.

    Returns:
        The axes.

    Raises:
        InputError: If cartopy is missing or cannot load the lines, the scale is unknown, or the axes show no part of the globe in degrees.
    """
    check_one_of(scale, _SCALES, "coast_lines scale")
    (west, east), (south, north) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    if west < -360 or east > 720 or south < -100 or north > 100:  # a cell at a pole reaches beyond it
        raise InputError(f"coast_lines: expected axes in degrees, got x {west:g} to {east:g}, y {south:g} to {north:g}; draw on a map of the globe")
    turns = range(math.floor((west + 180) / 360), math.floor((east + 180) / 360) + 1)
    pieces = [line + [360.0 * k, 0.0] for line in _coasts(scale) for k in turns]
    axes.add_collection(LineCollection(pieces, colors=color, linewidths=width, zorder=2.5), autolim=False)
    axes.set_xlim(*axes.get_xlim())
    axes.set_ylim(*axes.get_ylim())
    return axes


def _coasts(scale: str) -> list[np.ndarray]:
    """The lines (n, 2) of longitude, -180 to 180, and latitude."""
    try:
        from cartopy.io import shapereader
    except ImportError as error:
        raise InputError("coast_lines: expected cartopy, got none; pip install 'physdiff[maps]', or draw without coasts") from error
    try:
        path = shapereader.natural_earth(resolution=scale, category="physical", name="coastline")
        found = list(shapereader.Reader(path).geometries())
    except OSError as error:
        raise InputError(f"coast_lines: cartopy could not load the lines ({error}); connect once, or put them where it looks") from error
    return [np.asarray(part.coords)[:, :2] for shape in found for part in _parts(shape)]


def _parts(shape: Any) -> list[Any]:  # noqa: ANN401 - shapely's
    return list(getattr(shape, "geoms", [shape]))
