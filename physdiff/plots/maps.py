"""Maps of fields: one, or an ensemble beside its truth.

A field is an array on (latitude, longitude), (y, x), or (time or lead time, x): a space-time picture of a one-dimensional field. One quantity
has one colour scale in all panels; the standard deviation has its own. Missing cells are grey. On the sphere a degree of longitude is
drawn cos(latitude) times as long as one of latitude. No coast lines: nothing is drawn that is not in the data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from physdiff.base.errors import InputError
from physdiff.data.axes import PLANE, SPHERE
from physdiff.plots.colours import TRUTH, colour_scale, extends, spread_scale
from physdiff.plots.style import SMALL, axes_grid, figure_of, label_of, lead_of, one_axes, plain, quantity, step_label

__all__ = ["ensemble_frames", "ensemble_maps", "map_plot", "plane_of", "scale_axes", "sensor_marks"]

_TIMES = ("init_time", "lead_time", "time")
_WIDTH = 2.3
_LONGEST = 6.0  # beyond this ratio of the sides a map is no longer drawn to scale


def map_plot(
    field: xr.DataArray,
    axes: Axes | None = None,
    *,
    scale: tuple[Colormap, Normalize] | None = None,
    title: str | None = None,
    colorbar: bool = True,
) -> Axes:
    """One field in colours.

    Args:
        field: Two-dimensional besides dims of length one: (latitude, longitude), (y, x), or (lead_time, x); units from its attributes.
        axes: Where to draw; a new figure if None.
        scale: Colour map and range; found from the values if None (diverging and centred at zero for signed fields).
        title: Heading; nothing if None.
        colorbar: Whether to draw the colour bar.

    Returns:
        The axes; the coloured cells are ``axes.collections[0]``.

    Raises:
        InputError: If the field is not two-dimensional or has no finite value.
    """
    plane = plane_of(field)
    if axes is None:
        axes = one_axes(None, size=_size(plane, width=4.6, extra=0.9))
    values = np.ma.masked_invalid(plane.values.astype(np.float64))
    cmap, norm = scale or colour_scale([plane.values])
    across, up = plane[plane.dims[1]], plane[plane.dims[0]]
    mesh = axes.pcolormesh(_numbers(across), _numbers(up), values, cmap=cmap, norm=norm, shading="nearest", rasterized=True)
    axes.set_facecolor(cmap(np.ma.masked_all(1))[0])
    scale_axes(axes, plane)
    if title is not None:
        axes.set_title(plain(title), fontsize=SMALL + 0.5)
    if colorbar:
        # an inset is as high as the map, whatever its aspect
        bar = figure_of(axes).colorbar(mesh, cax=axes.inset_axes((1.03, 0.0, 0.035, 1.0)), extend=extends([plane.values], norm))
        _finish_bar(bar, label_of(field))
    return axes


def ensemble_maps(
    members: xr.DataArray,
    truth: xr.DataArray | None = None,
    axes: Any = None,  # noqa: ANN401 - nested lists or an array of axes
    *,
    shown: int = 2,
    sensors: np.ndarray | Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Truth, mean, some members and standard deviation of an ensemble, a row per time.

    Args:
        members: (member, [time or lead_time,] *space) with two dims of space; or (member, time, x), drawn as one space-time picture.
        truth: The same without `member`; None leaves its column out.
        axes: Array of axes (rows, columns) to draw on; a new figure if None.
        shown: How many members to show.
        sensors: Places (n, 2) as (longitude, latitude) or (x, y), marked on truth and mean; or a sequence of such arrays, one per row.

    Returns:
        Axes (rows, columns) in the order truth, mean, members, standard deviation.

    Raises:
        InputError: If dims do not fit or there is one member only.
    """
    _check_members(members, truth)
    columns, spread = _columns(members, truth, shown)
    mean = columns["ensemble mean"]
    step = _step_dim(mean)
    steps = 1 if step is None else mean.sizes[step]
    scale, spread_colours = colour_scale([c.values for c in columns.values()]), spread_scale([spread.values])
    first = plane_of(mean if step is None else mean.isel({step: 0}))
    grid = axes_grid(axes, steps, len(columns) + 1, size=_size(first, width=_WIDTH, extra=0.15 + 1.0 / steps))
    for row in range(steps):
        for panel, (name, column) in zip(grid[row], [*columns.items(), ("standard deviation", spread)], strict=True):
            field = column if step is None else column.isel({step: row})
            colours = spread_colours if name == "standard deviation" else scale
            map_plot(field, panel, scale=colours, title=name if row == 0 else None, colorbar=False)
            if sensors is not None and name in ("truth", "ensemble mean"):
                sensor_marks(sensors if isinstance(sensors, np.ndarray) else sensors[row], panel)
            _inner(panel, left=panel is grid[row, 0], bottom=row == steps - 1)
        if step is not None:
            _row_label(grid[row, 0], step_label(mean[step], row))
    _bars(grid, [*columns.values(), spread], scale, spread_colours, members)
    return grid


