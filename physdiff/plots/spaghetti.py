"""One contour of every member on a map: where an ensemble agrees the lines lie on each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from physdiff.base.errors import InputError
from physdiff.plots.colours import LINES, TRUTH
from physdiff.plots.maps import plane_of, scale_axes
from physdiff.plots.style import one_axes

__all__ = ["spaghetti_plot"]


def spaghetti_plot(
    members: xr.DataArray, levels: float | Sequence[float], truth: xr.DataArray | None = None, *, axes: Axes | None = None
) -> Axes:
    """Contours of all members.

    Args:
        members: (member, two dims of space), besides dims of length one.
        levels: The value or values whose contours are drawn, in the field's units.
        truth: Its contours are drawn on top, if given.
        axes: Where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        InputError: If there is no member axis, or no member reaches a level.
    """
    if "member" not in members.dims:
        raise InputError(f"spaghetti_plot: expected a dim 'member', got {list(members.dims)}; draw one field with map_plot")
    wanted = np.unique(np.atleast_1d(np.asarray(levels, dtype=np.float64)))
    values = members.values[np.isfinite(members.values)]
    inside = [v for v in wanted if values.size and values.min() < v < values.max()]
    if not inside:
        span = f"{values.min():.4g} to {values.max():.4g}" if values.size else "no finite value"
        raise InputError(f"spaghetti_plot: expected a level within the members' values, got {list(map(float, wanted))} and {span}; choose others")
    axes = one_axes(axes)
    for k in range(members.sizes["member"]):
        _lines(axes, plane_of(members.isel(member=k)), inside, colour=LINES[0], width=0.7, alpha=0.6)
    if truth is not None:
        _lines(axes, plane_of(truth), inside, colour=TRUTH, width=1.6, alpha=1.0)
    scale_axes(axes, plane_of(members.isel(member=0)))
    return axes


def _lines(axes: Axes, plane: xr.DataArray, levels: Sequence[float], *, colour: str, width: float, alpha: float) -> None:
    up, across = plane.dims
    field = np.ma.masked_invalid(plane.values.astype(np.float64))
    reached = [v for v in levels if field.count() and field.min() < v < field.max()]  # matplotlib warns of empty contours
    if reached:
        axes.contour(plane[across].values, plane[up].values, field, levels=reached, colors=colour, linewidths=width, alpha=alpha)
