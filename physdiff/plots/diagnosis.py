"""Pictures of what `diagnose` found: the denoiser by noise level, the spread that a sampler keeps and that the prior has, by wavenumber."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.colours import TRUTH, line_style
from physdiff.plots.style import SMALL, axes_grid, plain, tidy

__all__ = ["diagnosis_plot"]

_LEVELS = (("fokker_planck", "Fokker-Planck residual"), ("asymmetry", "Jacobian asymmetry"), ("circulation", "work around loops"))
_RATIOS = (
    ("prior_gain", "own sampler over many steps"),
    ("sde_ratio", "SDE over ODE, many steps"),
    ("spread_ratio", "spread over error"),
)


def diagnosis_plot(found: xr.Dataset, axes: Any = None, *, variable: str | None = None) -> np.ndarray:  # noqa: ANN401 - nested lists or an array of axes
    """Three panels: the checks of the denoiser by noise level; the gain of samplers on Gaussian data; ratios of this prior's ensembles.

    Args:
        found: What `diagnose` returned.
        axes: Three axes; those of a new figure if None.
        variable: The field of the second and third panel; the first if None.

    Returns:
        The axes (1, 3).

    Raises:
        InputError: If there is no such variable, or the number of axes is wrong.
    """
    names = [str(v) for v in found["variable"].values]
    name = names[0] if variable is None else variable
    if name not in names:
        raise InputError(f"diagnosis_plot: expected one of {', '.join(names)}, got {name!r}")
    grid = axes_grid(axes, 1, 3, size=(4.4, 3.3))
    levels, gains, ratios = grid[0]
    for k, (key, label) in enumerate(_LEVELS):
        # rounding is as good as zero
        levels.loglog(found["noise_ratio"], np.maximum(found[key].values, 1e-5), label=plain(label), **line_style(k))
    levels.legend(frameon=False, fontsize=SMALL)
    tidy(levels, x="noise-to-signal ratio u", y="share", title="the denoiser (0 is right)")
    one = found.sel(variable=name)
    heard = one["data_variance"].values > 1e-4 * one["data_variance"].values.sum()
    number = np.arange(len(heard))
    for k, label in enumerate(found["sampler"].values):
        gains.plot(number[heard], one["step_gain"].values[k][heard], label=plain(str(label)), **{**line_style(k), "marker": ""})
    heard = one["prior_variance"].values > 1e-4 * one["prior_variance"].values.sum()
    for k, (key, label) in enumerate(_RATIOS):
        ratios.plot(number[heard], one[key].values[heard], label=plain(label), **{**line_style(k), "marker": ""})
    for panel, good in ((gains, 0.05), (ratios, 0.12)):
        panel.axhline(1.0, color=TRUTH, linewidth=1.0)
        panel.axhspan(1 - good, 1 + good, color="#000000", alpha=0.06, linewidth=0)
        low, high = panel.get_ylim()
        panel.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
        panel.legend(frameon=False, fontsize=SMALL, loc="upper right")
    tidy(gains, x="wavenumber (number of the shell)", y="standard deviation kept", title=f"{name}: steps alone, Gaussian data")
    tidy(ratios, x="wavenumber (number of the shell)", y="ratio of standard deviations", title=f"{name}: ensembles of this prior")
    return grid
