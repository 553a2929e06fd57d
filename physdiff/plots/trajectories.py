"""Lines: scores against lead time with baselines, an ensemble at one place, the loss of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes

from physdiff.base.errors import InputError
from physdiff.plots.colours import LINES, TRUTH, line_style
from physdiff.plots.style import SMALL, label_of, lead_of, one_axes, plain, quantity, tidy
from physdiff.scores.coverage import central_interval, members_needed

__all__ = ["band_plot", "fan_plot", "running_mean", "scores_plot", "training_curve"]


def scores_plot(
    scores: Mapping[str, xr.DataArray],
    axes: Axes | None = None,
    *,
    label: str = "",
    reference: float | None = None,
    band: tuple[float, float] | None = None,
    bounds: Mapping[str, xr.DataArray] | None = None,
) -> Axes:
    """One score of several forecasts against lead time, the first one drawn thicker.

    Args:
        scores: Name -> (lead_time,).
        bounds: Name -> lower and upper end (lead_time, bounds), shaded around the line of that name.
        axes: Where to draw; a new figure if None.
        label: Name of the score with its unit; from the first array's attributes if empty.
        reference: Value to mark with a line, such as 1 for a ratio.
        band: Range to shade.

    Returns:
        The axes; the first lines are the forecasts in their order.

    Raises:
        InputError: If there is no score.
    """
    if not scores:
        raise InputError("scores_plot: expected at least one score, got none")
    axes = one_axes(axes)
    unit = ""
    for k, (name, score) in enumerate(scores.items()):
        lead, unit = lead_of(score["lead_time"])
        axes.plot(lead, score.values, linewidth=2.3 if k == 0 else 1.3, label=plain(name), zorder=3 if k == 0 else 2, **line_style(k))
        if bounds is not None and name in bounds:
            low, high = np.asarray(bounds[name].transpose("bounds", "lead_time").values, dtype=np.float64)
            axes.fill_between(lead, low, high, color=line_style(k)["color"], alpha=0.15, linewidth=0, zorder=1)
    if reference is not None:
        axes.axhline(reference, color=TRUTH, linewidth=1.0, zorder=1)
    if band is not None:
        axes.axhspan(*band, color="#000000", alpha=0.07, linewidth=0, zorder=0)
    finite = np.concatenate([np.asarray(s.values, dtype=np.float64).reshape(-1) for s in scores.values()])
    if reference is None and np.nanmin(finite) >= 0:
        axes.set_ylim(0, 1.08 * max(float(np.nanmax(finite)), 1e-300))
    if len(scores) > 1:
        # many names find no empty place: the lines behind them are dimmed
        axes.legend(framealpha=0.8, edgecolor="none", fontsize=SMALL)
    return tidy(axes, x=quantity("lead time", unit), y=label or label_of(next(iter(scores.values()))))


def fan_plot(
    members: xr.DataArray,
    truth: xr.DataArray | None = None,
    axes: Axes | None = None,
    *,
    levels: Sequence[float] = (0.9, 0.5),
) -> Axes:
    """An ensemble at one place through time: mean, central intervals, truth.

    Args:
        members: (member, lead_time or time).
        truth: The same without `member`.
        axes: Where to draw; a new figure if None.
        levels: Probabilities of the shaded intervals; those which the ensemble is too small for are left out (90 % needs 19 members).

    Returns:
        The axes; the lines are the mean, then the truth.

    Raises:
        InputError: If there are other dims.
    """
    if members.ndim != 2 or "member" not in members.dims:
        raise InputError(f"fan_plot: expected dims member and lead_time (or time), got {dict(members.sizes)}; select one place and one start")
    axes = one_axes(axes, size=(5.6, 3.0))
    (step,) = (str(d) for d in members.dims if d != "member")
    place, unit = lead_of(members[step])
    values = torch.from_numpy(np.array(members.transpose("member", step).values, dtype=np.float64))
    for k, level in enumerate(sorted(levels, reverse=True)):
        if values.shape[0] >= members_needed(level):
            low, high = central_interval(values, level=level)
            axes.fill_between(place, low, high, color=LINES[0], alpha=min(0.16 + 0.16 * k, 0.6), linewidth=0, label=f"{100 * level:g} % interval")
    axes.plot(place, values.mean(0), color=LINES[0], linewidth=1.6, linestyle=(0, (5, 1.6)), label="ensemble mean")
    if truth is not None:
        axes.plot(place, np.asarray(truth.values, dtype=np.float64), color=TRUTH, linewidth=1.8, label="truth")
    axes.legend(frameon=False, fontsize=SMALL, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, borderaxespad=0.2, columnspacing=1.4)
    return tidy(axes, x=quantity(step.replace("_", " "), unit), y=label_of(members))


def band_plot(lower: xr.DataArray, upper: xr.DataArray, truth: xr.DataArray | None = None, *, axes: Axes | None = None) -> Axes:
    """A band at one place through time, and the truth.

    Args:
        lower: Lower end, (lead_time or time,).
        upper: Upper end.
        truth: The same.
        axes: Where to draw; a new figure if None.

    Returns:
        The axes; the collection is the band, the line the truth.
    """
    axes = one_axes(axes, size=(5.6, 3.0))
    step = str(lower.dims[0])
    place, unit = lead_of(lower[step])
    low, high = (np.asarray(v.values, dtype=np.float64) for v in (lower, upper))
    axes.fill_between(place, low, high, color=LINES[0], alpha=0.3, linewidth=0, label="band")
    if truth is not None:
        axes.plot(place, np.asarray(truth.values, dtype=np.float64), color=TRUTH, linewidth=1.8, label="truth")
    axes.legend(frameon=False, fontsize=SMALL, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)
    return tidy(axes, x=quantity(step.replace("_", " "), unit), y=label_of(truth if truth is not None else lower))


def training_curve(
    steps: np.ndarray,
    loss: np.ndarray,
    axes: Axes | None = None,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> Axes:
    """Loss against training step: single values faint, their running mean on top.

    Args:
        steps: (n,) step numbers.
        loss: (n,) values; NaN are left out.
        axes: Where to draw; a new figure if None.
        validation: Steps and losses on validation data.

    Returns:
        The axes; the lines are the values, the running mean, and the validation loss if given.

    Raises:
        InputError: If there is no finite value.
    """
    axes = one_axes(axes)
    kept = np.isfinite(loss)
    x, y = np.asarray(steps)[kept], np.asarray(loss, dtype=np.float64)[kept]
    if not y.size:
        raise InputError("training_curve: expected a finite loss, got none")
    axes.plot(x, y, color=LINES[5], linewidth=0.7, alpha=0.6)
    axes.plot(x, running_mean(y, width=max(1, y.size // 20)), color=LINES[0], linewidth=1.8, label="training (running mean)")
    if validation is not None:
        axes.plot(*validation, linewidth=1.4, label="validation", **line_style(1))
    if (y > 0).all():
        axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=SMALL)
    return tidy(axes, x="training step", y="loss")


def running_mean(values: np.ndarray, *, width: int) -> np.ndarray:
    """Mean over the `width` values on either side and the value itself, fewer at the ends; (n,) -> (n,)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(values.size)
    low, high = np.maximum(place - width, 0), np.minimum(place + width + 1, values.size)
    return (total[high] - total[low]) / (high - low)
