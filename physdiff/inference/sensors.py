"""Point sensors: values of some fields at some places, by multilinear interpolation."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import torch
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.grids.interpolate import interpolation
from physdiff.inference.observation import LinearOperator

__all__ = ["Sensors", "read_stations"]


class Sensors(LinearOperator):
    """Read fields at points, in every frame of a window or in some.

    Args:
        spec: What the windows are.
        points: (n, ndim), x, y, z order (longitude, latitude in degrees on the sphere).
        names: Fields that are read; all if None.
        frames: Frames that are read; all if None.

    Raises:
        InputError: If a point lies outside the grid or a name is unknown.
    """

    def __init__(
        self, spec: FieldSpec, points: Tensor, names: tuple[str, ...] | None = None, *, frames: tuple[int, ...] | None = None
    ) -> None:
        points = torch.as_tensor(points, dtype=torch.float64)
        if points.ndim != 2 or points.shape[1] != spec.grid.ndim or not len(points):
            raise InputError(f"Sensors: expected points (n, {spec.grid.ndim}) with n > 0, got {tuple(points.shape)}")
        self.spec, self.points = spec, points
        self.channels = [spec.channel(name) for name in (names or spec.names)]
        self.frames = list(range(spec.frames)) if frames is None else [_frame(f, spec.frames) for f in frames]
        self._interpolation = interpolation(spec.grid, points)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B, fields read, frames read, n)."""
        self.spec.check(x, "Sensors")
        return self._interpolation(x[:, self.channels][:, :, self.frames])

    def adjoint(self, r: Tensor) -> Tensor:
        """(B, fields read, frames read, n) -> (B, C, T, *S)."""
        out = r.new_zeros(r.shape[0], *self.spec.shape)
        rows = torch.tensor(self.channels)[:, None], torch.tensor(self.frames)
        # assignment adds nothing up: names and frames are distinct
        out[:, rows[0], rows[1]] = self._interpolation.adjoint(r)
        return out


def _frame(frame: int, frames: int) -> int:
    if not -frames <= frame < frames:
        raise InputError(f"Sensors: expected frames within 0 to {frames - 1}, got {frame}")
    return frame % frames


def read_stations(path: str | os.PathLike[str], grid: Grid) -> tuple[Tensor, dict[str, list[str]]]:
    """Read a CSV table of stations.

    Args:
        path: Table with a header; columns named as the grid's axes (``longitude, latitude`` or ``lon, lat``; ``x[, y[, z]]``) hold the places.
        grid: Names the axes.

    Returns:
        Points (n, ndim) in x, y, z order, and every other column as text.

    Raises:
        DataError: If the file is missing, a column is missing, or a cell is no number; the message names the line.
    """
    target = Path(path)
    if not target.is_file():
        raise DataError(f"{target}: expected a CSV table of stations, found no file; check the path")
    try:
        with target.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{target}: expected a CSV table of stations, got something else: {error}") from error
    short = {"longitude": "lon", "latitude": "lat"}
    if not rows:
        raise DataError(f"{target}: expected a header and at least one station, got an empty table")
    columns = []
    for name in reversed(grid.dims):
        key = next((k for k in rows[0] if k and k.strip().lower() in (name, short.get(name, name))), None)
        if key is None:
            raise DataError(f"{target}: expected a column {name!r}, got {', '.join(map(str, rows[0]))}")
        columns.append(torch.tensor([_number(row[key], target, key, i + 2) for i, row in enumerate(rows)], dtype=torch.float64))
    rest = {k.strip(): [(row[k] or "").strip() for row in rows] for k in rows[0] if k}
    return torch.stack(columns, dim=1), rest


def _number(text: str | None, path: Path, column: str, line: int) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{path}, line {line}: expected a number in column {column!r}, got {text!r}") from None
