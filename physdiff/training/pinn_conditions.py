"""The box and the conditions of a law from a data set: its first frame, and its values where the axes end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import spec_of, to_tensor
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.pde import PDE
from physdiff.pinn.collocated import Known
from physdiff.pinn.collocation import UniformPoints
from physdiff.training.pinn_reference import points_of, seconds_of

__all__ = ["Conditions", "box_and_known"]

_MOST = 4000  # points of a condition


@dataclass(frozen=True)
class Conditions:
    """What is taken from the data as known.

    Args:
        initial: Whether the fields of the law start as in the first frame.
        walls: data (the values of its first and last points along axes that do not close, at all times) or none.
        periodic: Whether the axes close; then nothing is known at their ends, the network closes by construction.
        times: First and last time of the problem; those of the data if not given.
        weight: Of each condition beside the law.
    """

    initial: bool = True
    walls: str = "data"
    periodic: bool = False
    times: tuple[float, float] | None = None
    weight: float = 20.0

    def __post_init__(self) -> None:
        check_one_of(self.walls, ("data", "none"), "Conditions walls")
        check_positive(self.weight, "Conditions weight")
        if self.times is not None and not self.times[0] < self.times[1]:
            raise InputError(f"Conditions times: expected two increasing times, got {list(self.times)}")


def box_and_known(ds: xr.Dataset, law: PDE, conditions: Conditions) -> tuple[UniformPoints, list[Known]]:
    """The box of the data in space and time, from its first to its last points, and the known values, float64.

    Raises:
        DataError: If a field of the law is missing, there are several trajectories, or the data are on a sphere.
        InputError: If the times reach out of the data's.
    """
    missing = [n for n in law.fields if n not in ds.data_vars]
    if missing:
        has = ", ".join(map(str, ds.data_vars))
        raise DataError(f"data: expected the fields {', '.join(law.fields)} of {type(law).__name__}, got {has}; rename the variables")
    spec = spec_of(ds, law.fields, periodic=conditions.periodic, gaps=True)
    if not isinstance(spec.grid, CartesianGrid):
        raise DataError(f"data: expected a Cartesian grid, got {spec.grid.summary()}; networks of the coordinates do not close at the poles")
    values, times = to_tensor(ds, spec, dtype=torch.float64), seconds_of(ds)
    if len(values) != 1:
        raise DataError(f"data: expected one trajectory, got {len(values)}; select one sample")
    t = conditions.times or (float(times[0]), float(times[-1]))
    slack = 1.000001 * spec.dt
    if t[0] < float(times[0]) - 1e-9 * spec.dt or t[1] > float(times[-1]) + slack:
        got = f"{t[0]:g} to {t[1]:g}"
        raise InputError(f"times: expected within those of the data, {float(times[0]):g} to {float(times[-1]):g}, got {got}; shorten them")
    box = UniformPoints(_box(ds, spec.grid), t=t, dtype=torch.float64)
    inside = (times >= t[0] - 1e-9 * spec.dt) & (times <= t[1] + 1e-9 * spec.dt)
    x, times = values[0][:, inside], times[inside]
    known = []
    if conditions.initial:
        if abs(float(times[0]) - t[0]) > 1e-6 * spec.dt:
            raise InputError(f"times: expected to start at a frame of the data, got {t[0]:g} between frames; the next one is at {float(times[0]):g}")
        known.append(_known(law.fields, points_of(spec.grid, times[:1]), x[:, :1], conditions.weight))
    if conditions.walls == "data":
        for axis, closed in enumerate(spec.grid.periodic):
            if not closed:
                known += [_wall(law.fields, spec.grid, times, x, axis=axis, index=index, weight=conditions.weight) for index in (0, -1)]
    return box, [part for part in known if len(part.points)]


def _box(ds: xr.Dataset, grid: CartesianGrid) -> CartesianGrid:
    """From the first to the last point of axes that do not close: there the data know the values."""
    lengths, starts = [], []
    for dim, closed, extent, origin in zip(grid.dims, grid.periodic, grid.extent, grid.origin, strict=True):
        ends = [float(ds[dim].values[i]) for i in (0, -1)]
        lengths.append(extent if closed else abs(ends[1] - ends[0]))
        starts.append(origin if closed else min(ends))
    return CartesianGrid(grid.shape, tuple(lengths), tuple(starts), periodic=grid.periodic)


def _wall(names: Sequence[str], grid: CartesianGrid, times: Tensor, x: Tensor, *, axis: int, index: int, weight: float) -> Known:
    where = torch.zeros(grid.shape, dtype=torch.bool)
    where.select(axis, index).fill_(True)
    rows = where.reshape(-1).repeat(len(times))
    points, values = points_of(grid, times)[rows], x.flatten(1)[:, rows]
    return _known(names, points, values, weight)


def _known(names: Sequence[str], points: Tensor, values: Tensor, weight: float) -> Known:
    """At most `_MOST` of the points, those with all values."""
    values = values.reshape(len(names), -1)
    rows = values.isfinite().all(0).nonzero()[:, 0]
    rows = rows[:: -(-max(len(rows), 1) // _MOST)]
    return Known(points[rows], {name: values[i, rows] for i, name in enumerate(names)}, weight)
