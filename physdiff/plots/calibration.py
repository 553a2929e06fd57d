r"""Is the ensemble as uncertain as it should be: spread against error, ranks of the truth, coverage.

Of a calibrated ensemble with m members the root mean variance, times $\sqrt{(m+1)/m}$, equals the RMSE of its mean at every lead; each of
the m + 1 ranks of the truth has the same frequency; and the central interval between the k-th lowest and the k-th highest member covers
$1 - 2k/(m+1)$ (scores/spread_skill.py, rank_histogram.py, coverage.py). The last two are read off the same histogram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from physdiff.base.errors import InputError
from physdiff.plots.colours import LINES, TRUTH, line_style
from physdiff.plots.style import SMALL, axes_grid, lead_of, one_axes, plain, pretty_unit, quantity, tidy

__all__ = ["coverage_curve", "coverage_plot", "rank_histogram_plot", "reliability_plot", "spread_skill_plot"]


def spread_skill_plot(spread: xr.DataArray, error: xr.DataArray, axes: Axes | None = None, *, members: int | None = None) -> Axes:
    """Spread of the ensemble and error of its mean against lead time; they should be one line.

    Args:
        spread: (lead_time,), root mean variance.
        error: (lead_time,), RMSE of the ensemble mean, same units.
        axes: Where to draw; a new figure if None.
        members: Number of members; spread is then drawn times sqrt((m+1)/m), what a perfect ensemble of m expects.

    Returns:
        The axes; the lines are error and spread.
    """
    axes = one_axes(axes)
    lead, unit = lead_of(error["lead_time"])
    factor = 1.0 if members is None else math.sqrt((members + 1) / members)
    expected = factor * np.asarray(spread.values, dtype=np.float64)
    axes.plot(lead, error.values, linewidth=1.6, label="error of the mean (RMSE)", **line_style(0))
    axes.plot(lead, expected, linewidth=1.6, label="spread (standard deviation)", **line_style(1))
    axes.fill_between(lead, expected, np.asarray(error.values, dtype=np.float64), color="#000000", alpha=0.07, linewidth=0)
    axes.set_ylim(0, 1.08 * max(float(np.nanmax([expected, np.asarray(error.values, dtype=np.float64)])), 1e-300))
    axes.legend(frameon=False, fontsize=SMALL)
    shown = pretty_unit(str(error.attrs.get("units", spread.attrs.get("units", "1"))))
    return tidy(axes, x=quantity("lead time", unit), y=f"spread and error ({shown})" if shown else "spread and error")


def rank_histogram_plot(frequency: np.ndarray, axes: Axes | None = None, *, cases: float | None = None) -> Axes:
    """How often the truth had each rank among the members.

    Args:
        frequency: (m + 1,), shares that sum to one.
        axes: Where to draw; a new figure if None.
        cases: Number of independent cases; draws the range that holds a bar of a calibrated ensemble with 95 % probability.

    Returns:
        The axes; the bars are ``axes.patches``.

    Raises:
        InputError: If the frequencies are not shares.
    """
    share = _shares(frequency)
    axes = one_axes(axes)
    expected = 1.0 / share.size
    axes.bar(np.arange(share.size), share / expected, width=0.92, color=LINES[5], edgecolor=LINES[0], linewidth=0.6)
    if cases is not None:
        half = 1.96 * math.sqrt((1 - expected) / (cases * expected))
        axes.axhspan(max(0.0, 1 - half), 1 + half, color="#000000", alpha=0.10, linewidth=0)
    axes.axhline(1.0, color=TRUTH, linewidth=1.0)
    axes.set_xlim(-0.7, share.size - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    tidy(axes, x=f"rank of the truth among {share.size - 1} members", y="frequency over expected")
    axes.grid(False, axis="x")
    return axes


def coverage_curve(frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nominal and observed coverage of all central intervals of an ensemble, from its rank histogram.

    Args:
        frequency: (m + 1,), shares that sum to one.

    Returns:
        Levels 1 - 2k/(m+1) for k = 0, 1, ... in increasing order, and the share of the truth inside each.
    """
    share = _shares(frequency)
    n = share.size
    cuts = np.arange(n // 2, -1, -1)
    return 1 - 2 * cuts / n, np.array([share[k : n - k].sum() for k in cuts])


def coverage_plot(frequencies: Mapping[str, np.ndarray], axes: Axes | None = None) -> Axes:
    """Observed against nominal coverage of central intervals; below the diagonal is over-confident.

    Args:
        frequencies: Name -> rank histogram (m + 1,), as in `rank_histogram_plot`.
        axes: Where to draw; a new figure if None.

    Returns:
        The axes; the lines are the names in their order, then the diagonal.
    """
    axes = one_axes(axes, size=(3.4, 3.1))
    for k, (name, frequency) in enumerate(frequencies.items()):
        nominal, observed = coverage_curve(frequency)
        axes.plot(nominal, observed, linewidth=1.6, label=plain(name), clip_on=False, **line_style(k))
    axes.plot([0, 1], [0, 1], color=TRUTH, linewidth=1.0, zorder=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    if len(frequencies) > 1:
        axes.legend(frameon=False, fontsize=SMALL)
    return tidy(axes, x="nominal coverage", y="observed coverage")


def reliability_plot(happened: np.ndarray, otherwise: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    """How often an event happened when so many members had it, and how often so many had it.

    Args:
        happened: (m + 1,), share of the area and cases where k = 0..m members have the event and it happened.
        otherwise: The same where it did not; all together sum to one.
        axes: Two axes to draw on; a new figure if None.

    Returns:
        The axes: observed frequency against forecast probability k/m (with the diagonal and the frequency of all cases), and the shares.

    Raises:
        InputError: If the shares do not sum to one.
    """
    both = _shares(np.asarray(happened) + np.asarray(otherwise))
    pair = axes_grid(axes, 1, 2, size=(4.3, 3.1)).reshape(-1)
    probability = np.linspace(0, 1, both.size)
    rare = both < 1e-3  # of such a share the frequency is noise
    frequency = np.where(rare, np.nan, happened / np.where(both > 0, both, 1.0))
    pair[0].plot([0, 1], [0, 1], color=TRUTH, linewidth=1.0, zorder=1)
    pair[0].axhline(float(np.sum(happened)), color=TRUTH, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    pair[0].plot(probability, frequency, linewidth=1.6, clip_on=False, **line_style(0))
    pair[0].set(xlim=(0, 1), ylim=(0, 1.02))
    pair[1].bar(probability, both, width=0.9 / (both.size - 1), color=LINES[5], edgecolor=LINES[0], linewidth=0.6)
    for axis in (pair[0].xaxis, pair[0].yaxis, pair[1].xaxis, pair[1].yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    tidy(pair[0], x="forecast probability", y="observed frequency")
    tidy(pair[1], x="forecast probability", y="share of all cases")
    return pair


def _shares(frequency: np.ndarray) -> np.ndarray:
    share = np.asarray(frequency, dtype=np.float64)
    if share.ndim != 1 or share.size < 2 or not np.isfinite(share).all() or (share < 0).any() or abs(share.sum() - 1) > 1e-3:
        got = f"shape {share.shape} with sum {share.sum():g}"
        raise InputError(f"rank histogram: expected shares (m + 1,) that sum to one, got {got}; divide counts by their sum")
    return share
