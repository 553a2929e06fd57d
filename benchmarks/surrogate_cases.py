"""Data sets of the comparison of surrogates: what is learnt from, what is forecast, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from physdiff.data.open import open_dataset
from physdiff.training.recipe import Recipe

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """One task.

    Args:
        name: Of the case.
        unit: Of the scores.
        train: What models and baselines learn from.
        test: What is forecast, from every start whose longest lead it holds.
        leads: Steps ahead that are shown, the last one being the lead time of the forecasts.
        recipe: Of the diffusion models, without the choice of their coefficients.
        held_out: Share of the training part's end that only tells when to stop; 0: train to the budget.
        roll: Periodic axes along which training windows are shifted.
        lr: Peak learning rate.
        batch: Windows in a training step.
        zonal: Whether spectra are taken along circles of latitude.
    """

    name: str
    unit: str
    train: xr.Dataset
    test: xr.Dataset
    leads: tuple[int, ...]
    recipe: Recipe
    held_out: float = 0.0
    roll: tuple[str, ...] = ()
    lr: float = 1e-3
    batch: int = 16
    zonal: bool = False

    @property
    def starts(self) -> np.ndarray:
        """Times of the last known frames: all with two known frames (the models' history) and the longest lead in the test part."""
        times: np.ndarray = self.test["time"].values
        return times[self.recipe.history - 1 : times.size - self.leads[-1]]


def _pressure(data: Path) -> Case:
    ds = open_dataset(data / "reanalysis" / "era5_msl_global_2p5deg_6h_2025-12_2026-01.nc", variables=["msl"]).load()
    recipe = Recipe(history=2, horizon=12, guess="zonal", steps=10)
    parts = ds.sel(time=slice(None, "2025-12-31")), ds.sel(time=slice("2026-01-01", None))
    return Case("msl", "Pa", *parts, (1, 4, 12), recipe, roll=("longitude",), batch=8, zonal=True)


def _temperature(data: Path) -> Case:
    ds = open_dataset(data / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc", variables=["t2m"]).load()
    recipe = Recipe(history=2, horizon=12, guess="linear", steps=12)
    return Case("t2m", "K", ds.isel(time=slice(0, 360)), ds.isel(time=slice(360, None)), (1, 3, 6, 12), recipe)


def _wake(data: Path) -> Case:
    raw = xr.open_dataset(data / "cfd" / "cylinder_re100_traj_t60_140_128x64.nc")
    ds = open_dataset(data / "cfd" / "cylinder_re100_traj_t60_140_128x64.nc", variables=["u", "v"]).load()
    fluid = raw["mask_fluid"].transpose("y", "x").values > 0
    ds = ds.where(xr.DataArray(fluid, dims=("y", "x"), coords={"y": raw["y"].values, "x": raw["x"].values}))
    train, test = ds.sel(time=slice(60, 110)), ds.sel(time=slice(115, 140))
    return Case("wake", "1", train, test, (1, 4), Recipe(history=2, horizon=4, guess="auto", steps=12))


CASES: dict[str, Callable[[Path], Case]] = {"msl": _pressure, "t2m": _temperature, "wake": _wake}
