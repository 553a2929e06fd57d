"""Frames as a film: gif by Pillow, mp4 by ffmpeg where it is installed, html that plays in a browser with neither."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, HTMLWriter, PillowWriter
from matplotlib.axes import Axes

from physdiff.base.errors import InputError
from physdiff.plots.colours import colour_scale
from physdiff.plots.maps import map_plot, plane_of
from physdiff.plots.style import figure_of, step_label

__all__ = ["field_frames", "save_animation"]

_STEPS = ("lead_time", "time")


def field_frames(field: xr.DataArray, axes: Axes | None = None, *, step: str | None = None) -> Iterable[Axes]:
    """`map_plot` for one time after another in the colours of all; save each before the next is asked for.

    Args:
        field: Two dims of space and one of time.
        axes: Where to draw; a new figure if None.
        step: The dim of time; ``lead_time`` or ``time`` if None.

    Raises:
        InputError: If there is no such dim.
    """
    found = step or next((d for d in _STEPS if d in field.dims), None)
    if found is None or found not in field.dims:
        raise InputError(f"field_frames: expected a dim of time, got {list(field.dims)}; name it with step=")
    scale = colour_scale([field.values])
    for k in range(field.sizes[found]):
        title = step_label(field[found], k)
        if axes is None or k == 0:
            axes = map_plot(field.isel({found: k}), axes, scale=scale, title=title)
        else:
            axes.collections[0].set_array(plane_of(field.isel({found: k})).values.ravel())
            axes.title.set_text(title)  # in the size it was drawn with
        yield axes


def save_animation(frames: Iterable[Any], path: str | os.PathLike[str], *, fps: float = 5.0) -> Path:
    """Write frames to a file.

    Args:
        frames: Axes, or arrays of axes, of one figure that is changed from frame to frame: `field_frames`, `ensemble_frames`.
        path: Ends in ``.gif``, ``.mp4`` or ``.html``; replaced only when the film is whole.
        fps: Frames per second.

    Returns:
        The path.

    Raises:
        InputError: If the ending is another, there is no frame, or ffmpeg is wanted and not installed.
    """
    target = Path(path)
    writer = _writer(target, fps)
    draft = target.with_name(f".{target.stem}.part{target.suffix}")
    steps = iter(frames)
    first = next(steps, None)
    if first is None:
        raise InputError("save_animation: expected one frame or more, got none")
    figure = figure_of(first)
    try:
        with writer.saving(figure, str(draft), figure.dpi):
            writer.grab_frame()
            for _ in steps:
                writer.grab_frame()
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
        shutil.rmtree(draft.with_name(f"{draft.stem}_frames"), ignore_errors=True)
    return target


def _writer(target: Path, fps: float) -> AbstractMovieWriter:
    if fps <= 0:
        raise InputError(f"save_animation: expected fps > 0, got {fps}")
    kinds: dict[str, Callable[..., AbstractMovieWriter]] = {".gif": PillowWriter, ".mp4": FFMpegWriter, ".html": HTMLWriter}
    if target.suffix not in kinds:
        raise InputError(f"save_animation: expected a name that ends in {', '.join(kinds)}, got {target.name!r}")
    if target.suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise InputError("save_animation: expected ffmpeg for mp4, got none on this machine; install it, or write .gif or .html")
    more = {"embed_frames": True} if target.suffix == ".html" else {}
    return kinds[target.suffix](fps=fps, **more)
