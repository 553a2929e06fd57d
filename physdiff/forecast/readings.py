"""Readings from tables and netCDF files: values at points, in beams, along lines or in blocks, each with its time and perhaps its own error."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physdiff.base.errors import DataError, GridMismatch, InputError
from physdiff.data.timeline import as_times
from physdiff.data.units import check_unit
from physdiff.forecast.look import Errors, Look, is_derived
from physdiff.forecast.netcdf_readings import coarse_readings, netcdf_readings
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.points import PointGrid, place_axes
from physdiff.inference.sensors import read_stations

__all__ = ["Readings", "read_readings"]

_WHOLE = "all"  # in place of a width: the mean over the grid


@dataclass(frozen=True, eq=False)
class Readings:
    """Values read at points, or in beams around them, along lines or in blocks, see `Look`.

    Args:
        points: (n, ndim), x, y, z order (longitude, latitude in degrees).
        values: (C, n) in the units of the fields, (1, n) of a derived one; NaN where a field was not read.
        times: (n,) when; None if the table has no times.
        std: (n,) of each reading, where it is its own.
        look: What the readings are of.
        errors: The law of their noise.
        exact: Whether the draws are moved onto them, to rounding.
        more: Readings of other kinds beside them.
    """

    points: Tensor
    values: Tensor
    times: np.ndarray | None = None
    std: Tensor | None = None
    look: Look = Look()  # noqa: RUF009 - a frozen value
    errors: Errors = Errors()  # noqa: RUF009 - a frozen value
    exact: bool = False
    more: tuple[Readings, ...] = ()

    def parts(self) -> tuple[Readings, ...]:
        """Readings of one kind each, those without any left out."""
        own = () if not len(self.points) else (replace(self, more=()) if self.more else self,)
        return (*own, *(part for other in self.more for part in other.parts()))

    def moments(self) -> np.ndarray:
        """The distinct times, in order."""
        found = [part.times for part in self.parts() if part.times is not None]
        return np.unique(np.concatenate(found)) if found else np.zeros(1)

    def at(self, moment: Any) -> Readings:  # noqa: ANN401 - a numpy scalar
        """The readings of one time, and those without times."""
        more = tuple(other.at(moment) for other in self.more)
        if self.times is None:
            return replace(self, more=more) if more else self
        return replace(self.rows(self.times == moment), times=None, more=more)

    def rows(self, chosen: np.ndarray) -> Readings:
        """Some of the readings, (n,) booleans; those of other kinds are kept."""
        index = torch.from_numpy(np.flatnonzero(chosen))
        times, std = None if self.times is None else self.times[chosen], None if self.std is None else self.std[index]
        return replace(self, points=self.points[index], values=self.values[:, index], times=times, std=std, look=self.look.rows(index))

    def under(self, errors: Errors) -> Readings:
        """The same readings, all with this law of noise."""
        return replace(self, errors=errors, more=tuple(other.under(errors) for other in self.more))

    def only_points(self, what: str) -> Readings:
        """These, where all are of the fields at points.

        Raises:
            InputError: If some are not.
        """
        other = [p.look for p in self.parts() if not p.look.at_points]
        if other or any(p.std is not None or p.exact for p in self.parts()):
            raise InputError(f"{what}: expected readings of the fields at points, with one std for each field, got others; leave those out")
        return self


def read_readings(path: str | os.PathLike[str], spec: FieldSpec) -> Readings:
    """Read a CSV table or a netCDF file (`.nc`, see `netcdf_readings`) of readings.

    Columns of a table: the axes (``longitude, latitude`` or ``x[, y[, z]]``), ``time`` if there are several, and one per field, named as the field;
    a unit in brackets (``t2m [K]``) is checked. An empty cell is a reading that was not taken; lines without any are left out. Further columns say
    what a reading is of: ``fwhm`` (the mean under a beam of that width around the place; empty: a point; ``all``: the mean over the grid),
    ``longitude_end, latitude_end`` (the integral along a line), ``time_start`` (the mean over the frames from then to ``time``, both among them;
    empty: of one moment), a derived field as ``wind_speed(u v)``; ``std`` is the standard deviation of each, and ``yes`` in ``exact`` says that
    draws must obey it. In netCDF fields on a coarser grid are means of blocks.

    Args:
        path: The table or file.
        spec: Fields and grid of the prior.

    Raises:
        DataError: If a column is missing, no field is among them, a cell cannot be read, or a mean begins between frames; the message names the line.
        UnitError: If a unit in brackets is not the field's.
    """
    if Path(path).suffix in (".nc", ".nc4", ".cdf"):
        try:
            return Readings(*netcdf_readings(path, spec))
        except GridMismatch:
            coarse = coarse_readings(path, spec)
            if coarse is None:
                raise
            table, block, cells = coarse
            return Readings(*table, look=Look(block=block, cells=cells))
    return _table(path, spec)


def _table(path: str | os.PathLike[str], spec: FieldSpec) -> Readings:
    points, columns = read_stations(path, spec.grid)
    headers = {}
    for header in columns:
        match = re.fullmatch(r"(.+?)\s*\[(.+)\]", header)
        headers[match.group(1) if match else header] = (header, match.group(2) if match else None)
    fields, derived = [n for n in spec.names if n in headers], [n for n in headers if n not in spec.names and is_derived(n)]
    read = [*fields, *derived]
    if not read:
        raise DataError(f"{path}: expected a column for one of the fields {', '.join(spec.names)}, got {', '.join(headers) or 'places only'}")
    named = {name: columns[header] for name, (header, _) in headers.items()}
    times, ends = _times(named["time"], f"{path}") if "time" in named else None, _ends(named, spec, f"{path}")
    if isinstance(spec.grid, PointGrid) and (ends is not None or {w.lower() for w in named.get("fwhm", [])} - {"", _WHOLE}):
        raise DataError(f"{path}: expected readings at places for a prior at scattered points, got beams or lines, which need a grid; leave them out")
    if ends is not None and "fwhm" in named:
        raise DataError(f"{path}: expected either beams (fwhm) or lines, got columns of both; write them to two tables")
    if "std" in named and len(read) > 1:
        raise DataError(f"{path}: expected one kind of reading beside the column 'std', got {', '.join(read)}; write a table for each")
    std = _numbers(named["std"], f"{path}", "std") if "std" in named else None
    parts = list[Readings]()
    for name in ([None] if fields else []) + derived:  # all fields together, each derived one alone
        look = Look(ends=ends, derived=name)
        values = torch.full((1 if name else len(spec.names), len(points)), torch.nan)
        for row, column in [(0, name)] if name else [(spec.channel(n), n) for n in fields]:
            header, unit = headers[str(column)]
            if unit is not None:
                check_unit(unit, look.units(spec)[row], f"{path}, column {header!r}")
            values[row] = _numbers(named[str(column)], f"{path}", str(column)).float()
        parts += _apart(Readings(points, values, times, std, look), named, spec, f"{path}")
    wanted = " or ".join([*spec.names, *derived])
    if not parts:
        raise DataError(f"{path}: expected at least one reading of {wanted}, got empty cells only; drop the table or fill it")
    return replace(parts[0], more=tuple(parts[1:]))


def _apart(readings: Readings, named: dict[str, list[str]], spec: FieldSpec, path: str) -> list[Readings]:
    """What was read, with points, beams of each width and means over the grid apart, and exact readings from others."""
    count = len(readings.points)
    widths = [w.lower() for w in named.get("fwhm", [""] * count)]
    exact = [e.lower() for e in named.get("exact", [""] * count)]
    spans = _spans(named["time_start"], readings.times, spec, path) if "time_start" in named else [1] * count
    bad = next((i for i, e in enumerate(exact) if e not in ("", "yes", "no")), None)
    if bad is not None:
        raise DataError(f"{path}, line {bad + 2}, column 'exact': expected yes, no or an empty cell, got {exact[bad]!r}")
    taken, found = readings.values.isfinite().any(0).tolist(), []
    kinds = list(zip(widths, (e == "yes" for e in exact), spans, strict=True))
    for kind in sorted(set(kinds)):
        chosen = np.array([t and k == kind for t, k in zip(taken, kinds, strict=True)])
        if not chosen.any():
            continue
        width, fixed, span = kind
        part = readings.rows(chosen)
        part = replace(part, exact=fixed, look=replace(part.look, span=span))
        if width == _WHOLE:
            look = replace(part.look, block=spec.grid.shape, cells=torch.zeros(int(chosen.sum()), dtype=torch.int64))
        else:
            line = widths.index(width)
            look = replace(part.look, fwhm=_value(width, f"{path}, line {line + 2}, column 'fwhm'") if width else None)
        found.append(replace(part, look=look))
    return found


def _spans(starts: list[str], times: np.ndarray | None, spec: FieldSpec, path: str) -> list[int]:
    """Number of frames that each reading is the mean of; 1 where its mean has no start."""
    if times is None:
        raise DataError(f"{path}: expected a column 'time' beside 'time_start', the last frame of each mean, got none")
    found = [1] * len(starts)
    given = [i for i, cell in enumerate(starts) if cell]
    begins = _times([starts[i] for i in given], path) if given else times[:0]
    for i, begin in zip(given, begins, strict=True):
        where = f"{path}, line {i + 2}, column 'time_start'"
        if (times.dtype.kind == "M") != (begins.dtype.kind == "M"):
            raise DataError(f"{where}: expected a {'date' if times.dtype.kind == 'M' else 'number'}, as in the column 'time', got {starts[i]!r}")
        length = (times[i] - begin) / np.timedelta64(1, "s") if times.dtype.kind == "M" else float(times[i] - begin)
        steps = round(length / spec.dt)
        if steps < 0 or abs(length / spec.dt - steps) > 1e-3:
            raise DataError(f"{where}: expected a frame before 'time', which are {spec.dt:g} {spec.time_unit} apart, got {length:g} before it")
        found[i] = steps + 1
    return found


def _ends(named: dict[str, list[str]], spec: FieldSpec, path: str) -> Tensor | None:
    """Other ends of lines, (n, ndim), where the table has them."""
    axes = [f"{d}_end" for d in place_axes(spec.grid)]
    there = [a for a in axes if a in named]
    if not there:
        return None
    if len(there) < len(axes):
        raise DataError(f"{path}: expected the columns {', '.join(axes)} of lines, got {', '.join(there)} only")
    columns = [_numbers(named[a], path, a) for a in axes]
    for name, column in zip(axes, columns, strict=True):
        if not bool(column.isfinite().all()):
            raise DataError(f"{path}, column {name!r}: expected a number in every line, got an empty cell; write points to another table")
    return torch.stack(columns, 1)


def _numbers(cells: list[str], path: str, name: str) -> Tensor:
    """A column as numbers (n,), float64; NaN where a cell is empty."""
    return torch.tensor([_value(cell, f"{path}, line {i + 2}, column {name!r}") for i, cell in enumerate(cells)], dtype=torch.float64)


def _times(cells: list[str], path: str) -> np.ndarray:
    """Dates, taken as UTC, or numbers."""
    if "" in cells:
        raise DataError(f"{path}, line {cells.index('') + 2}, column 'time': expected a date or a number, got an empty cell; drop the line")
    calendar = any(not _is_number(cell) for cell in cells)
    try:
        return as_times(np.array([_utc(c) for c in cells] if calendar else [float(c) for c in cells]))
    except ValueError as error:
        raise DataError(f"{path}: expected dates in UTC (2019-03-16T05:00) or numbers in the column 'time', got one that is none: {error}") from error


def _utc(cell: str) -> str:
    """The date without its zone, which numpy does not read."""
    if re.search(r"[+-]\d\d:?\d\d$", cell) and ":" in cell[:-6]:
        raise ValueError(f"{cell!r} has an offset; convert it to UTC")
    return cell.removesuffix("Z")


def _value(cell: str, where: str) -> float:
    if cell.lower() in ("", "nan", "na"):
        return float("nan")
    if not _is_number(cell):
        raise DataError(f"{where}: expected a number or an empty cell, got {cell!r}")
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
