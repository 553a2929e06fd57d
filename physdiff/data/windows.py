"""Windows of trajectories as a map-style torch data set, and the condition window that tells a model what is known.

A window is `history` known frames and `horizon` frames to come. It never crosses a gap in time. Its condition window has the same frames:
the fields with unknown entries filled, a channel ``known``, forcings (time of day, day of the year), and static fields.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import Dataset

from physdiff.base.errors import DataError, InputError, ShapeError
from physdiff.data.convert import ROWS, grid_of, spec_of
from physdiff.data.names import unknown_variable
from physdiff.data.open import open_dataset
from physdiff.data.reading import WindowReader
from physdiff.data.timeline import FORCINGS, as_times, forcing, time_axis, window_starts
from physdiff.data.units import check_unit
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec

__all__ = ["TrajectoryWindows", "WindowRange", "condition", "condition_spec"]

_IN_MEMORY = 256 * 2**20


def condition_spec(
    spec: FieldSpec, extras: Sequence[str] = (), statics: Mapping[str, str] | Sequence[str] = (), *, history: int = 0, each: bool = False
) -> FieldSpec:
    """What the channels of a condition window of `spec` are: its fields, ``known``, forcings, static fields.

    Args:
        spec: The modelled fields.
        extras: Forcings, some of hour_sin, hour_cos, day_sin, day_cos.
        statics: Names of static fields (with units if a mapping).
        history: Number of known frames at the beginning of a window.
        each: Each field has a mask of its own, ``known_<name>``, in place of ``known``: some are known where others are not.
    """
    unknown = [e for e in extras if e not in FORCINGS]
    if unknown:
        raise InputError(f"extras: expected some of {', '.join(FORCINGS)}, got {', '.join(unknown)}; static fields go into statics")
    fixed = dict(statics) if isinstance(statics, Mapping) else dict.fromkeys(statics, "1")
    masks = _masks(spec) if each else ("known",)
    names = (*spec.names, *masks, *extras, *fixed)
    units = (*spec.units, *("1" for _ in (*masks, *extras)), *fixed.values())
    return FieldSpec(names, units, spec.grid, spec.dt, frames=spec.frames, mask=spec.mask, time_unit=spec.time_unit, history=history)


def condition(
    spec: FieldSpec,
    cond_names: Sequence[str],
    known: Tensor,
    *,
    times: Any = None,  # noqa: ANN401 - whatever a user has as times
    statics: Mapping[str, Tensor] | None = None,
    fill: Tensor | None = None,
) -> Tensor:
    """Build condition windows.

    Args:
        spec: The modelled fields.
        cond_names: Names of the channels, ``(*spec.names, "known", *extras, *statics)``, as in `cond_spec.names`; or with ``known_<name>`` for each
            field in place of ``known``.
        known: (B, C, T, *S) in physical units, NaN where unknown.
        times: (T,) or (B, T) calendar times; needed for the forcings only.
        statics: Static fields (*S) by name; ``mask`` is taken from the spec if not given.
        fill: What unknown entries that were never known before get, broadcasts against (C, T, *S): the mean of the training data. If None:
            the mean of what is known of that field in that window, or 0 where nothing is.

    Returns:
        (B, len(cond_names), T, *S): unknown entries hold the last known value of that point in the window, else `fill`; ``known`` is 1
        where all fields are known, ``known_<name>`` where that one is.

    Raises:
        ShapeError: If `known` is no window of `spec`.
        DataError: If calendar times or a static field are needed and missing.
    """
    spec.check(known, "known")
    n = len(spec.names)
    each = tuple(cond_names[: 2 * n]) == (*spec.names, *_masks(spec))
    if not each and tuple(cond_names[: n + 1]) != (*spec.names, "known"):
        raise InputError(f"cond_names: expected {', '.join((*spec.names, 'known'))} first, got {', '.join(cond_names)}; use condition_spec")
    there = known.isfinite()
    parts = [_filled(known, there, fill), (there if each else there.all(dim=1, keepdim=True)).to(known.dtype)]
    like = parts[1][:, :1]
    for name in cond_names[n + (n if each else 1) :]:
        if name in FORCINGS:
            parts.append(_forcing_channel(name, times, like))
        else:
            parts.append(_static(name, spec, statics or {}).to(like).expand_as(like))
    return torch.cat(parts, dim=1)


def _masks(spec: FieldSpec) -> tuple[str, ...]:
    return tuple(f"known_{name}" for name in spec.names)


def _filled(known: Tensor, there: Tensor, fill: Tensor | None) -> Tensor:
    """The last known value of each point, and `fill` before the first."""
    frames = known.shape[2]
    flat = there.flatten(3)
    if bool((flat.any(3) == flat.all(3)).all()):  # whole frames are known or not, as in every forecast: fewer sums
        there = flat.any(3).reshape(*flat.shape[:3], *([1] * (known.ndim - 3)))
        index = torch.arange(frames, device=known.device).reshape(1, 1, frames, *there.shape[3:])
        last = torch.where(there, index, torch.full_like(index, -1)).cummax(dim=2).values
        if bool((last >= 0).all()):
            return known.gather(2, last.expand(known.shape))
        there = known.isfinite()
    index = torch.arange(frames, device=known.device).reshape(1, 1, frames, *([1] * (known.ndim - 3)))
    last = torch.where(there, index, torch.full_like(index, -1)).cummax(dim=2).values
    carried = known.gather(2, last.clamp_min(0))
    if fill is None:
        over = list(range(2, known.ndim))
        count = there.sum(over, keepdim=True).clamp_min(1)
        start = torch.where(there, known, 0.0).sum(over, keepdim=True) / count
    else:
        start = fill.to(known).expand(known.shape[1:])[None]
    return torch.where(last >= 0, carried, start)


def _forcing_channel(name: str, times: Any, like: Tensor) -> Tensor:  # noqa: ANN401
    if times is None:
        raise DataError(f"{name}: expected the calendar times of the window, got none; pass times")
    stamps = as_times(times)
    values = torch.as_tensor(forcing(name, stamps), dtype=like.dtype, device=like.device)
    if values.shape[-1] != like.shape[2]:
        raise ShapeError(f"times: expected {like.shape[2]} frames, got {tuple(stamps.shape)}")
    values = values if values.ndim == 2 else values[None]
    return values.reshape(values.shape[0], 1, -1, *([1] * (like.ndim - 3))).expand_as(like)


def _static(name: str, spec: FieldSpec, statics: Mapping[str, Tensor]) -> Tensor:
    if name in statics:
        return torch.nan_to_num(statics[name])
    if name == "mask" and spec.mask is not None:
        return spec.mask.float()
    raise DataError(f"condition: expected a static field {name!r}, got {', '.join(statics) or 'none'}; pass it in statics")


class TrajectoryWindows(Dataset[dict[str, Any]]):
    """All windows of a data set: every sample and member, every start time, none across a gap.

    Item i is ``{"x": (C, T, *S) float32, NaN where missing; "cond": (C', T, *S), absent if there is nothing to be conditioned on;
    "index": i}``. Data up to 256 MiB are read into memory; larger ones stay in their files, which each worker opens for itself, so the
    data set may be forked, pickled and used by threads; a window of HDF5 files (netCDF-4 among them) is read from its place in the file into
    the tensor, without a copy between.

    Args:
        source: A data set in house conventions, or a path for `open_dataset`.
        history: Number of known frames.
        horizon: Number of frames to come.
        spec: Which fields and grid; found by `spec_of` if not given.
        stride: Frames between successive starts.
        extras: Forcings, some of hour_sin, hour_cos, day_sin, day_cos.
        statics: Names of static fields of the source (a field in time gives its first frame; ``mask`` is the spec's mask).
        fill: See `condition`.

    Raises:
        DataError: If the source cannot be used, or has no stretch of history + horizon frames.
    """

    def __init__(
        self,
        source: xr.Dataset | str | os.PathLike[str],
        *,
        history: int,
        horizon: int,
        spec: FieldSpec | None = None,
        stride: int = 1,
        extras: tuple[str, ...] = (),
        statics: tuple[str, ...] = (),
        fill: Tensor | None = None,
    ) -> None:
        if history < 0 or horizon < 1 or stride < 1:
            raise InputError(f"windows: expected history >= 0, horizon >= 1, stride >= 1, got {history}, {horizon}, {stride}")
        ds = source if isinstance(source, xr.Dataset) else open_dataset(source)
        found = spec_of(ds, None if spec is None else spec.names, gaps=True, periodic=_periodic(spec))
        _check_same(found, spec)
        self.history, self.horizon, self._stride = history, horizon, stride
        self.spec = (found if spec is None else spec).with_frames(history + horizon)
        self.times = as_times(ds["time"].values) if "time" in ds.coords else np.arange(ds.sizes["time"], dtype=np.float64)
        self.starts = window_starts(time_axis(self.times), self.times.size, frames=self.spec.frames, stride=stride)
        if not self.starts.size:
            got = f"got none in {self.times.size} frames; take fewer known frames or a shorter horizon (fit: --recipe.history, --recipe.horizon)"
            raise DataError(f"windows: expected a stretch of {history} + {horizon} frames without gaps, {got}")
        self.row_dims = tuple(d for d in ROWS if any(d in ds[n].dims for n in self.spec.names))
        self.row_shape = tuple(ds.sizes[d] for d in self.row_dims)
        self._fields = _held(ds, self.spec.names, (*self.row_dims, "time", *self.spec.grid.dims))
        self._reader = WindowReader(self._fields, self.spec.grid.dims)
        self._fill = fill
        self._without = None if self.spec.mask is None else ~self.spec.mask.cpu().numpy()
        self.static_fields = {n: _static_field(ds, n, self.spec) for n in statics}
        units = {n: str(ds[n].attrs.get("units", "1")) if n in ds else "1" for n in statics}
        self.cond_spec = condition_spec(self.spec, extras, units, history=history) if history or extras or statics else None
        if any(e in FORCINGS for e in extras):
            forcing(extras[0], self.times[:1])

    @property
    def rows(self) -> int:
        """Number of trajectories: samples times members."""
        return int(np.prod(self.row_shape, dtype=np.int64))

    @property
    def skipped(self) -> int:
        """Number of windows that are left out because they would cross a gap in time."""
        return self.rows * max(0, len(range(0, self.times.size - self.spec.frames + 1, self._stride)) - self.starts.size)

    @property
    def block(self) -> int:
        """How many windows in a row share chunks of their file that are costly to read; 1 where it does not matter."""
        return max(1, self._reader.block() // self._stride)

    def __len__(self) -> int:
        return self.rows * self.starts.size

    def _place(self, index: int) -> tuple[int, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        row, start = divmod(index % len(self), self.starts.size)
        return row, int(self.starts[start])

    def window_times(self, index: int) -> np.ndarray:
        """Times (T,) of window `index`."""
        _, start = self._place(index)
        return self.times[start : start + self.spec.frames]

    def row_of(self, index: int) -> dict[str, int]:
        """Which sample and member window `index` is from, as positions."""
        row, _ = self._place(index)
        places = np.unravel_index(row, self.row_shape) if self.row_shape else ()
        return {d: int(p) for d, p in zip(self.row_dims, places, strict=True)}

    def fields_at(self, index: int) -> Tensor:
        """The window alone, (C, T, *S) float32, NaN where missing."""
        out = np.empty(self.spec.shape, dtype=np.float32)
        self.read_into(index, out)
        return torch.from_numpy(out)

    def read_into(self, index: int, out: np.ndarray) -> None:
        """Read the window alone into `out`, (C, T, *S) float32, contiguous; what a file holds where the spec's mask has no values is NaN."""
        _, start = self._place(index)
        self._reader.read(self.row_of(index), start, out)
        if self._without is not None:
            out[..., self._without] = np.nan

    def item_of(self, indices: Sequence[int], x: Tensor) -> dict[str, Any]:
        """A batch of items of windows that have been read: `x` is (B, C, T, *S), `index` (B,)."""
        count = len(self)
        item: dict[str, Any] = {"x": x, "index": torch.tensor([i % count for i in indices])}
        if self.cond_spec is not None:
            known = x.clone()
            known[:, :, self.history :] = torch.nan
            times = np.stack([self.window_times(i) for i in indices])
            item["cond"] = condition(self.spec, self.cond_spec.names, known, times=times, statics=self.static_fields, fill=self._fill)
        return item

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.item_of([index], self.fields_at(index)[None])
        return {n: int(v[0]) if n == "index" else v[0] for n, v in batch.items()}


class WindowRange(Dataset[dict[str, Any]]):
    """Consecutive windows of a data set, as if they were all: items are those of `windows`, index included.

    Args:
        windows: Windows with ``spec`` and ``cond_spec``.
        first: The first.
        stop: The one after the last.

    Raises:
        InputError: If there are no such windows.
    """

    def __init__(self, windows: Dataset[dict[str, Any]], first: int, stop: int) -> None:
        size = len(windows)  # type: ignore[arg-type]
        if not 0 <= first < stop <= size:
            raise InputError(f"WindowRange: expected 0 <= first < stop <= {size}, got {first} and {stop}")
        self.windows, self.first, self.stop = windows, first, stop
        self.spec, self.cond_spec = windows.spec, windows.cond_spec  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return self.stop - self.first

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.windows[self.place(index)]

    def place(self, index: int) -> int:
        """Which of all windows this one is."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        return self.first + index % len(self)


def _periodic(spec: FieldSpec | None) -> tuple[bool, ...] | None:
    return spec.grid.periodic if spec is not None and isinstance(spec.grid, CartesianGrid) else None


def _check_same(found: FieldSpec, spec: FieldSpec | None) -> None:
    if spec is None:
        return
    spec.grid.check_same(found.grid, "windows")
    for name, got, expected in zip(found.names, found.units, spec.units, strict=True):
        check_unit(got, expected, name)
    if abs(found.dt - spec.dt) > 1e-6 * spec.dt or found.time_unit != spec.time_unit:
        raise DataError(f"windows: expected a time step of {spec.dt:g} {spec.time_unit}, got {found.dt:g} {found.time_unit}; subsample it in time")


def _held(ds: xr.Dataset, names: Sequence[str], dims: Sequence[str]) -> dict[str, xr.Variable]:
    """The variables in house order: in memory if they are small, else as they lie in their files."""
    small = sum(int(np.prod([ds.sizes[d] for d in ds[n].dims])) * 4 for n in names) <= _IN_MEMORY
    held = {}
    for name in names:
        variable = ds[name].variable.transpose(*[d for d in dims if d in ds[name].dims])
        held[name] = xr.Variable(variable.dims, np.asarray(variable.values, dtype=np.float32)) if small else variable
    return held


def _static_field(ds: xr.Dataset, name: str, spec: FieldSpec) -> Tensor:
    if name not in ds:
        if name == "mask" and spec.mask is not None:
            return spec.mask.float()
        raise unknown_variable(name, map(str, ds.data_vars), "statics")
    field = ds[name].isel({d: 0 for d in ("time", *ROWS) if d in ds[name].dims})
    if set(field.dims) != set(spec.grid.dims):
        raise DataError(f"statics: expected {name} on {', '.join(spec.grid.dims)}, got {', '.join(map(str, field.dims))}; regrid it")
    spec.grid.check_same(grid_of(field.to_dataset(name=name), periodic=_periodic(spec)), name)
    return torch.from_numpy(np.array(field.transpose(*spec.grid.dims).values, dtype=np.float32))
