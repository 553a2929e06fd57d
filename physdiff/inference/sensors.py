"""Point sensors: values of some fields at some places, by multilinear interpolation, or from the nearest of scattered points."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from physdiff.base.errors import DataError, InputError, UnitError
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.grids.interpolate import interpolation
from physdiff.grids.points import place_axes
from physdiff.inference.observation import LinearOperator
from physdiff.inference.weighted_cells import WeightedCells

__all__ = ["Sensors", "Stations", "read_stations"]


class Stations(NamedTuple):
    """Places from a table, and its other columns as text.

    Args:
        points: (n, ndim), x, y, z order (longitude, latitude in degrees on the sphere).
        columns: {name: one text per station}.
    """

    points: Tensor
    columns: Mapping[str, list[str]]

    def readings(self, name: str) -> Tensor:
        """One column as numbers (n,), float64; NaN where the cell is empty or says nan.

        Raises:
            DataError: If there is no such column or a cell is no number.
        """
        if name not in self.columns:
            raise DataError(f"stations: expected a column {name!r}, got {', '.join(self.columns) or 'none besides the places'}")
        values = [_number(text or "nan", f"column {name!r}, station {i + 1}") for i, text in enumerate(self.columns[name])]
        return torch.tensor(values, dtype=torch.float64)


class Sensors(LinearOperator):
    """Read fields at points, in every frame of a window or in some.

    Args:
        spec: What the windows are.
        points: (n, ndim), x, y, z order (longitude, latitude in degrees on the sphere), or what `read_stations` returns.
        names: Fields that are read; all if None.
        frames: Frames that are read, negative ones from the last; all if None.
        units: Units of the readings, one per field read; None: those of `spec`.

    Raises:
        InputError: If a point lies outside the grid or where the mask says that there are no values, or a name or frame is unknown or comes twice.
        UnitError: If a unit is not the field's.
    """

    spec: FieldSpec

    def __init__(
        self,
        spec: FieldSpec,
        points: Tensor | Stations,
        names: tuple[str, ...] | None = None,
        *,
        frames: tuple[int, ...] | None = None,
        units: tuple[str, ...] | None = None,
    ) -> None:
        # saved and built again, Stations come as a plain tuple
        points = torch.as_tensor(points[0] if isinstance(points, tuple) else points, dtype=torch.float64)
        count = len(place_axes(spec.grid))
        if points.ndim != 2 or points.shape[1] != count or not len(points):
            raise InputError(f"Sensors: expected points (n, {count}) with n > 0, got {tuple(points.shape)}")
        if not bool(points.isfinite().all()):
            bad = int((~points.isfinite()).any(1).nonzero()[0])
            raise InputError(f"Sensors: expected finite coordinates, got {points[bad].tolist()} for point {bad}; drop it")
        self.spec, self.points = spec, points
        corners = interpolation(spec.grid, points)
        if spec.mask is not None:
            on_mask = ((corners.weight != 0) & ~spec.mask.cpu().flatten()[corners.index]).any(1)
            if bool(on_mask.any()):
                bad = int(on_mask.nonzero()[0])
                place = f"point {bad} at {points[bad].tolist()}"
                raise InputError(f"Sensors: expected points among cells with values, got {place} beside the mask; drop or move it")
        self._cells = WeightedCells(spec, corners.index, corners.weight, names=names, frames=frames)
        self.names, self.channels, self.frames = self._cells.names, self._cells.channels, self._cells.frames
        _check_units(units, tuple(spec.units[c] for c in self.channels), self.names)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B, fields read, frames read, n)."""
        return self._cells(x)

    def adjoint(self, r: Tensor) -> Tensor:
        """(B, fields read, frames read, n) -> (B, C, T, *S)."""
        return self._cells.adjoint(r)


def _check_units(given: Sequence[str] | None, expected: Sequence[str], names: Sequence[str]) -> None:
    if given is None:
        return
    if len(given) != len(expected):
        raise UnitError(f"Sensors: expected one unit for each of {', '.join(names)}, got {given!r}")
    for name, mine, theirs in zip(names, given, expected, strict=True):
        if mine != theirs:
            raise UnitError(f"Sensors: expected readings of {name} in {theirs}, got {mine}; convert them")


def read_stations(path: str | os.PathLike[str], grid: Grid | None = None) -> Stations:
    """Read a CSV table of stations.

    Args:
        path: Table with a header; the columns ``longitude, latitude`` (or ``lon, lat``), else ``x[, y[, z]]``, hold the places.
        grid: Names the axes; None: those of the columns there are.

    Returns:
        Points (n, ndim) in x, y, z order, and every other column as text.

    Raises:
        DataError: If the file is missing, a column is missing, or a cell is no number; the message names the line.
    """
    target = Path(path)
    if not target.is_file():
        raise DataError(f"{target}: expected a CSV table of stations, found no file; check the path")
    try:
        with target.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{target}: expected a CSV table of stations, got something else: {error}") from error
    if not rows:
        raise DataError(f"{target}: expected a header and at least one station, got an empty table")
    found = {k.strip().lower(): k for k in rows[0] if k}
    if grid is not None:
        axes = place_axes(grid)
    else:
        axes = ("longitude", "latitude") if {"longitude", "lon"} & found.keys() else tuple(n for n in "xyz" if n in found) or ("x",)
    columns, taken = [], []
    for name in axes:
        key = found.get(name, found.get(_SHORT.get(name, name)))
        if key is None:
            raise DataError(f"{target}: expected a column {name!r}, got {', '.join(map(str, rows[0]))}")
        taken.append(key)
        cells = [_number(row[key], f"{target}, line {i + 2}, column {key!r}") for i, row in enumerate(rows)]
        columns.append(torch.tensor(cells, dtype=torch.float64))
    rest = {k.strip(): [(row[k] or "").strip() for row in rows] for k in rows[0] if k and k not in taken}
    return Stations(torch.stack(columns, dim=1), rest)


_SHORT = {"longitude": "lon", "latitude": "lat"}


def _number(text: str | None, where: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{where}: expected a number, got {text!r}") from None
