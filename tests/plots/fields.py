"""Small fields with coordinates and units for the pictures."""

from __future__ import annotations

import numpy as np
import xarray as xr


def lat_lon_field(*lead: int, members: int | None = None, seed: int = 0) -> xr.DataArray:
    """Temperature on 5 x 7 points, latitude descending; dims (member?, lead_time?, latitude, longitude)."""
    shape = (*((members,) if members else ()), *lead, 5, 7)
    dims = (*(("member",) if members else ()), *(("lead_time",) if lead else ()), "latitude", "longitude")
    coords = {"latitude": np.linspace(58, 50, 5), "longitude": np.linspace(-10, 2, 7)}
    if lead:
        coords["lead_time"] = np.arange(1, lead[0] + 1) * np.timedelta64(3600, "s")
    values = 280 + np.random.default_rng(seed).normal(size=shape)
    return xr.DataArray(values, dims=dims, coords=coords, name="t2m", attrs={"units": "K", "long_name": "2 metre temperature"})


def by_lead(values: list[float], units: str = "K") -> xr.DataArray:
    lead = np.arange(1, len(values) + 1) * np.timedelta64(3600, "s")
    return xr.DataArray(values, dims="lead_time", coords={"lead_time": lead}, attrs={"units": units}, name="score")
