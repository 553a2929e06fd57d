"""What is in a file and what physdiff will do with it, in words: the text behind `physdiff inspect`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.base.errors import PhysdiffError
from physdiff.data.convert import ROWS, field_names, grid_of, spec_of
from physdiff.data.layout import chunks_in_file, window_cost
from physdiff.data.open import open_dataset
from physdiff.data.plausible import implausible
from physdiff.data.timeline import TimeAxis, as_times, is_calendar, show_time, time_axis, window_starts

__all__ = ["Inspection", "inspect_file", "inspection"]

_MOST_VALUES = 50_000_000
_BLOCK = 2**22
_SMALL = 2**26  # what stays in memory once it has been read costs nothing the second time


@dataclass(frozen=True)
class _Facts:
    """Numbers of one field, from all its frames or from some; `still` if it never changes."""

    low: float
    high: float
    mean: float
    std: float
    missing: float
    still: bool


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Args:
        text: Lines that describe the files.
        refusal: Why physdiff cannot use them; empty if it can.
    """

    text: str
    refusal: str = ""


def inspect_file(path: str | os.PathLike[str] | Sequence[str], *, variables: Sequence[str] | None = None) -> str:
    """Describe one or several files: variables, units, grid, time step, gaps, missing values, size, and what will be done with them.

    Args:
        path: As for `open_dataset`.
        variables: As for `open_dataset`.

    Returns:
        Lines of text.

    Raises:
        DataError: If the file is missing, not netCDF, or has nothing that varies in time on a grid.
    """
    return inspection(path, variables=variables).text


def inspection(path: str | os.PathLike[str] | Sequence[str], *, variables: Sequence[str] | None = None) -> Inspection:
    """As `inspect_file`, with the reason if physdiff will refuse the data."""
    ds = open_dataset(path, variables=variables)
    names = field_names(ds)
    warnings: list[str] = []
    lines = [f"{_title(path)}", ""]
    lines += _grid_lines(ds, warnings)
    times = as_times(ds["time"].values)
    axis = _axis(times, warnings)
    lines += _time_lines(ds, times, axis)
    every = max(1, int(np.ceil(sum(ds[n].size for n in names) / _MOST_VALUES)))
    lines += ["", *_field_lines(ds, names, every=every, warnings=warnings)]
    lines += _layout_lines(ds, names, warnings)
    fixed = [str(n) for n in ds.data_vars if n not in names]
    if fixed:
        lines.append(f"  fixed in time: {', '.join(fixed)} (use as statics or mask)")
    try:
        lines += ["", *_what_happens(ds, axis)]
        refusal = ""
    except PhysdiffError as error:
        refusal = str(error)
        lines += ["", f"physdiff will refuse this: {refusal}"]
    lines += ["", *(f"warning: {w}" for w in warnings)] if warnings else []
    return Inspection("\n".join(lines), refusal)


def _title(path: str | os.PathLike[str] | Sequence[str]) -> str:
    if isinstance(path, str | os.PathLike):
        size = f" ({Path(path).stat().st_size / 2**20:.1f} MiB)" if Path(path).is_file() else ""
        return f"{os.fspath(path)}{size}"
    return ", ".join(map(str, path))


def _grid_lines(ds: xr.Dataset, warnings: list[str]) -> list[str]:
    rows = [f"{d} {ds.sizes[d]}" for d in ROWS if d in ds.dims]
    try:
        grid = grid_of(ds)
    except PhysdiffError as error:
        warnings.append(str(error))
        return ["grid    cannot be used, see below"]
    return [f"grid    {grid.summary()}, lengths in {grid.length_unit}", *([f"rows    {', '.join(rows)}"] if rows else [])]


def _axis(times: np.ndarray, warnings: list[str]) -> TimeAxis | None:
    try:
        return time_axis(times)
    except PhysdiffError as error:
        warnings.append(str(error))
        return None


def _time_lines(ds: xr.Dataset, times: np.ndarray, axis: TimeAxis | None) -> list[str]:
    line = f"time    {times.size} frames, {show_time(times[0])} to {show_time(times[-1])}"
    if axis is None:
        return [f"{line}, step cannot be told, see below"]
    unit = "s" if is_calendar(times) else ds["time"].attrs.get("units", "(no unit)")
    hours = f" ({axis.dt / 3600:g} h)" if is_calendar(times) else ""
    lines = [f"{line}, step {axis.dt:g} {unit}{hours}"]
    lines += [
        f"gap     {missing} frames missing between {show_time(times[i])} and {show_time(times[i + 1])}"
        for i, missing in list(zip(axis.gaps, axis.missing, strict=True))[:5]
    ]
    return lines + ([f"gap     ... and {len(axis.gaps) - 5} more"] if len(axis.gaps) > 5 else [])


