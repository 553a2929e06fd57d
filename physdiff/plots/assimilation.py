"""An assimilation through time: error and spread before and after every analysis, and whether the misfits of the readings are as expected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from physdiff.base.errors import InputError
from physdiff.plots.colours import LINES, TRUTH
from physdiff.plots.style import SMALL, lead_of, new_axes, pretty_unit, quantity, tidy

__all__ = ["assimilation_plot"]

_KINDS = (("_free", "no readings", LINES[5]), ("_forecast", "forecast", LINES[1]), ("", "analysis", LINES[0]))


def assimilation_plot(result: xr.Dataset, variable: str, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Error (lines) and spread (dashed) of a field by time, and the innovation ratio by cycle.

    Args:
        result: What `assimilate` returns; scores of `assimilation_scores` where the truth is known.
        variable: Name of the field.
        axes: Two axes; a new figure if None.

    Returns:
        Both axes.

    Raises:
        InputError: If the field is not there.
    """
    if variable not in result or "innovation" not in result:
        have = ", ".join(str(n) for n in result.data_vars)
        raise InputError(f"assimilation_plot: expected a field {variable!r} and innovations, got {have}; pass what assimilate returns")
    left, right = new_axes(1, 2, size=(4.8, 3.2))[0] if axes is None else axes
    when, unit = lead_of(result["time"])
    for tag, name, colour in _KINDS:
        if f"rmse_{variable}{tag}" in result:
            left.plot(when, result[f"rmse_{variable}{tag}"].values, color=colour, linewidth=1.6, label=f"{name}, error")
            left.plot(when, result[f"spread_{variable}{tag}"].values, color=colour, linewidth=1.2, linestyle=(0, (4, 1.6)), label=f"{name}, spread")
    if not left.has_data():  # no truth: the ensemble's own spread
        for tag, name, colour in _KINDS:
            if f"{variable}{tag}" in result:
                field = result[f"{variable}{tag}"]
                spread = np.sqrt(field.var("member", ddof=1).mean([d for d in field.dims if d not in ("member", "time")]))
                left.plot(when, np.asarray(spread), color=colour, linewidth=1.2, linestyle=(0, (4, 1.6)), label=f"{name}, spread")
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=SMALL - 1, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
    shown = pretty_unit(str(result[variable].attrs.get("units", "1")))
    tidy(left, x=quantity("time", unit), y=f"error and spread ({shown})" if shown else "error and spread")
    cycles, unit = lead_of(result["cycle_time"])
    right.plot(cycles, result["innovation"].values, ".-", color=LINES[0], linewidth=1.0, markersize=4)
    right.axhline(1.0, color=TRUTH, linewidth=0.8)
    right.set_ylim(bottom=0)
    tidy(right, x=quantity("time", unit), y="misfit over expected")
    for one in (left, right):
        one.tick_params(axis="x", labelrotation=30 if unit == "UTC" else 0)
    return left, right
