"""What `reanalysis_posterior.py` runs on: reanalysis fields of the shared data, and generated turbulence and shocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from physdiff.base.rng import Rng
from physdiff.data.generate import generate
from physdiff.data.open import open_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField

__all__ = ["CASES", "Case"]


@dataclass(frozen=True, eq=False)
class Case:
    """One kind of field.

    Args:
        name: Name of the case.
        train: Training part, (time, *space) or (sample, time, *space).
        test: Test frames, (time, *space).
        noise: Standard deviation of the readings' noise.
        unit: Unit of fields and noise.
        steps: Training steps.
        width: Of the network.
        dropout: Of the network.
        roll: Axes along which training frames are shifted.
    """

    name: str
    train: xr.Dataset
    test: xr.Dataset
    noise: float
    unit: str
    steps: int
    width: int = 32
    dropout: float = 0.2
    roll: list[str] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the fields."""
        return [str(n) for n in self.train.data_vars]


def t2m(data: Path, work: Path) -> Case:
    """Hourly 2 m temperature over the United Kingdom, 33 x 49 points: 15 days, then every fourth of 120 hours."""
    ds = open_dataset(data / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc", variables=["t2m"]).load()
    return Case("t2m", ds.isel(time=slice(0, 360)), ds.isel(time=slice(360, None, 4)), 0.3, "K", 150, width=16)


def msl(data: Path, work: Path) -> Case:
    """Six-hourly pressure over the North Atlantic and Europe, 25 x 49 points of 2.5 degrees: December, then every fifth time of January."""
    ds = open_dataset(data / "reanalysis" / "era5_msl_global_2p5deg_6h_2025-12_2026-01.nc", variables=["msl"]).load()
    ds = ds.assign_coords(longitude=(ds["longitude"] + 180) % 360 - 180).sortby("longitude")
    ds = ds.sel(latitude=slice(80, 20) if ds["latitude"][0] > ds["latitude"][-1] else slice(20, 80), longitude=slice(-80, 40))
    january = np.datetime64("2026-01-01")
    train, test = ds.sel(time=ds["time"] < january), ds.sel(time=ds["time"] >= january)
    return Case("msl", train, test.isel(time=slice(2, None, 5)), 100.0, "Pa", 100, width=16)


def wind(data: Path, work: Path) -> Case:
    """Six-hourly wind at 500 hPa over North America in a winter storm, two fields of 33 x 19 points: 8 days of January 1996, then 11 times of 3.

    The hourly wind of the other file is of one day only, whose hours all tell of the same weather.
    """
    names = ["u_500", "v_500"]
    ds = open_dataset(data / "reanalysis" / "northamerica_storm_6h_1996-01-05_15_missing.nc", variables=names).load()
    ds = ds.sel(longitude=slice(-120, -75))  # where no value is missing, but all of one test time
    return Case("wind", ds.isel(time=slice(0, 32)), ds.isel(time=[*range(32, 36), *range(37, 44)]), 1.0, "m s-1", 60, width=16)


def turbulence(data: Path, work: Path) -> Case:
    """Vorticity of the demo's flow, its waves below 16 on 32 x 32 points: 500 snapshots of 50 trajectories, then the last of each of 10 others."""
    path = work / "turbulence.nc"
    if not path.is_file():
        grid, law = CartesianGrid((64, 64), extent=2 * math.pi, length_unit="1"), NavierStokes(0.003, drag=0.1, forcing=KolmogorovForcing(2.0, 4.0))
        times = torch.arange(10, dtype=torch.float64)
        ds = generate(ETDRK4(law, Spectral(grid)), RandomField(length=0.4, std=1.0), times, samples=60, rng=Rng(101), spin_up=10.0, substeps=20)
        _low_pass(ds).to_netcdf(path)
    ds = open_dataset(path).load()
    train, test = ds.isel(sample=slice(0, 50)), ds.isel(sample=slice(50, None), time=-1)
    return Case("turbulence", train, _frames(test, "vorticity"), 0.3, "1", 250, width=16, dropout=0.0, roll=["x"])


def vortices(data: Path, work: Path) -> Case:
    """Vorticity of freely decaying turbulence once vortices have formed (kurtosis 6), 64 x 64 points: 2400 snapshots of 800 runs, 60 of others."""
    path = work / "vortices.nc"
    if not path.is_file():
        grid, times = CartesianGrid((64, 64), extent=2 * math.pi, length_unit="1"), torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64)
        solver, start = ETDRK4(NavierStokes(0.001), Spectral(grid)), RandomField(length=0.2, std=4.0)
        generate(solver, start, times, samples=860, rng=Rng(11), spin_up=8.0, substeps=80).to_netcdf(path)
    ds = open_dataset(path).load()
    train, test = ds.isel(sample=slice(0, 800)), ds.isel(sample=slice(800, None), time=1)
    return Case("vortices", train, _frames(test, "vorticity"), 0.1, "1", 1500, width=24, dropout=0.0, roll=["x", "y"])


def _low_pass(ds: xr.Dataset) -> xr.Dataset:
    """Every second point of the field without its waves from 16 on."""
    waves = np.fft.rfft2(ds["vorticity"].values)
    waves[..., np.abs(np.fft.fftfreq(64, 1 / 64)) >= 16, :] = 0
    waves[..., 16:] = 0
    low = ds.copy()
    low["vorticity"] = (ds["vorticity"].dims, np.fft.irfft2(waves).astype(np.float32), ds["vorticity"].attrs)
    return low.isel(x=slice(0, None, 2), y=slice(0, None, 2))


def shocks(data: Path, work: Path) -> Case:
    """Velocity of Burgers' law with steep fronts, 128 points of a ring: 1920 profiles, then 60 others."""
    path = work / "shocks.nc"
    if not path.is_file():
        grid, law = CartesianGrid((256,), extent=1.0, length_unit="1"), Burgers(viscosity=0.005)
        times = torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)
        ds = generate(ETDRK4(law, Spectral(grid)), {"u": RandomField(0.1)}, times, samples=700, rng=Rng(7), spin_up=0.2, substeps=100)
        ds.isel(x=slice(0, None, 2)).to_netcdf(path)
    ds = open_dataset(path).load()
    train, test = ds.isel(sample=slice(0, 640)), ds.isel(sample=slice(640, None), time=1)
    return Case("shocks", train, _frames(test, "u"), 0.05, "1", 400, width=16, dropout=0.0, roll=["x"])


def _frames(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Samples as frames of a series whose times are their numbers."""
    count = ds.sizes["sample"]
    renamed = ds[[name]].drop_vars([c for c in ("time", "sample") if c in ds.coords]).rename(sample="time")
    return renamed.assign_coords(time=("time", np.arange(count, dtype=np.float64)))


CASES: dict[str, Callable[[Path, Path], Case]] = {c.__name__: c for c in (t2m, msl, wind, turbulence, vortices, shocks)}
