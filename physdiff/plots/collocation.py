"""Pictures of a network trained on a law: how it came down, and the field with its error and its residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from physdiff.base.errors import InputError
from physdiff.plots.maps import map_plot
from physdiff.plots.style import new_axes, one_axes, tidy

__all__ = ["looks_plot", "residual_maps"]

_KNOWN = ("step", "seconds", "residual", "loss", "error")


def looks_plot(looks: Sequence[Mapping[str, float]], axes: Axes | None = None) -> Axes:
    """Residual, loss and error over the steps, on a logarithmic scale.

    Args:
        looks: What `PINNModule.looks` holds.
        axes: Where to draw; a new figure if None.

    Raises:
        InputError: If there is no look.
    """
    if not looks:
        raise InputError("looks_plot: expected at least one look, got none; train for longer than `look` steps")
    axes = one_axes(axes)
    steps = [look["step"] for look in looks]
    for name, colour in (("residual", "C0"), ("loss", "C7"), ("error", "C3")):
        if name in looks[-1]:
            values = np.array([look[name] for look in looks], dtype=np.float64)
            shown = np.where(values > 0, values, np.nan)  # a loss of zero has no place on the scale
            axes.plot(steps, shown, color=colour, label=f"{name}: {values[-1]:.2g}", marker="." if len(looks) < 3 else "")
    axes.set_yscale("log")
    axes.legend(fontsize=8, frameon=False)
    found = ", ".join(f"{k} = {v:.5g}" for k, v in looks[-1].items() if k not in _KNOWN)
    return tidy(axes, x="step", y="", title=found)


def residual_maps(field: xr.DataArray, residual: xr.DataArray, truth: xr.DataArray | None = None) -> Any:  # noqa: ANN401 - an array of axes
    """A field, what is left of its law, and with a truth this and the difference from it: panels in one row.

    Args:
        field: On (time, x), or (time, y, x), whose last frame is shown.
        residual: What is left of the law, on the same points.
        truth: The field as it should be, on the same points.
    """
    panels = {"network": field, **({} if truth is None else {"reference": truth, "error": field - truth}), "residual of the law": residual}
    axes = new_axes(1, len(panels), size=(3.9, 2.9))
    for panel, (name, values) in zip(axes[0], panels.items(), strict=True):
        shown = values if values.ndim == 2 else values.isel(time=-1)
        shown.attrs.update(field.attrs if "residual" not in name else residual.attrs)
        map_plot(shown, panel, title=name)
    return axes