def ensemble_frames(members: xr.DataArray, truth: xr.DataArray | None = None, *, shown: int = 2) -> Iterator[np.ndarray]:
    """The row of `ensemble_maps` for one time after another, in colours that all of them share; arguments and errors as there.

    Yields:
        Axes (1, columns), the same ones filled anew: save the figure before the next one is asked for.
    """
    _check_members(members, truth)
    columns, spread = _columns(members, truth, shown)
    step = _step_dim(spread)
    if step is None:
        raise InputError("ensemble_frames: expected maps of several times, got space-time pictures; draw them with ensemble_maps")
    fields = [*columns.values(), spread]
    scale, spread_colours = colour_scale([c.values for c in columns.values()]), spread_scale([spread.values])
    grid = ensemble_maps(members.isel({step: [0]}), None if truth is None else truth.isel({step: [0]}), shown=shown)
    # the bars were made for the first time alone
    figure = figure_of(grid)
    for bar in [axes for axes in figure.axes if axes not in set(grid.reshape(-1))]:
        bar.remove()
    _bars(grid, fields, scale, spread_colours, members)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for k in range(spread.sizes[step]):
        for panel, field in zip(grid[0], fields, strict=True):
            cmap, norm = spread_colours if field is spread else scale
            panel.collections[0].set(array=np.ma.masked_invalid(plane_of(field.isel({step: k})).values.astype(np.float64)), cmap=cmap, norm=norm)
        grid[0, 0].set_ylabel("")
        _row_label(grid[0, 0], step_label(spread[step], k))
        yield grid


def sensor_marks(places: np.ndarray, axes: Axes) -> Axes:
    """Mark places (n, 2), given as (longitude, latitude) or (x, y), on a map: dark dots with a light rim, readable on any colour."""
    points = np.asarray(places, dtype=np.float64).reshape(-1, 2)
    if axes.has_data():
        axes.autoscale_view()  # limits are computed only when they are asked for
        axes.autoscale(False)  # a sensor beyond the last cell centre of a periodic axis must not widen the map
    axes.scatter(points[:, 0], points[:, 1], s=7, c=TRUTH, edgecolors="white", linewidths=0.5, zorder=3)
    return axes


def _check_members(members: xr.DataArray, truth: xr.DataArray | None) -> None:
    if "member" not in members.dims or members.sizes["member"] < 2:
        raise InputError(f"ensemble_maps: expected two or more members along a dim 'member', got {dict(members.sizes)}; draw one field with map_plot")
    if truth is not None and set(truth.dims) != set(members.dims) - {"member"}:
        expected = [d for d in members.dims if d != "member"]
        raise InputError(f"ensemble_maps: expected a truth on {expected}, got {list(truth.dims)}; select the same times")


def _columns(members: xr.DataArray, truth: xr.DataArray | None, shown: int) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    """Fields of one colour scale by heading, and the standard deviation."""
    mean, spread = _moments(members)
    columns = {} if truth is None else {"truth": truth}
    columns["ensemble mean"] = mean
    columns.update({f"member {k + 1}": members.isel(member=k) for k in range(min(shown, members.sizes["member"]))})
    return columns, spread


def _bars(
    grid: np.ndarray, fields: Sequence[xr.DataArray], scale: tuple[Colormap, Normalize], spread_colours: tuple[Colormap, Normalize], of: xr.DataArray
) -> None:
    """The colour bars of values and of standard deviations, which is the last field."""
    _bar(grid[:, :-1], scale, label_of(of), extend=extends([f.values for f in fields[:-1]], scale[1]), shrink=0.5)
    label = quantity("std. dev.", str(of.attrs.get("units", "1")))
    _bar(grid[:, -1:], spread_colours, label, extend=extends([fields[-1].values], spread_colours[1]), shrink=0.95)


