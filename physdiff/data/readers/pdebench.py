"""PDEBench's HDF5 files (Takamoto et al., 2022), all layouts: one field, one data set per field, groups by seed, batches of incompressible flow.

The files name no units, and walls in their own name at most: an axis counts as closed where the file's name says ``periodic``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.pairs import from_pairs, pair_of
from physdiff.data.readers.stored import Group, stored

__all__ = ["is_pdebench", "open_pdebench"]

_AXES = ("x", "y", "z")


def is_pdebench(file: Group) -> bool:
    """Whether an HDF5 file has one of PDEBench's layouts."""
    return "t-coordinate" in file or ("tensor" in file and "x-coordinate" in file) or _is_incompressible(file) or bool(_seeds(file))


def open_pdebench(file: Group, path: str) -> xr.Dataset:
    """The file as it stands: dims (sample, time, x[, y[, z]]); components of vectors are fields of their own.

    Raises:
        DataError: If lengths do not fit, times differ from sample to sample, or there is no time.
    """
    seeds = _seeds(file)
    if seeds:
        return _by_seed(seeds, path)
    if _is_incompressible(file):
        return _incompressible(file, path)
    return _flat(file, path)


def _is_incompressible(file: Group) -> bool:
    """Whether there are velocities and times, and no coordinates that the unit square would contradict."""
    return "velocity" in file and "t" in file and not any(a in file for a in _AXES) and getattr(file["velocity"], "ndim", 0) == 5


def _seeds(file: Group) -> list[Group]:
    """Groups of one run each, in the order of their numbers."""
    names = sorted((n for n in file if n.isdigit()), key=int)
    return [file[n] for n in names if "data" in file[n] and "grid" in file[n]]


def _flat(file: Group, path: str) -> xr.Dataset:
    """`tensor`, or one data set per field, at the root."""
    axes = {name: np.asarray(file[f"{name}-coordinate"]) for name in _AXES if f"{name}-coordinate" in file}
    if "t-coordinate" not in file and pair_of(file):
        return from_pairs(file, path, axes=axes, attrs=file.attrs)
    if "t-coordinate" not in file:
        raise DataError(f"{path}: expected times (t-coordinate), got none, as in Darcy flow; there is nothing to forecast")
    times = np.asarray(file["t-coordinate"])
    fields = {n: v for n, v in file.items() if not n.endswith("-coordinate") and getattr(v, "ndim", 0) == 2 + len(axes)}
    if not fields:
        shapes = {n: v.shape for n, v in file.items() if hasattr(v, "shape")}
        raise DataError(f"{path}: expected fields (sample, time, {', '.join(axes)}), got {shapes}")
    data: dict[str, xr.Variable] = {}
    for name, field in fields.items():
        frames = field.shape[1]
        # published files say the end of the last interval too
        if times.size not in (frames, frames + 1):
            raise DataError(f"{path}: expected as many times as frames of {name} ({frames}), or one more, got {times.size}")
        data[name] = stored(("sample", "time", *axes), [field])
    frames = next(iter(fields.values())).shape[1]
    return _dataset(data, {"time": times[:frames], **axes}, file.attrs, path)


def _by_seed(groups: Sequence[Group], path: str) -> xr.Dataset:
    """`data` (time, x[, y], channel) in a group for each seed; all on one grid."""
    first = groups[0]
    axes = {n: np.asarray(first["grid"][n]) for n in _AXES if n in first["grid"]}
    times = np.asarray(first["grid"]["t"], dtype=np.float64)
    starts = [float(group["grid"]["t"][0]) for group in groups]
    for group, start in zip(groups[1:], starts[1:], strict=True):
        since = np.asarray(group["grid"]["t"], dtype=np.float64) - start
        if group["data"].shape != first["data"].shape or not np.allclose(since, times - times[0], rtol=0, atol=1e-5 * np.ptp(times)):
            raise DataError(f"{path}: expected all groups with the shape and time steps of {first.name}, got others in {group.name}; split the file")
    if len(set(starts)) > 1:
        times = times - times[0]  # runs that start at different times: counted from each one's start
    channels = first["data"].shape[-1]
    names = ["data"] if channels == 1 else [f"data_{c}" for c in range(channels)]
    parts = [group["data"] for group in groups]
    data = {n: stored(("sample", "time", *axes), parts, tail=(c,), stacked=True) for c, n in enumerate(names)}
    return _dataset(data, {"time": times, **axes}, first.attrs, path)


def _incompressible(file: Group, path: str) -> xr.Dataset:
    """`velocity` and `particles` (batch, time, x, y, component), times (batch, time), without coordinates: the unit square."""
    times = np.asarray(file["t"])
    if times.ndim == 2:
        if not np.allclose(times, times[:1]):
            raise DataError(f"{path}: expected the same times for all samples, got others; split the file")
        times = times[0]
    _, frames, nx, ny, _ = file["velocity"].shape
    data: dict[str, xr.Variable] = {}
    for name in ("velocity", "particles"):
        if name in file:
            parts = [file[name]]
            labels = [name] if file[name].shape[-1] == 1 else [f"{name}_{a}" for a in ("x", "y")]
            data |= {label: stored(("sample", "time", "x", "y"), parts, tail=(c,)) for c, label in enumerate(labels)}
    axes = {"x": (np.arange(nx) + 0.5) / nx, "y": (np.arange(ny) + 0.5) / ny}
    return _dataset(data, {"time": times[:frames], **axes}, file.attrs, path)


def _dataset(data: Mapping[str, xr.Variable], axes: Mapping[str, np.ndarray], attrs: Mapping[str, object], path: str) -> xr.Dataset:
    closed = {"periodic": 1} if "periodic" in Path(path).name.lower() else {}
    coords = {n: xr.Variable((n,), v.astype(np.float64), {} if n == "time" else closed) for n, v in axes.items()}
    kept = {str(k): v for k, v in attrs.items() if np.ndim(v) == 0}  # type: ignore[arg-type]
    return xr.Dataset(dict(data), coords=coords, attrs=kept)
