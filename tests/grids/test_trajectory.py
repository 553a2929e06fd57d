from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.grids.trajectory import courant_number, departure_points, gridded_wind


def globe(n, radius=1.0):
    return LatLonGrid(torch.linspace(90, -90, n + 1, dtype=torch.float64), torch.arange(2 * n, dtype=torch.float64) * (180.0 / n), radius)


def rotation(tilt):
    """Angular velocity one about an axis tilted from the poles."""

    def wind(lon, lat):
        return torch.cos(lat) * math.cos(tilt) + torch.sin(lat) * torch.cos(lon) * math.sin(tilt), -torch.sin(lon) * math.sin(tilt)

    return wind


def turned(lon, lat, angle, tilt):
    """Unit vectors of the points, turned about the tilted axis."""
    r = torch.stack([torch.cos(lat) * torch.cos(lon), torch.cos(lat) * torch.sin(lon), torch.sin(lat)])
    k = torch.tensor([-math.sin(tilt), 0.0, math.cos(tilt)], dtype=lon.dtype).reshape(3, *[1] * lon.ndim).expand_as(r)
    along = (k * r).sum(0)
    return r * math.cos(angle) + torch.cross(k, r, dim=0) * math.sin(angle) + k * along * (1 - math.cos(angle))


def miss(grid, dt, tilt, wind):
    lon, lat = departure_points(grid, wind, dt, like=torch.zeros(1, dtype=torch.float64), iterations=4)
    got = torch.stack([torch.cos(lat) * torch.cos(lon), torch.cos(lat) * torch.sin(lon), torch.sin(lat)])[:, 0]
    return float((got - turned(*grid.coordinates(), -dt, tilt)).norm(dim=0).max())


def test_departure_points_of_a_rotating_sphere_are_of_third_order_per_step():
    grid, tilt = globe(16), 0.6
    errors = [miss(grid, dt, tilt, rotation(tilt)) for dt in (0.2, 0.1)]
    assert abs(math.log2(errors[0] / errors[1]) - 3) < 0.25, errors
    # a mirrored axis or a wrong sign of v would miss by the whole way
    assert errors[1] < 1e-3 * 0.1


def test_on_the_equator_of_the_rotation_they_are_exact():
    grid = LatLonGrid([1.0, 0.0, -1.0], torch.arange(12, dtype=torch.float64) * 30, 2.0)
    like = torch.zeros(1, dtype=torch.float64)
    lon, lat = departure_points(grid, lambda lon, lat: (torch.full_like(lon, 0.6), torch.zeros_like(lon)), 1.5, like=like, iterations=8)
    gone = torch.remainder(grid.coordinates()[0][1] - lon[0, 1] + 0.1, 2 * math.pi) - 0.1
    torch.testing.assert_close(gone, torch.full_like(gone, 0.6 * 1.5 / 2.0), rtol=1e-12, atol=0)
    assert float(lat[0, 1].abs().max()) < 1e-12


def test_gridded_wind_is_the_wind_across_the_poles():
    tilt = 0.6

    def error(n):
        grid = globe(n)
        u, v = rotation(tilt)(*grid.coordinates())
        return miss(grid, 0.1, tilt, gridded_wind(grid, (u[None], v[None]), cubic=True))

    # what is left is the step's own error
    assert error(32) == pytest.approx(miss(globe(32), 0.1, tilt, rotation(tilt)), rel=0.02)


def test_plane_uniform_wind_is_exact_and_a_shear_is_of_third_order():
    grid = CartesianGrid((6, 9), extent=(2.0, 3.0), periodic=True)
    like = torch.zeros(1, dtype=torch.float64)
    x, y = grid.coordinates()
    back = departure_points(grid, lambda x, y: (torch.full_like(x, 7.0), torch.full_like(x, -3.0)), 2.0, like=like)
    torch.testing.assert_close(back[0][0], x - 14.0)
    torch.testing.assert_close(back[1][0], y + 6.0)

    def spiral(dt):
        # dx/dt = -y, dy/dt = x + 1: a turn about (-1, 0)
        there = departure_points(grid, lambda x, y: (-y, x + 1), dt, like=like, iterations=5)
        c, s = math.cos(dt), math.sin(dt)
        return max(float((there[0][0] - ((x + 1) * c + y * s - 1)).abs().max()), float((there[1][0] - (y * c - (x + 1) * s)).abs().max()))

    assert abs(math.log2(spiral(0.2) / spiral(0.1)) - 3) < 0.25


def test_courant_number_of_the_method_card():
    # methods card section 0: 60 m/s cross 7.8 cells of 1.5 degrees at the equator in 6 h, and as many of 0.25 degrees in 1 h
    for step, hours in ((1.5, 6), (0.25, 1)):
        grid = LatLonGrid([step, 0.0, -step], torch.arange(4, dtype=torch.float64) * step)
        u = torch.full(grid.shape, 60.0, dtype=torch.float64)
        assert float(courant_number(grid, (u, 0 * u), hours * 3600.0)[1, 0]) == pytest.approx(7.8, abs=0.05)
        assert float(courant_number(grid, (0 * u, -u), hours * 3600.0)[0, 0]) == pytest.approx(7.8, abs=0.05)
    plane = CartesianGrid((10, 5), extent=(1.0, 2.0))
    one = torch.ones(10, 5)
    assert float(courant_number(plane, (one, 3 * one), 0.5)[0, 0]) == pytest.approx(0.5 / 0.4 + 1.5 / 0.1)
    assert bool(courant_number(globe(8), (torch.ones(9, 16), torch.ones(9, 16)), 1.0).isfinite().all())


def test_a_way_around_the_sphere_is_refused():
    with pytest.raises(InputError, match="units of the wind"):
        departure_points(globe(8), rotation(0.1), 1.5, like=torch.zeros(1, dtype=torch.float64))


def test_gradients_flow_to_the_wind_also_at_the_poles():
    grid = globe(4)
    generator = torch.Generator().manual_seed(0)
    u, v = ((0.1 * torch.randn(1, *grid.shape, generator=generator, dtype=torch.float64)).requires_grad_() for _ in range(2))

    def where(u, v):
        lon, lat = departure_points(grid, gridded_wind(grid, (u, v), cubic=True), 0.5, like=u)
        return torch.cos(lon) * torch.cos(lat), torch.sin(lat)

    assert torch.autograd.gradcheck(where, (u, v), fast_mode=True)
    still = departure_points(grid, gridded_wind(grid, (0 * u, 0 * v)), 0.5, like=u)
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(sum(s.sum() for s in still), (u, v)))
