"""Which forecast frame belongs to which frame of the truth: the pairs that `evaluate` scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.data.axes import PLANE, SPHERE
from physdiff.data.convert import grid_of
from physdiff.data.leads import positions_of
from physdiff.data.timeline import as_times, show_time
from physdiff.data.units import check_unit
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid

__all__ = ["Case", "Cases", "matched"]

_SPACE = (*PLANE, *SPHERE)
_WEIGHTS = {"weight", "weights", "log_weight", "log_weights"}
_IN_MEMORY = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Case:
    """The frames of one start and one variable which the truth holds.

    Args:
        variable: Index of the variable.
        place: Index along each outer dimension.
        frames: Indices along the inner dimension, (L,).
        members: (m, L, *S).
        truth: (L, *S).
    """

    variable: int
    place: dict[str, int]
    frames: np.ndarray
    members: Tensor
    truth: Tensor


@dataclass(frozen=True, eq=False)
class Cases:
    """All pairs; iterating reads one start after another, `pieces` less at a time where one is large.

    Args:
        forecast: The forecast, checked.
        truth: The truth, checked.
        names: Variables.
        grid: The common grid.
        outer: Those of sample and init_time the forecast has.
        inner: ``"lead_time"`` or ``"time"``.
        where: Position of the truth of each frame in time, -1 for none, (init_time?, inner).
        rows: Position of the truth's sample of each of the forecast's; empty without samples.
    """

    forecast: xr.Dataset
    truth: xr.Dataset
    names: tuple[str, ...]
    grid: Grid
    outer: tuple[str, ...]
    inner: str
    where: np.ndarray
    rows: np.ndarray
    coordinates: dict[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension that can be scored by."""
        return {d: self.forecast.sizes[d] for d in (*self.outer, self.inner)}

    @property
    def members(self) -> int:
        """Number of members."""
        return int(self.forecast.sizes.get("member", 1))

    def __iter__(self) -> Iterator[Case]:
        """Yield the pairs, start by start."""
        return self._read(self.where.shape[-1])

    def pieces(self) -> Iterator[Case]:
        """Yield the pairs, of each start as many frames at a time as 256 MiB hold in float64, one at least."""
        frame = 8 * self.members * math.prod(self.grid.shape)
        return self._read(max(1, _IN_MEMORY // frame))

    def _read(self, most: int) -> Iterator[Case]:
        for places in product(*(range(self.sizes[d]) for d in self.outer)):
            place = dict(zip(self.outer, places, strict=True))
            where = self.where[place["init_time"]] if "init_time" in place else self.where
            known = np.flatnonzero(where >= 0)
            for v, name in enumerate(self.names):
                for first in range(0, known.size, most):
                    case = self._case(v, name, place, where=where, frames=known[first : first + most])
                    if case is not None:
                        yield case

    def _case(self, variable: int, name: str, place: dict[str, int], *, where: np.ndarray, frames: np.ndarray) -> Case | None:
        key: dict[str, Any] = {"time": where[frames]}
        if self.rows.size:
            key["sample"] = int(self.rows[place["sample"]])
        truth = np.asarray(self.truth[name].isel(key).transpose("time", *self.grid.dims).values)
        full = np.isfinite(truth).reshape(frames.size, -1).any(1)
        if not full.any():
            return None
        part = self.forecast[name].isel({**place, self.inner: frames[full]})
        part = part if "member" in part.dims else part.expand_dims("member")
        values = np.asarray(part.transpose("member", self.inner, *self.grid.dims).values)
        return Case(variable, place, frames[full], torch.from_numpy(np.array(values)), torch.from_numpy(np.array(truth[full])))


def matched(forecast: xr.Dataset, truth: xr.Dataset) -> Cases:
    """Check that two data sets can be compared, and pair their frames; see `evaluate`."""
    for what, ds in (("forecast", forecast), ("truth", truth)):
        if not isinstance(ds, xr.Dataset):
            hint = "; draw equal weights with ensemble.resample(rng) and bring it out with to_dataset" if type(ds).__name__ == "Ensemble" else ""
            raise InputError(f"evaluate {what}: expected an xarray Dataset, got {type(ds).__name__}{hint}")
    weighted = _WEIGHTS & {str(n).lower() for n in (*forecast.variables, *forecast.attrs, *forecast.dims)}
    if weighted:
        found = ", ".join(sorted(weighted))
        raise InputError(f"evaluate: expected equally weighted members, got {found} in the forecast; use ensemble.resample(rng) first")
    inner = "lead_time" if "lead_time" in forecast.dims else "time"
    if inner not in forecast.dims:
        raise DataError(f"forecast: expected a dimension lead_time (or time), got {', '.join(map(str, forecast.dims))}; open it with open_forecast")
    names = tuple(str(n) for n, v in forecast.data_vars.items() if inner in v.dims and v.dtype.kind in "fiu")
    grid = _common_grid(forecast, truth, names)
    outer = tuple(d for d in ("sample", "init_time") if d in forecast.dims)
    for name in names:
        _check_dims(forecast[name], {*outer, "member", inner, *grid.dims}, "forecast")
        _check_dims(truth[name], {"sample", "time", *grid.dims}, "truth")
    small = sum(truth[n].size for n in names) * 4 <= _IN_MEMORY
    kept = truth[list(names)]
    coordinates = {d: forecast[d].variable for d in (*outer, inner) if d in forecast.coords}
    where, rows = _where(forecast, truth, inner), _rows(forecast, truth)
    return Cases(forecast, kept.compute() if small else kept, names, grid, outer, inner, where, rows, coordinates)


def _common_grid(forecast: xr.Dataset, truth: xr.Dataset, names: tuple[str, ...]) -> Grid:
    if not names:
        raise DataError("forecast: expected variables along lead_time, got none; open it with open_forecast")
    missing = [n for n in names if n not in truth.data_vars]
    if missing:
        raise DataError(f"truth: expected the forecast's variables {', '.join(names)}, missing {', '.join(missing)}; select those that both have")
    grid = grid_of(forecast[list(names)].assign_attrs(forecast.attrs))
    periodic = grid.periodic if isinstance(grid, CartesianGrid) else None
    grid.check_same(grid_of(truth[list(names)].assign_attrs(truth.attrs), periodic=periodic), "truth")
    for name in names:
        check_unit(str(truth[name].attrs.get("units", "1")), str(forecast[name].attrs.get("units", "1")), f"{name} of the truth")
    return grid


def _check_dims(variable: xr.DataArray, allowed: set[str], what: str) -> None:
    odd = [str(d) for d in variable.dims if d not in allowed]
    lacking = [d for d in allowed if d in (*_SPACE, "time") and d not in variable.dims]
    if odd or lacking:
        got = ", ".join(map(str, variable.dims))
        raise DataError(f"{what}: expected {variable.name} on some of {', '.join(sorted(allowed))}, got {got}; select one entry")


def _where(forecast: xr.Dataset, truth: xr.Dataset, inner: str) -> np.ndarray:
    """Position in the truth of every forecast frame, (init_time?, inner), -1 where there is none."""
    needed = [("truth", truth, "time"), ("forecast", forecast, inner)] + [("forecast", forecast, "init_time")] * (inner == "lead_time")
    for what, ds, dim in needed:
        if dim not in ds.coords:
            raise DataError(f"{what}: expected a coordinate {dim} that says when the frames are, got none; add it")
    times = as_times(truth["time"].values)
    if inner == "time":
        valid = as_times(forecast["time"].values)
    else:
        init, leads = as_times(forecast["init_time"].values), forecast["lead_time"].values
        if (init.dtype.kind == "M") != (leads.dtype.kind == "m"):
            raise DataError("forecast: expected init_time and lead_time both as calendar times or both as numbers, got one of each; decode both")
        valid = init[..., None] + (leads.astype("timedelta64[ns]") if leads.dtype.kind == "m" else leads.astype(np.float64))
    where = positions_of(valid, times)
    if (where < 0).all():
        span = f"{show_time(valid.min())} to {show_time(valid.max())}"
        raise DataError(f"truth: expected some of the times that are forecast, {span}; got {show_time(times.min())} to {show_time(times.max())}")
    return where


def _rows(forecast: xr.Dataset, truth: xr.Dataset) -> np.ndarray:
    """Position of each of the forecast's samples in the truth; empty without samples."""
    have = ["sample" in ds.dims for ds in (forecast, truth)]
    if have[0] != have[1]:
        who = "forecast" if have[0] else "truth"
        raise DataError(f"evaluate: expected samples in both data sets or in none, got them in the {who} alone; select one sample")
    if not have[0]:
        return np.zeros(0, dtype=np.int64)
    wanted, labels = (np.asarray(ds["sample"].values) if "sample" in ds.coords else np.arange(ds.sizes["sample"]) for ds in (forecast, truth))
    place = {label: k for k, label in enumerate(labels.tolist())}
    missing = [label for label in wanted.tolist() if label not in place]
    if missing:
        raise DataError(f"truth: expected the forecast's samples, missing {missing[:3]}; evaluate on the data the forecast started from")
    return np.array([place[label] for label in wanted.tolist()], dtype=np.int64)
