"""Small files of every layout the loaders meet, and the data behind them."""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr

HOUR = np.timedelta64(1, "h")
START = np.datetime64("2020-01-01T00", "ns")


def smooth(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers of order one, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def earth(frames: int = 12, *, ny: int = 4, nx: int = 6, hours: np.ndarray | None = None, **fields: np.ndarray) -> xr.Dataset:
    """A regional data set (time, latitude, longitude), north first; `t2m` in K unless fields are given."""
    times = START + (np.arange(frames) if hours is None else hours) * HOUR
    if not fields:
        fields = {"t2m": 280 + smooth(times.size, ny, nx)}
    return xr.Dataset(
        {n: (("time", "latitude", "longitude"), v, {"units": "K"}) for n, v in fields.items()},
        coords={
            "time": times,
            "latitude": ("latitude", np.linspace(50, 40, ny), {"units": "degrees_north"}),
            "longitude": ("longitude", np.arange(nx) * 2.5, {"units": "degrees_east"}),
        },
    )


def box(frames: int = 8, *, ny: int = 4, nx: int = 6, samples: int = 3) -> xr.Dataset:
    """Samples of two fields on a Cartesian grid (sample, time, y, x), plain numbers as times."""
    dims = ("sample", "time", "y", "x")
    return xr.Dataset(
        {n: (dims, smooth(samples, frames, ny, nx, seed=k), {"units": "1"}) for k, n in enumerate(("u", "v"))},
        coords={
            "time": ("time", np.arange(frames) * 0.5, {"units": "1"}),
            "y": np.arange(ny) * 0.25,
            "x": np.arange(nx) * 0.5,
        },
    )


def save(ds: xr.Dataset, path: Path, **keywords: object) -> Path:
    """Write with xarray itself, not with the code under test."""
    ds.to_netcdf(path, engine="netcdf4", **keywords)
    return path


def packed(path: Path, values: np.ndarray, *, step: float, offset: float, hole: tuple[int, ...] | None = None) -> Path:
    """Old CDS layout in the 64-bit classic format, int16 with scale, offset and fill value."""
    frames, ny, nx = values.shape
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        # declared in another order than used, as in the files of the old service
        for name, n in (("longitude", nx), ("latitude", ny), ("time", frames)):
            file.createDimension(name, n)
        for name, kind, points, units in (
            ("longitude", "f4", np.arange(nx) * 0.25, "degrees_east"),
            ("latitude", "f4", 50 - np.arange(ny) * 0.25, "degrees_north"),
            ("time", "i4", np.arange(frames) + 1_051_896, "hours since 1900-01-01 00:00:00.0"),
        ):
            variable = file.createVariable(name, kind, (name,))
            variable.units = units
            variable[:] = points
        file["time"].calendar = "gregorian"
        field = file.createVariable("t2m", "i2", ("time", "latitude", "longitude"), fill_value=-32767)
        field.set_auto_maskandscale(False)
        field.scale_factor, field.add_offset, field.missing_value, field.units = step, offset, np.int16(-32767), "K"
        counts = np.round((values - offset) / step).astype("i2")
        if hole is not None:
            counts[hole] = -32767
        field[:] = counts
    return path
