"""From files to a data set in house conventions, lazily.

Dimensions come out as (sample, member, time, z, y, x) or (sample, member, time, latitude, longitude), those that exist; levels are part of
the names; packed integers are unpacked, fill values are NaN, units have CF spelling. Several files are joined: variables side by side,
the same variable along time, or along samples where all files
have the same times. Nothing is read but coordinates until values are asked for.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from physdiff.base.errors import DataError
from physdiff.data.axes import POINT, SPACE, SPHERE, Axis, align, role_of
from physdiff.data.lazy import Files, LazyField
from physdiff.data.names import find_name, unknown_variable
from physdiff.data.readers.detect import KINDS, kind_of
from physdiff.data.scan import Found, scan
from physdiff.data.timeline import show_time
from physdiff.data.units import check_unit

__all__ = ["open_dataset", "open_forecast"]

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def open_dataset(
    path: Source,
    *,
    variables: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    dtype: str = "float32",
) -> xr.Dataset:
    """Open files or stores as one lazy data set in house conventions.

    What a file is is told from its first bytes: netCDF 3 or 4, Zarr 2 or 3, GRIB (extra ``grib``), HDF5 of PDEBench, The Well or with named
    arrays, npz, MATLAB (extra ``formats``), torch.

    Args:
        path: A file or store, the address of one (``https://``, ``s3://``) or of an OPeNDAP server, a folder, a glob pattern, or a list of these.
        variables: Which to take, by any name of the quantity (``"t2m"``, ``"2m_temperature"``, ``"z_500"``; ``"z"`` for all its levels);
            they are then called what was asked for. All of them, under the names of the file, if not given. Fields that do not depend
            on time (masks, topography) can be asked for too.
        units: The unit expected of each variable; spelling does not matter (``m s**-1`` is ``m/s``), nothing is converted.
        dtype: What values are read as; coordinates are always float64.

    Returns:
        A data set with dims (sample?, member?, time, *space). Latitude as in the file, longitude and x, y, z increasing. `time` is
        datetime64 for CF times, else float64 with the file's unit; days since 1850 for calendars without datetime64.

    Raises:
        DataError: If a file is missing or of no known kind, has no time dimension, lacks a variable, or if variables or files do not fit.
        UnitError: If a unit is missing or another than expected.
    """
    return _opened(path, variables, units, dtype=dtype, needed=("time",))


def open_forecast(
    path: Source,
    *,
    variables: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    dtype: str = "float32",
) -> xr.Dataset:
    """Open a forecast file, dims (init_time, member?, lead_time, *space), lazily; arguments and errors as in `open_dataset`."""
    return _opened(path, variables, units, dtype=dtype, needed=("init_time", "lead_time"))


def _opened(path: Source, variables: Sequence[str] | None, units: Mapping[str, str] | None, *, dtype: str, needed: tuple[str, ...]) -> xr.Dataset:
    paths = _paths(path)
    files = Files()
    where = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    per_file = [scan(p, files) for p in paths]
    if needed == ("time",) and len(paths) > 1:
        per_file = [[_with_time(f) for f in found] for found in per_file]
    if not any(per_file):
        raise _nothing(files.get(paths[0]), where)
    chosen = _choose([f for found in per_file for f in found], variables, where=where, needed=needed)
    for name, expected in (units or {}).items():
        hits = [n for n, group in chosen.items() if find_name(name, [n, group[0].base])]
        if not hits:
            raise unknown_variable(name, chosen, f"{where}, units")
        for hit in hits:
            for found in chosen[hit]:
                check_unit(found.attrs.get("units"), expected, f"{hit} in {found.piece.path}")
    return _assemble(chosen, files, dtype=np.dtype(dtype), where=where)


def _paths(path: Source) -> list[str]:
    given = [path] if isinstance(path, str | os.PathLike) else list(path)
    found: list[str] = []
    for entry in given:
        text = os.path.expanduser(os.fspath(entry))
        if "://" in text:
            found += [text]
            continue
        if Path(text).is_dir() and not kind_of(text):
            found += _inside(text)
            continue
        matches = [text] if Path(text).exists() or not glob.has_magic(text) else sorted(glob.glob(text, recursive=True))
        if not matches:
            raise DataError(f"{text}: expected files that match the pattern, found none; check the folder")
        found += [m for m in matches if m not in found]
    if not found:
        raise DataError("open_dataset: expected at least one file, got an empty list")
    return found


def _inside(folder: str) -> list[str]:
    """Files and stores of a folder that are of a known kind, by name; others (notes, tables) are passed over."""
    known = [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if not n.startswith(".")]
    known = [p for p in known if os.access(p, os.R_OK) and kind_of(p)]
    if not known:
        raise DataError(f"{folder}: expected a folder with files ({KINDS}), got none; give a file")
    return known


def _with_time(found: Found) -> Found:
    """One of several files with a scalar time each: the scalar becomes a time axis of length one."""
    if found.moment is None or found.problem:
        return found
    values = np.atleast_1d(np.asarray(found.moment))
    leading = [d for d in found.dims if d not in SPACE]
    dims = (*leading, "time", *(d for d in found.dims if d not in leading))
    axes = {**found.axes, "time": Axis("time", values)}
    return Found(found.name, found.base, found.piece, dims, axes, found.attrs)


def _nothing(raw: xr.Dataset, where: str) -> DataError:
    """No variable of a file has a known direction of space: which there are, and how dimensions are renamed."""
    there = [f"{n}({', '.join(map(str, v.dims))})" for n, v in raw.data_vars.items()][:6]
    longest = max((v.dims for v in raw.data_vars.values()), key=len, default=())
    unknown = [str(d) for d in longest if role_of(str(d), raw[d].attrs) is None]
    names = ("time", "latitude", "longitude")[-len(unknown) :] if unknown else ()
    change = ", ".join(f"{d}='{n}'" for d, n in zip(unknown, names, strict=False))
    told = f"rename dimensions, as in xarray.open_dataset(path).rename({change}).to_netcdf(new)" if change else "take a file with fields"
    return DataError(f"{where}: expected a variable on a grid (latitude and longitude, or x, y, z), got {', '.join(there) or 'none'}; {told}")


def _choose(found: Sequence[Found], variables: Sequence[str] | None, *, where: str, needed: tuple[str, ...]) -> dict[str, list[Found]]:
    """The fields asked for, by the name they get; one entry per file."""
    names = list(dict.fromkeys(f.name for f in found))
    if variables is None:
        wanted = {n: n for n in names}
    else:
        wanted = {}
        bases = list(dict.fromkeys(f.base for f in found))
        for asked in variables:
            hit = find_name(asked, names)
            base = find_name(asked, bases) if hit is None else None
            if hit is None and base is None:
                raise unknown_variable(asked, names, where)
            hits = [hit] if hit else [f.name for f in found if f.base == base]
            wanted.update({(asked if hit else n.replace(str(base), asked, 1)): str(n) for n in hits})
    groups = {new: [f for f in found if f.name == old] for new, old in wanted.items()}
    moving = {n: [f for f in g if f.moves] for n, g in groups.items()}
    if not any(moving.values()):
        _refuse(groups, where, needed)
    usable = {}
    for name, group in groups.items():
        problem = next((f.problem for f in group if f.problem), "")
        if problem:
            raise DataError(f"{where}: {problem}; or leave it out with variables=[...]")
        if moving[name] and not all(d in moving[name][0].dims for d in needed):
            raise DataError(f"{where}: expected {name} with {' and '.join(needed)}, got {', '.join(moving[name][0].dims)}; {_other(needed)}")
        usable[name] = moving[name] or group[:1]
    return usable


def _other(needed: tuple[str, ...]) -> str:
    return "open a forecast with open_forecast" if needed == ("time",) else "open it with open_dataset"


def _refuse(groups: Mapping[str, Sequence[Found]], where: str, needed: tuple[str, ...]) -> None:
    """Raise for data none of which depends on time."""
    first = next(f for g in groups.values() for f in g)
    problem = next((f.problem for g in groups.values() for f in g if f.problem), "")
    if problem and not any(not f.problem for g in groups.values() for f in g):
        raise DataError(f"{where}: {problem}")
    moment = "" if first.moment is None else f", and one time only ({show_time(first.moment)})"
    raise DataError(
        f"{where}: expected a time dimension ({' and '.join(needed)}), got no time dimension: {first.name} has {', '.join(first.dims)}{moment}; "
        "a trajectory needs at least two frames"
    )


def _assemble(chosen: Mapping[str, Sequence[Found]], files: Files, *, dtype: np.dtype, where: str) -> xr.Dataset:
    moving = [g for g in chosen.values() if g[0].moves]
    reference = moving[0][0]
    space = tuple(d for d in reference.dims if d in SPACE)
    coords: dict[str, xr.Variable] = {}
    data: dict[str, xr.Variable] = {}
    for name, group in chosen.items():
        fitted = [_on_grid(f, reference, space, name=name) for f in group]
        if fitted[0] is None or any(f is None for f in fitted):
            continue
        group = [f for f in fitted if f is not None]
        along = "sample" if _are_samples(group) else "time"
        ordered = group if along == "sample" else _in_time(group, name)
        dims, times = ordered[0].dims, _times(ordered[:1] if along == "sample" else ordered)
        samples = np.arange(sum(f.piece.frames for f in ordered)) if along == "sample" else np.empty(0)
        shape = tuple(times.size if d == "time" else samples.size if d == along else _size(ordered[0].axes[d]) for d in dims)
        for d in dims:
            axis = ordered[0].axes[d]
            if d == POINT:
                coords |= {n: xr.Variable((POINT,), v.values, _coordinate_attrs(n, Axis(n, None, attrs=v.attrs))) for n, v in axis.places.items()}
                continue
            values = times if d == "time" else samples if d == along else axis.values
            _add_coordinate(coords, xr.Variable((d,), values, _coordinate_attrs(d, axis)), name=name, where=where)
        field = LazyField(files, [f.piece for f in ordered], dims, shape=shape, dtype=dtype, along=along)
        data[name] = xr.Variable(dims, indexing.LazilyIndexedArray(field), dict(ordered[0].attrs))
        if len({f.attrs.get("units") for f in ordered}) > 1:
            check_unit(ordered[-1].attrs.get("units"), str(ordered[0].attrs.get("units", "1")), f"{name} in {ordered[-1].piece.path}")
    attrs = files.get(reference.piece.path).attrs
    return xr.Dataset(data, coords=coords, attrs={k: v for k, v in attrs.items() if not str(k).startswith("GRIB_")})


def _size(axis: Axis) -> int:
    return 0 if axis.values is None else int(axis.values.size)


def _on_grid(found: Found, reference: Found, space: tuple[str, ...], *, name: str) -> Found | None:
    """The field read on the grid of `reference`; None for a fixed field on another grid, which is left out."""
    mine = tuple(d for d in found.dims if d in SPACE)
    aligned = {d: align(found.axes[d], reference.axes[d], role=d) for d in mine} if mine == space else {}
    if mine == space and all(a is not None for a in aligned.values()):
        axes = {**found.axes, **{d: a for d, a in aligned.items() if a is not None}}
        orders = {d: a.order for d, a in axes.items() if a.order is not None and not np.array_equal(a.order, np.arange(a.order.size))}
        piece = type(found.piece)(found.piece.path, found.piece.variable, found.piece.axes, orders, found.piece.frames)
        return Found(found.name, found.base, piece, found.dims, axes, found.attrs)
    if not found.moves:
        return None
    one, two = (", ".join(f"{f.axes[d].dim} {_size(f.axes[d])}" for d in dims) for f, dims in ((reference, space), (found, mine)))
    raise DataError(
        f"expected all variables on one grid, got two grids: {reference.name} on ({one}) in {reference.piece.path} and {name} on ({two}) "
        f"in {found.piece.path}; choose variables of one grid with variables=[...] or regrid"
    )


def _are_samples(group: list[Found]) -> bool:
    """Whether several files hold samples of one experiment: all at the same times; their pieces then count samples."""
    if len(group) < 2 or any("sample" not in f.dims or f.dims != group[0].dims for f in group):
        return False
    times = [f.axes["time"].values if "time" in f.axes else np.empty(0) for f in group]
    if any(t is None or times[0] is None or not np.array_equal(t, times[0]) for t in times):
        return False
    group[:] = [replace(f, piece=replace(f.piece, frames=_size(f.axes["sample"]))) for f in group]
    return True


def _in_time(group: Sequence[Found], name: str) -> list[Found]:
    """The files of one variable in the order of time, which must not overlap."""
    if len(group) == 1 or "time" not in group[0].dims:
        return list(group[:1])
    if any(f.dims != group[0].dims for f in group):
        raise DataError(f"{name}: expected the same dimensions in all files, got {sorted({f.dims for f in group})}; open them apart")
    if len({np.asarray(f.axes["time"].values).dtype.kind for f in group}) > 1:
        raise DataError(f"{name}: expected calendar times in all files or in none, got both; open them apart")
    ordered = sorted(group, key=lambda f: _ends(f)[0])
    for before, after in zip(ordered[:-1], ordered[1:], strict=True):
        if _ends(after)[0] <= _ends(before)[1]:
            raise DataError(
                f"{name}: expected files one after another in time, got {show_time(_ends(after)[0])} in {after.piece.path} "
                f"within or before the end of {before.piece.path}; drop the overlap"
            )
    return ordered


def _ends(found: Found) -> tuple[Any, Any]:
    times = found.axes["time"].values
    assert times is not None and times.size
    return times[0], times[-1]


def _times(ordered: Sequence[Found]) -> np.ndarray:
    if "time" not in ordered[0].dims:
        return np.empty(0)
    return np.concatenate([np.asarray(f.axes["time"].values) for f in ordered])


def _coordinate_attrs(dim: str, axis: Axis) -> dict[str, object]:
    attrs = {k: v for k, v in axis.attrs.items() if k not in ("stored_direction", "bounds", "dtype", "calendar")}
    if dim in SPHERE:
        attrs.update(standard_name=dim, units="degrees_north" if dim == "latitude" else "degrees_east")
    axis_letter = {"latitude": "Y", "longitude": "X", "x": "X", "y": "Y", "z": "Z"}.get(dim)
    if axis_letter:
        attrs["axis"] = axis_letter
    return attrs


def _span(times: np.ndarray) -> str:
    return f"{times.size} frames ({show_time(times[0])} to {show_time(times[-1])})"


def _add_coordinate(coords: dict[str, xr.Variable], new: xr.Variable, *, name: str, where: str) -> None:
    dim = str(new.dims[0])
    old = coords.setdefault(dim, new)
    if old is new or np.array_equal(old.values, new.values):
        return
    if dim == "time":
        raise DataError(
            f"{where}: expected all variables at the same times, got {_span(old.values)} and {_span(new.values)} for {name}; "
            "choose with variables=[...] or complete the files"
        )
    raise DataError(f"{where}: expected one coordinate {dim!r} for all variables, got another for {name}; open them apart")
