"""On a linear system the linear inverse model is the best forecast."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.linear_inverse import linear_inverse, zonal_regression
from physdiff.evaluation.persistence import persistence
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.scores.pointwise import ensemble_rmse
from physdiff.scores.spread_skill import spread_skill
from tests.evaluation.processes import hours, latlon_spec, simulations

ANGLE, DECAY = 0.35, 0.93


def rotating(frames: int) -> tuple[xr.Dataset, np.ndarray, np.ndarray]:
    """Two patterns that turn into one another, driven by noise; the data, the amplitudes and the matrix of a step."""
    step = DECAY * np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
    noise = Rng(0).normal((frames, 2), like=torch.zeros((), dtype=torch.float64)).numpy() * np.sqrt(1 - DECAY**2)
    a = [noise[0] / np.sqrt(1 - DECAY**2)]
    for k in range(1, frames):
        a.append(step @ a[-1] + noise[k])
    x = 280.0 + torch.einsum("tp,pyx->tyx", torch.tensor(np.array(a)), patterns())
    return to_dataset(x[None], latlon_spec(), hours(frames)), np.array(a), step


def patterns() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, 6, dtype=torch.float64), torch.linspace(0, 1, 9, dtype=torch.float64), indexing="ij")
    return torch.stack([torch.sin(3 * x + y), torch.cos(2 * x - 4 * y)])


def test_it_recovers_the_optimal_forecast_of_a_linear_system():
    frames, lead = 24 * 200, 6
    ds, a, step = rotating(frames)
    train, test = ds.isel(time=slice(0, frames - 240)), ds.isel(time=slice(frames - 240, None))
    fc = linear_inverse(train, test, lead=lead, members=100, rng=Rng(1), rank=2)
    inside = np.arange(frames - 239, frames - lead)
    for k in (1, 3, 6):
        best = a[inside] @ np.linalg.matrix_power(step, k).T
        truth = a[inside + k]
        guess = fc["t2m"].isel(lead_time=k - 1).mean("member").values[: len(inside)] - 280.0
        mine = np.einsum("tyx,pyx->tp", guess, np.linalg.pinv(patterns().reshape(2, -1).numpy()).T.reshape(2, 6, 9))
        # estimated: hour means from 190 days (1/190 of the variance, 1/60 of the error at k = 1), a mean over 100 members (1/100 of the error)
        # and eight coefficients from 4560 frames (below 1/500): together at most 3 % of the smallest possible error
        assert np.mean((mine - best) ** 2) < 0.03 * np.mean((best - truth) ** 2)
    ratio = evaluate(fc, test, {"ssr": spread_skill})["ssr"].values
    assert np.abs(ratio - 1).max() < 0.15  # 234 starts correlated over about 14 frames: a spread of 1/sqrt(2 * 2 * 17) = 0.12 at most


def test_the_members_are_coherent_trajectories():
    ds, _, _ = rotating(24 * 12)
    fc = linear_inverse(ds, ds, ds["time"].values[[50]], lead=5, members=40, rng=Rng(0), rank=2)
    departure = fc["t2m"].values[0] - fc["t2m"].values[0].mean(0)
    near = np.mean(departure[:, 3] * departure[:, 4]) / np.sqrt(np.mean(departure[:, 3] ** 2) * np.mean(departure[:, 4] ** 2))
    assert near > 0.6  # residuals drawn lead by lead would leave 0 +- 1/sqrt(40)


def test_the_draw_of_a_start_does_not_depend_on_the_others():
    ds, train = simulations(2, 12), simulations(6, 12, seed=2)
    every = linear_inverse(train, ds, lead=2, members=3, rng=Rng(3), rank=4)
    one = linear_inverse(train, ds.isel(sample=[1]), ds["time"].values[[7]], lead=2, members=3, rng=Rng(3), rank=4)
    assert every["c"].shape == (2, 11, 3, 2, 5, 8)
    np.testing.assert_allclose(one["d"].values[0, 0], every["d"].values[1, 6], atol=1e-6)


def test_points_without_values_stay_without():
    ds, _, _ = rotating(24 * 8)
    ds["t2m"][:, 2, 3] = np.nan
    fc = linear_inverse(ds, ds, lead=2, members=3, rng=Rng(0), rank=2)
    missing = np.isnan(fc["t2m"].values)
    assert missing[..., 2, 3].all() and missing.sum() == missing[..., 2, 3].size


def test_a_start_needs_two_known_frames():
    ds, _, _ = rotating(24 * 8)
    with pytest.raises(DataError, match="2 known frames"):
        linear_inverse(ds, ds, ds["time"].values[[0]], lead=2, members=3, rng=Rng(0))


def circles(frames: int) -> xr.Dataset:
    """A wave of zonal wavenumber 2 that travels 15 degrees an hour and is driven by noise."""
    grid = LatLonGrid(latitude=torch.linspace(60.0, 20.0, 5), longitude=torch.arange(12) * 30.0)
    spec = FieldSpec(("msl",), ("Pa",), grid, 3600.0)
    turn, noise = 0.95 * np.exp(-2j * np.pi * 2 * 15 / 360), Rng(1).normal((2, frames), like=torch.zeros((), dtype=torch.float64)).numpy()
    a = [0j]
    for k in range(1, frames):
        a.append(turn * a[-1] + complex(noise[0, k], noise[1, k]))
    x = np.real(np.array(a)[:, None, None] * np.exp(2j * np.deg2rad(grid.longitude.numpy()))) * np.ones((1, 5, 1))
    return to_dataset(1000.0 + torch.from_numpy(x)[None], spec, hours(frames))


def test_a_travelling_wave_is_forecast_and_its_spread_is_right():
    ds = circles(24 * 20)
    train, test = ds.isel(time=slice(0, 24 * 15)), ds.isel(time=slice(24 * 15, None))
    fc = zonal_regression(train, test, lead=4, members=20, rng=Rng(0))
    table = evaluate(fc, test, {"rmse": ensemble_rmse, "ssr": spread_skill})
    # noise of variance 1 each part enters the field with variance 1 per step: sqrt(1 + 0.95^2 + ...); 116 starts, errors correlated over
    # 4 frames: 1/sqrt(4 * 116 / 4) = 0.1; hour means of 15 days, 20 members
    best = np.sqrt(np.cumsum(0.95 ** (2 * np.arange(4))))
    assert np.abs(table["rmse"].values[0] / best - 1).max() < 0.2 and np.abs(table["ssr"].values[0] - 1).max() < 0.2
    persistence_error = evaluate(persistence(test, fc["init_time"].values, 4), test, {"rmse": ensemble_rmse})["rmse"].values[0]
    assert persistence_error[3] > 1.5 * table["rmse"].values[0, 3]


def test_the_zonal_regression_needs_whole_circles_without_gaps():
    ds, _, _ = rotating(24 * 5)
    with pytest.raises(DataError, match="longitude, which is not"):
        zonal_regression(ds, ds, lead=2, members=2, rng=Rng(0))
    gaps = circles(100)
    gaps = gaps.where(gaps["longitude"] > 10)
    with pytest.raises(DataError, match="missing values in msl"):
        zonal_regression(gaps, gaps, lead=2, members=2, rng=Rng(0))
