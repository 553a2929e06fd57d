from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.grids.trajectory import courant_number
from physdiff.operators.sphere import Sphere
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.along_trajectories import trajectory_residual
from physdiff.pdes.residual import window_residual

TILT = 0.6


def turning_sphere(n, dt, frames=4):
    """A smooth tracer carried exactly by a tilted solid-body rotation of one radian per unit of time."""
    grid = LatLonGrid(torch.linspace(90, -90, n + 1, dtype=torch.float64), torch.arange(2 * n, dtype=torch.float64) * (180.0 / n), 1.0)
    lon, lat = grid.coordinates()
    r = torch.stack([torch.cos(lat) * torch.cos(lon), torch.cos(lat) * torch.sin(lon), torch.sin(lat)])
    k = torch.tensor([-math.sin(TILT), 0.0, math.cos(TILT)], dtype=lon.dtype).reshape(3, 1, 1).expand_as(r)
    along = (k * r).sum(0)
    q = []
    for i in range(frames):
        a = -i * dt
        x, y, z = r * math.cos(a) + torch.cross(k, r, dim=0) * math.sin(a) + k * along * (1 - math.cos(a))
        q.append(torch.exp(x + 0.5 * y) * (1 + 0.4 * z))
    u = torch.cos(lat) * math.cos(TILT) + torch.sin(lat) * torch.cos(lon) * math.sin(TILT)
    v = -torch.sin(lon) * math.sin(TILT)
    wind = tuple(w.expand(1, frames, *grid.shape) for w in (u, v))
    return grid, torch.stack(q)[None], wind


def rms(r, grid):
    return math.sqrt(float((r.square().flatten(0, -3).mean(0) * grid.weights()).sum()))


def test_what_is_carried_exactly_has_no_residual_where_the_eulerian_one_fails():
    n = 48
    dt = 8 * math.pi / n  # eight cells per frame at the equator of the rotation
    grid, q, wind = turning_sphere(n, dt)
    equator = wind[0][0, 0, n // 2].abs().max()
    assert float(courant_number(grid, tuple(w[0, 0] for w in wind), dt)[n // 2].max()) > 8 * float(equator)
    change = rms((q[:, 1:] - q[:, :-1]) / dt, grid)
    left = rms(trajectory_residual(q, wind, grid, dt=dt, iterations=6), grid)
    law = AdvectionDiffusion(0.0, ("u", "v"))
    eulerian = window_residual(law, {"c": q, "u": wind[0], "v": wind[1]}, Sphere(grid, dt=dt))["c"]
    assert left < 0.03 * change and rms(eulerian, grid) > 3 * left
    wrong = rms(trajectory_residual(q, (wind[0], -wind[1]), grid, dt=dt), grid)
    assert wrong > 0.4 * change


def test_order_in_the_step():
    # interpolation at 96 rows is beyond notice
    left = [rms(trajectory_residual(*_case(96, dt), dt=dt, iterations=6), _case(96, dt)[2]) for dt in (0.4, 0.2)]
    assert abs(math.log2(left[0] / left[1]) - 2) < 0.25, left


def _case(n, dt):
    grid, q, wind = turning_sphere(n, dt, frames=2)
    return q, wind, grid


def test_sources_are_what_is_left_on_the_plane():
    grid = CartesianGrid((24, 32), extent=(3.0, 4.0), periodic=True)
    x, y = grid.coordinates()
    dt, rate = 1.7, torch.tensor([0.3, -0.2], dtype=torch.float64).reshape(2, 1, 1, 1)
    t = dt * torch.arange(3, dtype=torch.float64).reshape(1, 3, 1, 1)
    speed = (2.0, -1.1)
    q = torch.sin(math.pi / 2 * (x - speed[0] * t)) * torch.cos(2 * math.pi / 3 * (y - speed[1] * t)) + rate * t
    wind = tuple(torch.full_like(q, s) for s in speed)
    left = trajectory_residual(q, wind, grid, dt=dt)
    assert left.shape == (2, 2, 24, 32)
    # cubic interpolation, 3 h^4 k^4 / 128 per axis over the step: 2 * 0.023 * 0.004 / 1.7
    assert float((left - rate).abs().max()) < 2e-4


def test_air_from_outside_is_unknown_and_gradients_flow():
    grid = CartesianGrid((6, 8), extent=(6.0, 8.0), periodic=False)
    q = torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wind = (torch.full_like(q, 2.0), torch.zeros_like(q))
    left = trajectory_residual(q, wind, grid, dt=1.0)
    # the walls stand half a cell before the first point: only two columns came from beyond
    assert bool(left[..., :2].isnan().all()) and bool(left[..., 2:].isfinite().all())
    periodic = CartesianGrid((6, 8), extent=(6.0, 8.0))
    small = tuple((0.3 * w + 0.1).requires_grad_() for w in wind)
    assert torch.autograd.gradcheck(lambda q, u, v: trajectory_residual(q, (u, v), periodic, dt=1.0), (q.requires_grad_(), *small), fast_mode=True)


def test_refusals():
    grid = CartesianGrid((6, 8))
    q = torch.zeros(1, 2, 6, 8)
    with pytest.raises(ShapeError, match="two or more frames"):
        trajectory_residual(q[:, :1], (q, q), grid, dt=1.0)
    with pytest.raises(ShapeError, match="2 components"):
        trajectory_residual(q, (q,), grid, dt=1.0)
    with pytest.raises(InputError, match="dt > 0"):
        trajectory_residual(q, (q, q), grid, dt=0.0)
