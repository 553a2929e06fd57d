"""Residuals of windows: exact solutions vanish at the rate of the time difference, wrong laws do not."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import ManufacturedFlow, plane_wave
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.pdes.residual import residual_scale, window_residual

GRID = CartesianGrid((24, 40), extent=(1.5, 2.0))
KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5
FLOW = ManufacturedFlow(0.01, 0.1, waves=((0.05, KX, 2 * KY, 1.3, 0.2), (0.08, 2 * KX, -KY, -0.7, 1.0)))


def window(dt, frames=9):
    x, y = GRID.coordinates()
    times = dt * torch.arange(frames, dtype=torch.float64)
    return times, {k: v[None] for k, v in FLOW.fields(x, y, times[:, None, None]).items()}


def test_residual_of_an_exact_flow_falls_with_the_fourth_power_of_the_frame_interval():
    law, sizes = NavierStokes(0.01, 0.1, forcing=FLOW), []
    for dt in (0.2, 0.1, 0.05):
        times, u = window(dt)
        ops = Spectral(GRID, dt=dt)
        left = window_residual(law, u, ops, times=times)
        sizes.append(float(left["vorticity"].square().mean().sqrt() / residual_scale(law, u, ops, times=times)["vorticity"]))
        assert float(left["streamfunction"].abs().max()) < 1e-10  # rounding times the square of the wave numbers
    orders = [math.log2(a / b) for a, b in zip(sizes, sizes[1:], strict=False)]
    assert all(abs(order - 4) < 0.25 for order in orders), (sizes, orders)
    assert sizes[-1] < 1e-4


def test_a_wrong_viscosity_leaves_its_share():
    times, u = window(0.01)
    ops = Spectral(GRID, dt=0.01)
    w = u["vorticity"]
    wrong = window_residual(NavierStokes(0.02, 0.1, forcing=FLOW), {"vorticity": w}, ops, times=times)["vorticity"]
    # what is left is the missing 0.01 lap w, up to the time difference (1e-6 here)
    torch.testing.assert_close(wrong, -0.01 * ops.lap(w), atol=1e-4, rtol=1e-4)


def test_without_times_a_law_that_needs_them_is_refused_and_another_is_not():
    _, u = window(0.1)
    ops = Spectral(GRID, dt=0.1)
    with pytest.raises(InputError, match="depends on time: expected `times`"):
        window_residual(NavierStokes(0.01, 0.1, forcing=FLOW), u, ops)
    assert bool(window_residual(NavierStokes(0.01, 0.1), u, ops)["vorticity"].isfinite().all())


def test_scale_is_the_largest_part():
    line = CartesianGrid(32, extent=2.0)
    times = 0.01 * torch.arange(7, dtype=torch.float64)
    law = AdvectionDiffusion(0.01, (1.0,))
    c = plane_wave(line.coordinates(), times[:, None], wave_vector=(math.pi,), diffusivity=0.01, velocity=(1.0,))[None]
    scale = residual_scale(law, {"c": c}, Spectral(line, dt=0.01))["c"]
    # |dc/dt| = |k - i kappa k^2| |c|, up to the time difference and the decay over the window (0.6 %)
    assert abs(float(scale) / (math.hypot(math.pi, 0.01 * math.pi**2) / math.sqrt(2)) - 1) < 0.01


def test_bad_windows_are_refused():
    _, u = window(0.1)
    ops = Spectral(GRID, dt=0.1)
    with pytest.raises(ShapeError, match="expected windows"):
        window_residual(NavierStokes(0.01), {"vorticity": u["vorticity"][0]}, ops)
    with pytest.raises(ShapeError, match="expected 9 times"):
        window_residual(NavierStokes(0.01), u, ops, times=torch.zeros(8))
    with pytest.raises(InputError, match="missing u"):
        window_residual(Burgers(0.01), u, ops)