def _field_lines(ds: xr.Dataset, names: Sequence[str], *, every: int, warnings: list[str]) -> Iterator[str]:
    yield f"{'field':28} {'unit':12} {'min':>11} {'mean':>11} {'max':>11} {'std':>11} {'missing':>8}"
    for name in names:
        facts = _facts(ds[name], every)
        unit = ds[name].attrs.get("units")
        cells = "".join(f" {v:11.5g}" for v in (facts.low, facts.mean, facts.high, facts.std))
        yield f"{name:28} {unit or '-':12}{cells} {facts.missing:8.2%}"
        odd = implausible(name, unit, low=facts.low, high=facts.high)
        warnings += [odd] if odd else []
        if unit is None:
            warnings.append(f"{name} has no unit; taken as dimensionless")
        if facts.missing == 1:
            warnings.append(f"{name} has no value at all and will be refused; leave it out with variables=[...]")
        elif facts.still:
            warnings.append(f"{name} does not change in time; use it as a static field, not as one to be forecast")
    if every > 1:
        yield f"  (from every {every}-th frame)"


def _layout_lines(ds: xr.Dataset, names: Sequence[str], warnings: list[str]) -> Iterator[str]:
    """How the fields lie in their files, and whether windows are slow to read."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        chunks = chunks_in_file(ds[name])
        told = "in one piece" if chunks is None else "chunks of " + " x ".join(f"{n} {d}" for d, n in chunks.items())
        slow = chunks is not None and ds[name].nbytes > _SMALL and (cost := window_cost(ds[name], chunks)) > 8
        if slow and told not in kinds:
            remedy = "`physdiff convert --frames 4` writes a file for windows"
            warnings.append(f"a window of 4 frames of {name} reads {cost:.0f} times its size ({told}); {remedy}")
        kinds.setdefault(told, []).append(name)
    if kinds:
        yield ""
    for told, which in kinds.items():
        yield f"stored  {told}: {', '.join(which) if len(which) < 6 else f'{len(which)} fields'}"


def _facts(field: xr.DataArray, every: int) -> _Facts:
    """Streamed over frames, float64, NaN left out."""
    count = total = 0
    low, high, mean, square = np.inf, -np.inf, 0.0, 0.0
    first, still = None, True
    index = np.arange(0, field.sizes["time"], every)
    block = max(1, _BLOCK * field.sizes["time"] // max(field.size, 1))
    for start in range(0, index.size, block):
        frames = np.asarray(field.isel(time=index[start : start + block]).transpose("time", ...).values, dtype=np.float64)
        first = frames[:1] if first is None else first
        still = still and bool(((frames == first) | (np.isnan(frames) & np.isnan(first))).all())
        good = frames[np.isfinite(frames)]
        total += frames.size
        if good.size:
            low, high = min(low, good.min()), max(high, good.max())
            delta, n = good.mean() - mean, count + good.size
            square += ((good - good.mean()) ** 2).sum() + delta**2 * count * good.size / n
            mean, count = mean + delta * good.size / n, n
    if not count:
        return _Facts(np.nan, np.nan, np.nan, np.nan, 1.0, True)
    return _Facts(low, high, mean, float(np.sqrt(square / count)), 1 - count / total, still)


def _what_happens(ds: xr.Dataset, axis: TimeAxis | None) -> list[str]:
    spec = spec_of(ds, gaps=True)
    rows = int(np.prod([ds.sizes[d] for d in ROWS if d in ds.dims], dtype=np.int64))
    size = rows * ds.sizes["time"] * int(np.prod(spec.shape, dtype=np.int64)) * 4 / 2**20
    shape = ", ".join(map(str, (len(spec.names), "time", *spec.grid.shape)))
    lines = [f"physdiff will read {len(spec.names)} channels ({', '.join(spec.names)}) as float32 windows ({shape}), {size:.1f} MiB in all"]
    lines.append(f"from {rows} {'trajectory' if rows == 1 else 'trajectories'} of {ds.sizes['time']} frames")
    if axis is not None and axis.gaps:
        frames = 4
        whole, kept = ds.sizes["time"] - frames + 1, window_starts(axis, ds.sizes["time"], frames=frames).size
        lines.append(f"windows will not cross the gaps: of {whole * rows} windows of {frames} frames {(whole - kept) * rows} are left out")
    return lines
