"""What a network of the coordinates is measured against, and the network as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import spec_of, to_dataset, to_tensor
from physdiff.data.timeline import as_times, is_calendar
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet

__all__ = ["Reference", "points_of", "seconds_of", "trained_dataset"]

_MOST = 60_000  # points that an error is measured at


@dataclass(frozen=True, eq=False)
class Reference:
    """Values of fields at points.

    Args:
        points: (n, d).
        values: By field, each (n,), NaN where missing.
    """

    points: Tensor
    values: dict[str, Tensor]

    @classmethod
    def of(cls, ds: xr.Dataset, problem: Collocated, box: UniformPoints) -> Reference:
        """The fields of the law in a data set, at its points and times within the box.

        Raises:
            DataError: If it has none of the law's fields, or several samples.
            InputError: If the time of the box reaches out of the data's by more than a step.
        """
        names = [n for n in problem.law.fields if n in ds.data_vars]
        if not names:
            has = ", ".join(map(str, ds.data_vars))
            raise DataError(f"reference: expected fields of {type(problem.law).__name__} ({', '.join(problem.law.fields)}), got {has}; rename them")
        spec = spec_of(ds, names, gaps=True)
        values = to_tensor(ds, spec, dtype=torch.float64)
        if len(values) != 1:
            raise DataError(f"reference: expected one trajectory, got {len(values)}; select one, ds.isel(sample=0)")
        times = seconds_of(ds)
        if box.t is not None:
            _check_times(times, box.t, spec.dt)
        inside = torch.ones(len(times), dtype=torch.bool) if box.t is None else (times >= box.t[0] - 1e-9) & (times <= box.t[1] + 1e-9)
        points = points_of(spec.grid, times[inside] if box.t is not None else None)
        fields = values[0][:, inside].flatten(1)
        keep = torch.arange(0, len(points), -(-len(points) // _MOST))
        return cls(points[keep], {name: fields[i, keep] for i, name in enumerate(names)})

    @torch.no_grad()
    def error(self, net: CoordinateNet) -> float:
        """Relative L2 error, ||u - v|| / ||v||; of several fields the largest."""
        like = next(net.parameters())
        got = [net.fields(part.to(like)) for part in self.points.split(16384)]
        found = []
        for name, v in self.values.items():
            u, there = torch.cat([g[name] for g in got]).double().cpu(), v.isfinite()
            found.append(float((u - v)[there].norm() / v[there].norm().clamp_min(1e-300)))
        return max(found)


def points_of(grid: Grid, times: Tensor | None) -> Tensor:
    """All points of a grid at all times, (T * prod S, d), time slowest, columns x, [y, [z,]] [t]."""
    space = torch.stack([c.reshape(-1) for c in grid.coordinates()], dim=-1).double()
    if times is None:
        return space
    return torch.cat((space.repeat(len(times), 1), times.double().repeat_interleave(len(space))[:, None]), dim=1)


def seconds_of(ds: xr.Dataset) -> Tensor:
    """Times as numbers, calendar times in seconds after the first, (T,) float64."""
    stamps = as_times(ds["time"].values) if "time" in ds.coords else np.arange(ds.sizes["time"], dtype=np.float64)
    return torch.from_numpy(np.asarray((stamps - stamps[0]) / np.timedelta64(1, "s") if is_calendar(stamps) else stamps, dtype=np.float64))


def trained_dataset(net: CoordinateNet, grid: Grid, times: Tensor, *, units: Sequence[str] = (), time_unit: str = "1") -> xr.Dataset:
    """A trained network on any grid at any times of its span, as a data set, dims (time, *space).

    Raises:
        InputError: If the times lie outside the span.
    """
    step = float(times[1] - times[0]) if len(times) > 1 else 1.0
    spec = FieldSpec(net.names, tuple(units) or ("1",) * len(net.names), grid, step, time_unit=time_unit)
    return to_dataset(net.on_grid(grid, times)[0].cpu(), spec, times.double().numpy())


def _check_times(times: Tensor, span: tuple[float, float], step: float) -> None:
    first, last, slack = float(times[0]), float(times[-1]), 1.000001 * step
    if span[0] < first - slack or span[1] > last + slack:
        raise InputError(
            f"reference: expected the times of the problem within those of the data, {first:g} to {last:g}, got {span[0]:g} to {span[1]:g}; "
            "shorten the problem, or leave the reference out"
        )
