"""Synthetic data sets of which the best forecast is known."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid

HOUR = np.timedelta64(1, "h")
BEGIN = np.datetime64("2020-01-01T00", "ns")


def latlon_spec(rows: int = 6, columns: int = 9) -> FieldSpec:
    grid = LatLonGrid(latitude=torch.linspace(58.0, 50.0, rows), longitude=torch.linspace(-10.0, 2.0, columns))
    return FieldSpec(("t2m",), ("K",), grid, 3600.0)


def hours(n: int, begin: np.datetime64 = BEGIN) -> np.ndarray:
    return begin + np.arange(n) * HOUR


def ar1(frames: int, phi: float, *, spec: FieldSpec, seed: int = 0, samples: int = 1) -> torch.Tensor:
    """Stationary, independent in space, variance one: (samples, C, frames, *S)."""
    noise = Rng(seed).normal((frames, samples, len(spec.names), *spec.grid.shape), like=torch.zeros((), dtype=torch.float64))
    x = [noise[0]]
    for k in range(1, frames):
        x.append(phi * x[-1] + np.sqrt(1 - phi**2) * noise[k])
    return torch.stack(x).movedim(0, 2)


def daily_cycle(times: np.ndarray, spec: FieldSpec, size: float = 3.0) -> torch.Tensor:
    """A cycle of the day whose phase depends on the place, (1, C, T, *S)."""
    hour = torch.from_numpy((times - times.astype("datetime64[D]")) / HOUR)
    phase = torch.linspace(0.0, 2.0, int(np.prod(spec.grid.shape)), dtype=torch.float64).reshape(spec.grid.shape)
    angle = 2 * np.pi * hour.reshape(-1, *[1] * spec.grid.ndim) / 24 + phase
    return size * torch.sin(angle)[None, None]


def hourly(frames: int, phi: float = 0.9, *, spec: FieldSpec | None = None, seed: int = 0, cycle: float = 3.0) -> xr.Dataset:
    """280 K, a daily cycle and an AR(1) process in every cell."""
    spec = latlon_spec() if spec is None else spec
    times = hours(frames)
    x = 280.0 + ar1(frames, phi, spec=spec, seed=seed) + daily_cycle(times, spec, cycle)
    return to_dataset(x[0], spec, times)


def simulations(samples: int, frames: int, phi: float = 0.8, *, seed: int = 0) -> xr.Dataset:
    """Trajectories on a plane whose times are numbers."""
    grid = CartesianGrid((5, 8), extent=(1.0, 1.6), periodic=True)
    spec = FieldSpec(("c", "d"), ("1", "m"), grid, 0.25, time_unit="1")
    x = ar1(frames, phi, spec=spec, seed=seed, samples=samples)
    return to_dataset(x, spec, 2.0 + 0.25 * np.arange(frames), batch="sample", coords={"sample": np.arange(10, 10 + samples)})
