"""Does a data set obey a law? The residual of the law, frame by frame and point by point, as a data set."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import ROWS, spec_of, to_dataset, to_tensor
from physdiff.data.timeline import as_times, is_calendar
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields, FieldSpec
from physdiff.grids.trajectory import courant_number
from physdiff.operators.operators import Operators
from physdiff.operators.seam import check_seam
from physdiff.operators.spectral import Spectral
from physdiff.operators.stencils import TimeDifference
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.pde import PDE, space_mean
from physdiff.pdes.residual import window_residual

__all__ = ["physics_residual"]

_MOST_CELLS = 2.0


def physics_residual(ds: xr.Dataset, pde: PDE, operators: Operators) -> xr.Dataset:
    """Residual ``dt u - rhs`` of a law on trajectories.

    The time derivative is taken from the frames, so it means something only where the flow crosses less than about a cell between two. Where
    the wind is a field of the data (`AdvectionDiffusion`), its Courant number is looked at, and more than two cells are refused.

    Args:
        ds: Trajectories, dims (sample?, member?, time, *space), with the fields of the law (and its diagnostics, for their constraints).
        pde: The law.
        operators: Derivatives on the grid of the data; their time step, if they have none, is that of the data.

    Returns:
        A variable per residual, with the dims of the data and units of the field per time; float64.

    Raises:
        DataError: If a field is missing or there are gaps in time.
        GridMismatch: If the operators are for another grid.
        InputError: If the operators have another time step than the data, or the wind in the data crosses several cells per frame, or
            they are Spectral and a field jumps where the box closes.
    """
    missing = [n for n in pde.fields if n not in ds.data_vars]
    if missing:
        raise DataError(f"physics_residual: expected the law's fields {', '.join(pde.fields)}, missing {', '.join(missing)}; rename the variables")
    if "lead_time" in ds.dims and "time" not in ds.dims:
        line = 'fc.isel(init_time=0, drop=True).rename(lead_time="time")'
        raise DataError(f"physics_residual: expected fields with a time dimension, got a forecast with lead_time; take one start of it: {line}")
    winds = pde.velocity if isinstance(pde, AdvectionDiffusion) else ()
    names = (*pde.fields, *(n for n in (*pde.diagnostics, *(v for v in winds if isinstance(v, str))) if n in ds.data_vars))
    grid = getattr(operators, "grid", None)
    spec = spec_of(ds, names, periodic=grid.periodic if isinstance(grid, CartesianGrid) else None)
    if grid is not None:
        grid.check_same(spec.grid, "physics_residual: data")
    u = spec.split(to_tensor(ds, spec, dtype=torch.float64))
    if isinstance(operators, Spectral):
        for name in names:
            check_seam(u[name], spec.grid, f"physics_residual: {name}")
    _check_courant(pde, u, spec)
    stamps = as_times(ds["time"].values) if "time" in ds.coords else np.arange(ds.sizes["time"]) * spec.dt
    seconds = (stamps - stamps[0]) / np.timedelta64(1, "s") if is_calendar(stamps) else stamps
    found = window_residual(pde, u, _timed(operators, spec), times=torch.from_numpy(np.asarray(seconds, dtype=np.float64)))
    units = tuple(f"{dict(zip(spec.names, spec.units, strict=True)).get(n, '1')} / {spec.time_unit}" for n in found)
    out = FieldSpec(tuple(found), units, spec.grid, spec.dt, time_unit=spec.time_unit)
    rows = [d for d in ROWS if any(d in ds[n].dims for n in names)]
    x = torch.stack([found[n] for n in out.names], dim=1)
    x = x.reshape(*(ds.sizes[d] for d in rows), *x.shape[1:])
    coords: dict[str, Any] = {d: ds[d].variable for d in rows if d in ds.coords}
    return to_dataset(x, out, stamps, batch=tuple(rows), coords=coords, attrs={"title": f"residual of {type(pde).__name__}"})


def _timed(operators: Operators, spec: FieldSpec) -> Operators:
    """The operators with the data's time step."""
    own = getattr(operators, "_time", None)
    if not isinstance(own, TimeDifference):
        return operators
    if own.dt is None:
        timed = copy.copy(operators)
        timed._time = TimeDifference(spec.dt, own.backend)  # type: ignore[attr-defined]
        return timed
    if abs(own.dt - spec.dt) > 1e-6 * spec.dt:
        raise InputError(f"physics_residual: expected operators with the data's time step {spec.dt:g}, got {own.dt:g}; build them without dt")
    return operators


def _check_courant(pde: PDE, u: Fields, spec: FieldSpec) -> None:
    """Refuse frames between which the wind of the data crosses several cells nearly anywhere."""
    winds = pde.velocity if isinstance(pde, AdvectionDiffusion) else ()
    if not winds or not all(isinstance(v, str) and v in u for v in winds):
        return
    cells = courant_number(spec.grid, tuple(u[str(v)] for v in winds), spec.dt)
    # the rows next to a pole are short and hold little area: a mean by area does not see them
    typical = float(space_mean(cells.square(), spec.grid).mean().sqrt())
    if typical > _MOST_CELLS:
        raise InputError(
            f"physics_residual: expected a wind that crosses less than {_MOST_CELLS:g} cells between frames, got {typical:.3g} (root mean square); "
            "differences of such frames are no time derivative: use trajectory_residual, which follows the air, or frames closer in time"
        )
