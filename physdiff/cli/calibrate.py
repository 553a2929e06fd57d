"""``physdiff calibrate``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.cli.options import checked_file
from physdiff.cli.parse import command_line
from physdiff.data.convert import grid_of
from physdiff.data.open import open_dataset, open_forecast
from physdiff.data.timeline import as_times, show_time
from physdiff.data.units import check_unit
from physdiff.data.write import write_dataset
from physdiff.plots.style import lead_of, pretty_unit, show_number
from physdiff.uq.calibrate import calibrate as banded
from physdiff.uq.sequential_bands import sequential_bands

__all__ = ["Band", "calibrate"]


@dataclass(frozen=True)
class Band:
    """What the band is to hold.

    Args:
        together: What is held at once: each cell and lead time by itself (points), all cells of a frame (field), all frames (trajectory).
        share: With field or trajectory, share of the area that is to lie inside.
        scale: What its width follows: the members' spread, nothing (none), or their central half (quantile).
    """

    together: Literal["points", "field", "trajectory"] = "points"
    share: float = 1.0
    scale: Literal["spread", "none", "quantile"] = "spread"


def calibrate(
    forecast: str,
    truth: str | list[str],
    out: str,
    *,
    past: str,
    level: float = 0.9,
    band: Band = Band(),  # noqa: B008 - a frozen value
    sequential: Literal["adaptive", "quantiles", "regression"] | None = None,
) -> None:
    """Turn a forecast into bands that hold the truth with a stated probability, from past forecasts of the same model and what came true.

    The guarantee stands in the file's attributes; ``physdiff evaluate --forecast OUT`` scores the bands. For starts one after another whose errors
    drift, take --sequential: each start's bounds come from the errors of those verified before it.

    Args:
        forecast: The new forecast, as ``physdiff forecast`` writes it.
        truth: Data that hold what came true of the past forecasts.
        out: netCDF file to write: lower and upper end of every field.
        past: Forecasts of the same model, lead times and members, from other starts or samples, none of which trained it.
        level: Probability of the band.
        band: What it is to hold.
        sequential: Method of bands for drifting series; past and new starts must be equally spaced.
    """
    target = checked_file(out)
    if not 0 < level < 1:
        raise InputError(f"level: expected a probability between 0 and 1, as in 0.9, got {level:g}")
    new, old = open_forecast(forecast), open_forecast(past)
    names = [str(n) for n, v in old.data_vars.items() if "lead_time" in v.dims]
    real = open_dataset(truth, variables=names)
    if os.path.realpath(forecast) == os.path.realpath(past):
        raise InputError("calibrate: expected past forecasts from other starts than the new ones, got one file for both; split it by its starts")
    _check_alike(new, old, names)
    if sequential is None:
        _check_apart(new, old, real)
        found = banded(new[names], with_pairs=(old[names], real), level=level, together=band.together, share=band.share, scale=band.scale)
    else:
        if band != Band():
            raise InputError("band: expected none beside --sequential, which has each cell and lead time by itself, got one; leave it out")
        found = _sequential(new[names], old[names], real, level=level, method=sequential)
    written = write_dataset(found, target, command=command_line())
    print(found.attrs["guarantee"])
    for name in names:
        print(_widths(found, name))
    print(f"wrote {written}")


def _check_alike(new: xr.Dataset, old: xr.Dataset, names: list[str]) -> None:
    missing = [n for n in names if n not in new]
    if missing:
        raise DataError(f"calibrate: expected the fields of the past forecasts, {', '.join(names)}, in the new one, missing {', '.join(missing)}")
    grid_of(old[names].assign_attrs(old.attrs)).check_same(grid_of(new[names].assign_attrs(new.attrs)), "the new forecast")
    for name in names:
        check_unit(str(new[name].attrs.get("units", "1")), str(old[name].attrs.get("units", "1")), f"{name} of the new forecast")


def _check_apart(new: xr.Dataset, old: xr.Dataset, real: xr.Dataset) -> None:
    """Refuse calibration cases that came true at times that are forecast: they would be judged by what they are made of."""
    if "sample" in new.dims or "init_time" not in new.coords or "init_time" not in old.coords:
        return
    known = as_times(real["time"].values)
    ends = []
    for ds in (old, new):
        valid = as_times(ds["init_time"].values).reshape(-1, 1) + ds["lead_time"].values.reshape(1, -1)
        ends.append((as_times(ds["init_time"].values).reshape(-1), valid))
    (old_starts, old_valid), (_, new_valid) = ends
    judged = np.isin(old_valid, known)
    shared = judged & np.isin(old_valid, new_valid)
    if shared.any():
        bad = old_starts[shared.any(1)]
        raise DataError(
            f"calibrate: expected past forecasts that came true at other times than the new ones ({show_time(new_valid.min())} to "
            f"{show_time(new_valid.max())}), got {bad.size} of {old_starts.size} that share some, from starts {show_time(bad.min())} to "
            f"{show_time(bad.max())}; leave these out, so that no truth both calibrates and tests"
        )


def _sequential(new: xr.Dataset, old: xr.Dataset, real: xr.Dataset, *, level: float, method: str) -> xr.Dataset:
    both = xr.concat([old, new], "init_time", coords="minimal", compat="override").sortby("init_time")
    starts = new["init_time"].values
    found = sequential_bands(both, real.sel(time=real["time"] <= starts.max()), level=level, method=method).sel(init_time=starts)
    bare = [str(n) for n, v in found.data_vars.items() if not bool(v.notnull().any())]
    if bare:
        raise DataError(
            f"calibrate: expected past starts enough for sequential bands at a level of {level:g}, got {old.sizes['init_time']}, from which there "
            f"are none for {bare[0]}; forecast more past starts or take a lower level"
        )
    return found


def _widths(found: xr.Dataset, name: str) -> str:
    """Mean width by lead time as text."""
    width = (found[f"{name}_upper"] - found[f"{name}_lower"]).astype(float)
    finite = width.where(np.isfinite(width))
    mean = finite.mean([d for d in width.dims if d != "lead_time"])
    leads, unit = lead_of(found["lead_time"])
    chosen = sorted({round(i) for i in np.geomspace(1, leads.size, min(8, leads.size))})
    said = ", ".join(f"{show_number(float(mean[i - 1]))} at {leads[i - 1]:g} {pretty_unit(unit)}".rstrip() for i in chosen)
    infinite = float(np.isinf(width).mean())
    more = f"; {100 * infinite:.2g} % of the bounds are infinite" if infinite else ""
    units = pretty_unit(str(found[f"{name}_lower"].attrs.get("units", "1")))
    return f"mean width of the band of {name}{f' ({units})' if units else ''}: {said}{more}"
