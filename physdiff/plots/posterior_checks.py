"""Pictures of what `posterior_report` found: distribution functions of ranks against uniform ones, random points, coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from physdiff.base.errors import InputError
from physdiff.plots.calibration import coverage_plot, rank_histogram_plot
from physdiff.plots.colours import TRUTH, line_style
from physdiff.plots.style import SMALL, axes_grid, one_axes, plain, tidy
from physdiff.scores.uniformity import rank_band

__all__ = ["posterior_checks_plot", "rank_ecdf_plot"]


def rank_ecdf_plot(ranks: dict[str, np.ndarray], members: int, axes: Axes | None = None, *, level: float = 0.95) -> Axes:
    """Distribution functions of ranks minus the uniform one, in the band that holds a whole one with probability `level`.

    A slope that falls, rises and falls is a spread too narrow; a bow to one side a shift.

    Args:
        ranks: Name -> ranks of the cases (n,), 0..members; all of the same cases.
        members: Number of members.
        axes: Where to draw; a new figure if None.
        level: Probability of the band, for each name by itself.

    Returns:
        The axes; the lines are the names in their order, then zero.

    Raises:
        InputError: If there are no ranks, or not as many for each name.
    """
    sizes = {len(r) for r in ranks.values()}
    if len(sizes) != 1:
        raise InputError(f"rank_ecdf_plot: expected ranks of the same cases for each name, got {sorted(sizes) or 'none'}")
    axes = one_axes(axes)
    band = rank_band(sizes.pop(), members, level=level)
    at, expected = np.concatenate([[0.0], band.expected.numpy(), [1.0]]), band.expected.numpy()
    low, high = (np.concatenate([[0.0], side.numpy() - expected, [0.0]]) for side in (band.lower, band.upper))
    axes.fill_between(at, low, high, color="#000000", alpha=0.10, linewidth=0)
    cuts = band.cuts.numpy()
    for k, (name, values) in enumerate(ranks.items()):
        share = (np.asarray(values)[None, :] < cuts[:, None]).mean(1)
        axes.plot(at, np.concatenate([[0.0], share - expected, [0.0]]), linewidth=1.3, label=plain(name), **{**line_style(k), "marker": ""})
    axes.axhline(0.0, color=TRUTH, linewidth=1.0)
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, fontsize=SMALL, ncols=2)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + 0.45 * (top - bottom))  # room for the legend
    return tidy(axes, x="rank of the truth, 0 to 1", y="share below, minus expected")


def posterior_checks_plot(found: xr.Dataset, axes: Any = None) -> np.ndarray:  # noqa: ANN401 - nested lists or an array of axes
    """Four panels: ranks of the quantities, of distances to random points, rank histogram of the cells, coverage of intervals.

    Args:
        found: What `posterior_report` returned.
        axes: Four axes, (2, 2); those of a new figure if None.

    Returns:
        The axes (2, 2).

    Raises:
        InputError: If the number of axes is wrong.
    """
    grid = axes_grid(axes, 2, 2, size=(4.6, 3.3))
    (quantities, points), (cells, cover) = grid
    members = int(found.attrs["members"])
    worst = np.argsort(found["p_value"].values, kind="stable")[:6]
    shown = {str(found["quantity"].values[q]): found["rank"].values[:, q] for q in sorted(worst)}
    rank_ecdf_plot(shown, members, quantities)
    tests = int(found.attrs["tests"])
    quantities.set_title(f"ranks, the {len(shown)} smallest p of {tests - 1}", loc="left")
    # the band of each of several tests, as the verdict counts them
    rank_ecdf_plot({"distance to a random point": found["tarp_rank"].values}, members, points)
    points.set_title(f"random points, p = {float(found.attrs['tarp_p']):.2g}", loc="left")
    histograms = {str(v): found["ranks"].sel(variable=v).mean("case").values for v in found["variable"].values}
    first = next(iter(histograms))
    rank_histogram_plot(histograms[first], cells)
    cells.set_title(f"ranks of all cells of {plain(first)}", loc="left")
    coverage_plot(histograms, cover)
    cover.set_title("coverage of central intervals", loc="left")
    return grid
