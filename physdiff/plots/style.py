"""What all pictures share: figures without global state, labels from attributes, numbers to three digits.

Figures are made by `new_axes` with an Agg canvas of their own; pyplot is never touched, so nothing is kept alive and no display is needed.
Names and units come from the attributes ``long_name`` and ``units``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from physdiff.base.errors import InputError
from physdiff.data.timeline import show_time
from physdiff.data.units import normal_unit

__all__ = [
    "SMALL",
    "axes_grid",
    "even_choice",
    "figure_of",
    "label_of",
    "lead_of",
    "new_axes",
    "one_axes",
    "plain",
    "pretty_unit",
    "quantity",
    "show_number",
    "step_label",
    "tidy",
]

SMALL = 8.5
_NORMAL = 9.5
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def new_axes(rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (4.6, 3.1)) -> np.ndarray:
    """Axes (rows, columns) of a new figure without global state; `size` is that of one panel in inches."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    return grid


def one_axes(axes: Axes | None, *, size: tuple[float, float] = (4.6, 3.1)) -> Axes:
    """The axes given, or those of a new figure."""
    return axes if axes is not None else new_axes(size=size)[0, 0]


def axes_grid(axes: Any, rows: int, columns: int, *, size: tuple[float, float]) -> np.ndarray:  # noqa: ANN401 - nested lists or an array of axes
    """The axes given as an array (rows, columns), or those of a new figure.

    Raises:
        InputError: If another number of axes was given.
    """
    if axes is None:
        return new_axes(rows, columns, size=size)
    grid = np.array(axes, dtype=object)
    if grid.size != rows * columns:
        raise InputError(f"axes: expected {rows} x {columns} = {rows * columns}, got {grid.size}; make them with figure.subplots({rows}, {columns})")
    return grid.reshape(rows, columns)


def figure_of(axes: Any) -> Figure:  # noqa: ANN401 - axes or an array of axes
    """The figure that axes, or an array of axes, belong to."""
    one = np.asarray(axes, dtype=object).reshape(-1)[0]
    figure = one.get_figure(root=True) if isinstance(one, Axes) else None
    if not isinstance(figure, Figure):
        raise InputError(f"figure_of: expected axes of a figure, got {one!r}")
    return figure


def tidy(axes: Axes, *, x: str = "", y: str = "", title: str = "") -> Axes:
    """Labels, a faint grid, and no frame on the top and the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#000000", alpha=0.10, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL)
    axes.set_xlabel(plain(x), fontsize=_NORMAL)
    axes.set_ylabel(plain(y), fontsize=_NORMAL)
    if title:
        axes.set_title(plain(title), fontsize=_NORMAL, loc="left")
    return axes


def plain(text: str) -> str:
    """The text as matplotlib shows it unchanged: a dollar sign would start a formula, a leading underscore hide it from the legend."""
    escaped = text.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{escaped}" if escaped.startswith("_") else escaped


def show_number(value: float, digits: int = 3) -> str:
    """A number to `digits` significant digits: ``0.165``, ``85600``, ``1.23 × 10⁻⁵``; an en dash for NaN.

    Whole numbers given as int stay as they are.
    """
    if isinstance(value, bool | int | np.integer):
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return "–" if math.isnan(number) else ("∞" if number > 0 else "−∞")
    if number == 0:
        return "0"
    mantissa, exponent = f"{number:.{digits - 1}e}".split("e")
    power = int(exponent)
    if -4 < power < 6:
        text = f"{float(f'{mantissa}e{power}'):.{max(0, digits - 1 - power)}f}"
    else:
        text = f"{mantissa} × 10{str(power).translate(_SUPERSCRIPT)}"
    return text.replace("-", "−")


def pretty_unit(unit: str) -> str:
    """A unit for readers: ``m2 s-2`` and ``m**2 s**-2`` become ``m² s⁻²``; nothing for dimensionless ones."""
    normal = normal_unit(unit)
    if normal == "1":
        return ""
    return re.sub(r"(?<=[^\W\d])-?\d+", lambda power: power.group().translate(_SUPERSCRIPT), normal)


def quantity(name: str, unit: str) -> str:
    """Name and unit: ``temperature (K)``."""
    shown = pretty_unit(unit)
    return f"{name} ({shown})" if shown else name


def label_of(array: xr.DataArray) -> str:
    """Name and unit of an array from its attributes."""
    name = str(array.attrs.get("long_name") or array.name or "value")
    return quantity(name, str(array.attrs.get("units", "1")))


def lead_of(coordinate: xr.DataArray) -> tuple[np.ndarray, str]:
    """Lead times (or times) as numbers in a unit that reads well, and that unit.

    Durations (timedelta64, or numbers in a unit of time) come in s, min, h or d by their smallest value; calendar times as datetime64 with
    the unit ``"UTC"``; other numbers as they are.
    """
    values = np.asarray(coordinate.values)
    if values.dtype.kind == "M":
        return values, "UTC"
    unit = normal_unit(str(coordinate.attrs.get("units", "1")))
    if values.dtype.kind == "m":
        values, unit = values / np.timedelta64(1, "s"), "s"
    values = values.astype(np.float64)
    if unit not in _SECONDS or not values.size:
        return values, unit
    seconds = values * _SECONDS[unit]
    shortest = float(np.abs(seconds[seconds != 0]).min(initial=math.inf)) if seconds.any() else 0.0
    chosen = next(u for u, least in (("d", 86400.0), ("h", 1800.0), ("min", 60.0), ("s", 0.0)) if shortest >= least)
    return seconds / _SECONDS[chosen], chosen


def step_label(coordinates: xr.DataArray, index: int) -> str:
    """One entry of a time or lead-time coordinate for a heading: ``+6 h``, ``2019-03-16T06:00``, ``t = 3.5``."""
    values, unit = lead_of(coordinates)
    if unit == "UTC":
        return show_time(values[index])
    number = f"{values[index]:.6g}"
    sign = "+" if coordinates.name == "lead_time" else "t = "
    return f"{sign}{number} {pretty_unit(unit)}".strip()


def even_choice(count: int, wanted: int) -> Sequence[int]:
    """At most `wanted` indices from 0 to count - 1, evenly spaced, both ends among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))})
