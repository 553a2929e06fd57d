"""Whether a new forecast is of the kind of the past ones it is corrected or calibrated by."""

from __future__ import annotations

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.data.cases import Cases
from physdiff.data.convert import grid_of
from physdiff.data.units import check_unit
from physdiff.grids.cartesian import CartesianGrid

__all__ = ["check_alike"]


def check_alike(forecast: xr.Dataset, pairs: Cases, what: str) -> None:
    """Compare variables, lead times, members, grid and units of a forecast with those of past pairs.

    Args:
        forecast: The new one.
        pairs: The past ones with their truth.
        what: Name of the function in messages.

    Raises:
        DataError: If a variable or a lead time is missing, or a unit differs.
        InputError: If the numbers of members differ.
        GridMismatch: If the grids differ.
    """
    missing = [n for n in pairs.names if n not in forecast]
    if missing:
        raise DataError(f"{what}: expected the pairs' variables {', '.join(pairs.names)} in the forecast, missing {', '.join(missing)}")
    if pairs.inner not in forecast.dims:
        raise DataError(f"{what}: expected a forecast along {pairs.inner}, as in the pairs, got {', '.join(map(str, forecast.dims))}")
    members = int(forecast.sizes.get("member", 1))
    if members != pairs.members:
        raise InputError(
            f"{what}: expected as many members as in the pairs, {pairs.members}, got {members}; quantiles of other numbers have another law"
        )
    periodic = pairs.grid.periodic if isinstance(pairs.grid, CartesianGrid) else None
    fields = forecast[list(pairs.names)].assign_attrs(forecast.attrs)
    pairs.grid.check_same(grid_of(fields, periodic=periodic), f"{what}: the new forecast")
    for name in pairs.names:
        past = str(pairs.forecast[name].attrs.get("units", "1"))
        check_unit(past, str(forecast[name].attrs.get("units", "1")), f"{what}: {name} of the past forecasts")
    known = set(np.asarray(pairs.forecast[pairs.inner].values).tolist())
    unknown = [v for v in np.asarray(forecast[pairs.inner].values) if v.tolist() not in known]
    if unknown:
        got = f"{unknown[0] / np.timedelta64(1, 'h'):g} h" if isinstance(unknown[0], np.timedelta64) else str(unknown[0])
        raise DataError(f"{what}: expected values of {pairs.inner} that the pairs have, got {got} besides; use the same ones for both")
