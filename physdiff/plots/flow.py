"""Vector fields as arrows, and a field along one axis against time (Hovmoeller, 1949)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from physdiff.base.errors import InputError
from physdiff.data.axes import SPHERE
from physdiff.plots.maps import map_plot, plane_of
from physdiff.plots.style import SMALL, one_axes, pretty_unit, show_number

__all__ = ["arrow_plot", "hovmoeller_plot"]

_ARROWS = 24  # along the longer side


def arrow_plot(across: xr.DataArray, up: xr.DataArray, axes: Axes | None = None, *, arrows: int = _ARROWS, background: bool = True) -> Axes:
    """Arrows of a vector field, on a map of its size.

    Args:
        across: Component along the horizontal axis (u, towards the east), two-dimensional besides dims of length one.
        up: Component along the vertical axis (v, towards the north), on the same points and in the same units.
        axes: Where to draw; a new figure if None.
        arrows: About how many along the longer side: means of blocks of cells, so that no small eddy is taken for the flow.
        background: Whether the size is drawn in colours beneath.

    Returns:
        The axes, with a key that tells the length of an arrow.

    Raises:
        InputError: If the components differ in points or units, or have no finite value.
    """
    u, v = plane_of(across), plane_of(up)
    if u.dims != v.dims or any(not np.array_equal(u[d].values, v[d].values) for d in u.dims):
        raise InputError(f"arrow_plot: expected both components on the same points, got {dict(u.sizes)} and {dict(v.sizes)}; interpolate one")
    if across.attrs.get("units") != up.attrs.get("units"):
        raise InputError(f"arrow_plot: expected one unit, got {across.attrs.get('units')!r} and {up.attrs.get('units')!r}; convert one")
    if arrows < 1:
        raise InputError(f"arrow_plot: expected arrows >= 1, got {arrows}")
    size = ((u**2 + v**2) ** 0.5).assign_attrs(units=across.attrs.get("units", "1"), long_name="speed")
    block = max(1, max(u.shape) // arrows)
    cells = {d: min(block, u.sizes[d]) for d in u.dims}
    coarse = [part.coarsen(cells, boundary="trim").mean() for part in (u, v)]  # type: ignore[attr-defined]
    longest = float(np.nanmax(np.hypot(coarse[0].values, coarse[1].values), initial=0.0))
    if not np.isfinite(size.values).any():
        raise InputError("arrow_plot: expected finite values, got none; select a time that has some")
    axes = map_plot(size, axes, colorbar=True) if background else one_axes(axes)
    y, x = u.dims
    step = float(np.ptp(u[x].values)) / max(1, u.sizes[x] - 1)
    scale = max(longest, 1e-300) / (1.1 * cells[x] * step) if step else None  # the longest arrow fills its block
    parts = (coarse[0][x].values, coarse[0][y].values, coarse[0].values, coarse[1].values)
    drawn = axes.quiver(*parts, color="#222222", width=0.003, pivot="mid", scale=scale, scale_units="x")
    label = f"{show_number(longest, 2)} {pretty_unit(str(across.attrs.get('units', '1')))}".strip()
    axes.quiverkey(drawn, 0.93, 1.04, longest, label, labelpos="W", fontproperties={"size": SMALL})
    return axes


def hovmoeller_plot(field: xr.DataArray, axes: Axes | None = None, *, along: str, time: str = "time") -> Axes:
    """A field along one axis against time: what moves is a slope.

    Args:
        field: With dims `time` and `along`; means are taken over all others (weighted by cos(latitude) over latitudes).
        axes: Where to draw; a new figure if None.
        along: The axis that stays: ``"longitude"``, ``"x"``.
        time: The axis of time: ``"time"`` or ``"lead_time"``.

    Returns:
        The axes, time upwards.

    Raises:
        InputError: If an axis is missing.
    """
    missing = [d for d in (along, time) if d not in field.dims]
    if missing:
        raise InputError(f"hovmoeller_plot: expected dims {along} and {time}, got {list(field.dims)}; name others with along= and time=")
    rest = [d for d in field.dims if d not in (along, time)]
    if SPHERE[0] in rest:
        field = field.weighted(field[SPHERE[0]].copy(data=np.cos(np.deg2rad(field[SPHERE[0]].values)))).mean(SPHERE[0], keep_attrs=True)
        rest.remove(SPHERE[0])
    return map_plot(field.mean(rest, keep_attrs=True).transpose(time, along), axes)
