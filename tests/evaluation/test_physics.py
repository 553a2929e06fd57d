"""The residual of a law on data that obey it, and on data that do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError, GridMismatch, InputError
from physdiff.data.convert import to_dataset
from physdiff.evaluation.physics import physics_residual
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion

GRID = CartesianGrid((8, 12), extent=(1.0, 1.5), origin=(0.0, -1.0), periodic=True)
SPEED, DIFFUSIVITY, DT = (0.3, -0.2), 0.01, 0.02


def waves(frames: int = 9, speed: tuple[float, float] = SPEED) -> xr.Dataset:
    """A damped travelling wave, two samples of different phase."""
    x, y = GRID.coordinates()
    kx, ky = 2 * math.pi / 1.5, 4 * math.pi
    t = DT * torch.arange(frames, dtype=torch.float64).reshape(-1, 1, 1)
    phase = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    u = torch.exp(-DIFFUSIVITY * (kx**2 + ky**2) * t) * torch.sin(kx * (x - speed[0] * t) + ky * (y - speed[1] * t) + phase)
    spec = FieldSpec(("c",), ("kg",), GRID, DT, time_unit="s")
    return to_dataset(u[:, None], spec, t.flatten(), batch="sample")


def test_a_solution_has_no_residual():
    law, ds = AdvectionDiffusion(velocity=SPEED, diffusivity=DIFFUSIVITY), waves()
    found = physics_residual(ds, law, Spectral(GRID))
    assert found["c"].dims == ("sample", "time", "y", "x") and found["c"].attrs["units"] == "kg / s"
    # fourth-order differences in time: h^4 w^5 / 5 with w = |k . v| + 1.7 about 5.5, amplitude 1, one-sided at the ends
    assert float(np.abs(found["c"]).max()) < DT**4 * 5.5**5
    assert float(np.abs(found["c"]).max()) < 1e-3 * float(np.abs(ds["c"].differentiate("time")).max())
    assert (found["time"].values == ds["time"].values).all() and (found["y"].values == ds["y"].values).all()


def test_another_velocity_leaves_what_it_should():
    other = (0.5, 0.1)
    law, ds = AdvectionDiffusion(velocity=other, diffusivity=DIFFUSIVITY), waves()
    found = physics_residual(ds, law, Spectral(GRID))["c"].isel(time=slice(2, -2)).values
    c = torch.from_numpy(ds["c"].values)
    gx, gy = Spectral(GRID).grad(c)
    expected = ((other[0] - SPEED[0]) * gx + (other[1] - SPEED[1]) * gy).numpy()[:, 2:-2]
    np.testing.assert_allclose(found, expected, atol=DT**4 * 5.5**5)


def test_the_time_step_is_that_of_the_data():
    law, ds = AdvectionDiffusion(velocity=SPEED, diffusivity=DIFFUSIVITY), waves()
    # the step found from the times differs by rounding
    np.testing.assert_allclose(physics_residual(ds, law, Spectral(GRID, dt=DT))["c"], physics_residual(ds, law, Spectral(GRID))["c"], atol=1e-9)
    with pytest.raises(InputError, match="time step 0.02"):
        physics_residual(ds, law, Spectral(GRID, dt=0.04))


def test_calendar_times_count_in_seconds():
    law, ds = AdvectionDiffusion(velocity=SPEED, diffusivity=DIFFUSIVITY), waves()
    stamps = np.datetime64("2020-01-01", "ns") + (ds["time"].values * 1e9).round().astype("int64").astype("timedelta64[ns]")
    found = physics_residual(ds.assign_coords(time=stamps), law, Spectral(GRID))
    np.testing.assert_allclose(found["c"].values, physics_residual(ds, law, Spectral(GRID))["c"].values, atol=1e-9)


def test_what_does_not_fit_is_refused():
    law, ds = AdvectionDiffusion(velocity=SPEED, diffusivity=DIFFUSIVITY), waves()
    with pytest.raises(DataError, match="missing c"):
        physics_residual(ds.rename(c="d"), law, Spectral(GRID))
    with pytest.raises(GridMismatch):
        physics_residual(ds, law, Spectral(CartesianGrid((8, 12), extent=(1.0, 2.0), periodic=True)))


def test_a_wind_that_crosses_cells_between_frames_is_refused():
    law, ds = AdvectionDiffusion(velocity=("u", "v"), diffusivity=0.0), waves()
    for name, speed in zip("uv", (0.3, -0.2), strict=True):
        ds[name] = (ds["c"] * 0 + speed).assign_attrs(units="m s-1")
    assert "c" in physics_residual(ds, law, Spectral(GRID))
    # 0.02 s at 30 m/s is 4.8 cells of 1/8 m
    ds["u"] = (ds["u"] * 0 + 30.0).assign_attrs(units="m s-1")
    with pytest.raises(InputError, match="crosses less than 2 cells.*trajectory_residual"):
        physics_residual(ds, law, Spectral(GRID))


def test_data_that_is_not_periodic_is_refused_where_derivatives_are_spectral():
    law, ds = AdvectionDiffusion(velocity=SPEED, diffusivity=DIFFUSIVITY), waves()
    # the second sample alone has a trend along x, as in a region cut out of a larger one
    tilted = ds.copy(deep=True)
    tilted["c"][1] += 40 * ds["x"]
    with pytest.raises(InputError, match=r"physics_residual: c: expected a field that is periodic along x.*sample 1"):
        physics_residual(tilted, law, Spectral(GRID))
    assert "c" in physics_residual(tilted, law, FiniteDifference(GRID))


def test_a_forecast_is_refused_with_the_line_that_takes_one_start():
    law, ds = AdvectionDiffusion(velocity=SPEED, diffusivity=DIFFUSIVITY), waves()
    fc = ds.rename(time="lead_time").expand_dims(init_time=[0.0])
    with pytest.raises(DataError, match=r"take one start of it: fc.isel\(init_time=0, drop=True\)"):
        physics_residual(fc, law, Spectral(GRID))
    one = physics_residual(fc.isel(init_time=0, drop=True).rename(lead_time="time"), law, Spectral(GRID))
    np.testing.assert_allclose(one["c"], physics_residual(ds, law, Spectral(GRID))["c"])