def _moments(members: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and standard deviation (ddof 1) over members, NaN where any member is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return members.mean("member", skipna=False, keep_attrs=True), members.std("member", skipna=False, ddof=1, keep_attrs=True)


def _step_dim(field: xr.DataArray) -> str | None:
    """The dim that makes the rows; None where time is an axis of the picture."""
    times = [str(d) for d in field.dims if d in _TIMES]
    space = [d for d in field.dims if d in (*SPHERE, *PLANE)]
    if len(times) > 1 or len(times) + len(space) != field.ndim:
        raise InputError(f"ensemble_maps: expected dims member, one of time, and space, got {list(field.dims)}; select one entry of the others")
    return times[0] if times and len(space) > 1 else None


def plane_of(field: xr.DataArray) -> xr.DataArray:
    """The field with two dims, vertical first."""
    keep = [d for d in (*_TIMES, *PLANE, *SPHERE) if d in field.dims]
    flat = field.squeeze([d for d in field.dims if field.sizes[d] == 1 and (d not in keep or len(keep) > 2)], drop=True)
    order = [d for d in keep if d in flat.dims]
    if flat.ndim != 2 or len(order) != 2:
        got = dict(field.sizes)
        raise InputError(f"map: expected two dims such as (latitude, longitude), (y, x) or (time, x), got {got}; select one entry of the others")
    missing = [d for d in order if d not in flat.coords]
    if missing:
        flat = flat.assign_coords({d: np.arange(flat.sizes[d]) for d in missing})
    return flat.transpose(*order)


def _numbers(coordinate: xr.DataArray) -> np.ndarray:
    return lead_of(coordinate)[0] if coordinate.name in _TIMES else np.asarray(coordinate.values, dtype=np.float64)


def _stretch(plane: xr.DataArray) -> float | None:
    """Length of a unit of the vertical axis over one of the horizontal; None where they do not compare."""
    up, across = plane.dims
    if (up, across) == SPHERE:
        return 1.0 / max(math.cos(math.radians(float(plane["latitude"].mean()))), 0.2)
    if up in _TIMES or plane[up].attrs.get("units") != plane[across].attrs.get("units"):
        return None
    tall, wide = (float(np.ptp(_numbers(plane[d]))) for d in (up, across))
    return 1.0 if tall and wide and 1 / _LONGEST < tall / wide < _LONGEST else None


def _size(plane: xr.DataArray, *, width: float, extra: float) -> tuple[float, float]:
    """Inches of a panel of this shape; `extra` is the height for headings and bars."""
    stretch = _stretch(plane)
    if stretch is None:
        return width, 0.8 * width + extra
    tall, wide = (float(np.ptp(_numbers(plane[d]))) for d in plane.dims)
    return width, min(max(stretch * tall / max(wide, 1e-300), 0.25), 2.5) * width * 0.92 + extra


def scale_axes(axes: Axes, plane: xr.DataArray) -> None:
    """Aspect, ticks and labels that suit the two dims of a plane."""
    stretch = _stretch(plane)
    axes.set_aspect("auto" if stretch is None else stretch)
    axes.tick_params(labelsize=SMALL - 1, length=2.5)
    for dim, axis, bins in ((str(plane.dims[0]), axes.yaxis, 5), (str(plane.dims[1]), axes.xaxis, 4)):
        if dim in SPHERE:
            span = float(np.ptp(_numbers(plane[dim])))
            axis.set_major_locator(MultipleLocator(30 * round(span / 120)) if span > 120 else MaxNLocator(bins, steps=[1, 1.5, 2, 3, 5, 6, 10]))
            axis.set_major_formatter(FuncFormatter(_north if dim == "latitude" else _east))
        elif dim in _TIMES:
            axis.set_label_text(quantity(dim.replace("_", " "), lead_of(plane[dim])[1]), fontsize=SMALL)
        else:
            axis.set_major_locator(MaxNLocator(bins))
            axis.set_label_text(quantity(dim, str(plane[dim].attrs.get("units", "1"))), fontsize=SMALL)


def _north(value: float, place: int | None = None) -> str:
    return f"{abs(value):g}°{'N' if value > 0 else 'S' if value < 0 else ''}"


def _east(value: float, place: int | None = None) -> str:
    turned = (value + 180.0) % 360.0 - 180.0
    half = abs(turned) in (0.0, 180.0)
    return f"{abs(turned):g}°{'' if half else 'E' if turned > 0 else 'W'}"


def _inner(axes: Axes, *, left: bool, bottom: bool) -> None:
    """Keep labels at the left and the bottom of a grid of maps only."""
    if not left:
        axes.tick_params(labelleft=False)
        axes.set_ylabel("")
    if not bottom:
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")


def _row_label(axes: Axes, text: str) -> None:
    below = axes.get_ylabel()
    axes.set_ylabel(f"{text}\n{below}" if below else text, fontsize=SMALL)


def _bar(axes: np.ndarray, scale: tuple[Colormap, Normalize], label: str, *, extend: str, shrink: float) -> None:
    cmap, norm = scale
    mappable = ScalarMappable(norm=norm, cmap=cmap)
    bar = figure_of(axes).colorbar(
        mappable, ax=list(axes.reshape(-1)), location="bottom", extend=extend, shrink=shrink, aspect=28 if axes.shape[1] > 1 else 13, pad=0.02
    )
    _finish_bar(bar, label)


def _finish_bar(bar: Any, label: str) -> None:  # noqa: ANN401 - a Colorbar
    bar.set_label(plain(label), fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL - 1, length=2.5)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    bar.outline.set_linewidth(0.5)
