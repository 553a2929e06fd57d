from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.interpolate import interpolation
from physdiff.grids.latlon import LatLonGrid
from physdiff.grids.resample import Resampling


def sphere(n, *, poles=True, south_first=False):
    latitude = torch.linspace(90, -90, n + 1, dtype=torch.float64) if poles else 90 - 180 / n * (torch.arange(n, dtype=torch.float64) + 0.5)
    longitude = torch.arange(2 * n + 2, dtype=torch.float64) * (360.0 / (2 * n + 2)) - 180
    return LatLonGrid(latitude.flip(0) if south_first else latitude, longitude)


def scattered(n, ndim, low, high, seed=0):
    r = torch.rand(ndim, 1, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return tuple(lo + (hi - lo) * u for lo, hi, u in zip(low, high, r, strict=True))


@pytest.mark.parametrize(("cubic", "order"), [(False, 2), (True, 4)])
@pytest.mark.parametrize("periodic", [True, False])
def test_order_of_interpolation_on_the_plane(cubic, order, periodic):
    # points beyond the last cell centre of an open axis are held, so they are kept half a coarse cell away from the walls
    points = scattered(300, 2, (0.05, 1.1), (1.95, 3.9))

    def error(n):
        grid = CartesianGrid((n, 2 * n + 6), extent=(3.0, 2.0), origin=(1.0, 0.0), periodic=periodic)
        x, y = grid.coordinates()
        wave = lambda x, y: torch.sin(math.pi * x + 0.3) * torch.cos(2 * math.pi / 3 * y) + torch.sin(2 * math.pi * x)  # noqa: E731
        return float((Resampling(grid, points, cubic=cubic)(wave(x, y)[None]) - wave(*points)).abs().max())

    slope = math.log2(error(32) / error(64))
    assert abs(slope - order) < 0.25


@pytest.mark.parametrize(("cubic", "order"), [(False, 2), (True, 4)])
@pytest.mark.parametrize("kind", [{"poles": True}, {"poles": False}, {"poles": True, "south_first": True}])
def test_order_of_interpolation_on_the_sphere_is_kept_at_the_poles(cubic, order, kind):
    points = scattered(400, 2, (-9.0, -math.pi / 2), (9.0, math.pi / 2))
    near = (points[0], torch.sign(points[1]) * (math.pi / 2 - 0.05 * points[1].abs()))

    def error(n, where):
        grid = sphere(n, **kind)

        def field(lon, lat):
            return torch.cos(lat) ** 2 * torch.sin(2 * lon + 0.5) + torch.sin(lat) * torch.cos(lat) * torch.cos(lon)

        return float((Resampling(grid, where, cubic=cubic)(field(*grid.coordinates())[None]) - field(*where)).abs().max())

    for where in (points, near):
        errors = [error(n, where) for n in (24, 48)]
        assert math.log2(errors[0] / errors[1]) > order - 0.25, errors
        # h^4 / 40 and h^2 / 8 of second derivatives up to about 6
        assert errors[1] < (2e-5 if cubic else 8e-3)


def test_linear_agrees_with_the_interpolation_of_sensors():
    for grid in (sphere(12), CartesianGrid((5, 6, 7), extent=(1.0, 2.0, 3.0), periodic=(True, False, True)), CartesianGrid(9, periodic=False)):
        f = torch.randn(2, *grid.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        inner = [(float(c.min()), float(c.max())) for c in grid.coordinates()]
        points = scattered(50, grid.ndim, *zip(*inner, strict=True))
        degrees = torch.rad2deg if isinstance(grid, LatLonGrid) else (lambda c: c)
        fixed = interpolation(grid, torch.stack([degrees(p)[0] for p in points], 1))
        torch.testing.assert_close(Resampling(grid, points)(f), fixed(f), rtol=1e-9, atol=1e-9)


def test_bounds_hold_the_linear_value():
    grid = CartesianGrid((6, 8), periodic=True)
    f = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    there = Resampling(grid, scattered(100, 2, (-2.0, -2.0), (2.0, 2.0)))
    low, high = there.bounds(f)
    value = there(f)
    assert bool((low - 1e-12 <= value).all()) and bool((value <= high + 1e-12).all()) and float((high - low).min()) > 0


def test_points_outside_an_open_grid_are_known_and_held():
    grid = LatLonGrid([50.0, 49.0, 48.0, 47.0], [0.0, 1.0, 2.0, 3.0, 4.0])
    lon, lat = (torch.deg2rad(torch.tensor([[v]], dtype=torch.float64)) for v in (9.0, 48.0))
    there = Resampling(grid, (lon, lat))
    assert not bool(there.inside)
    assert float(there(torch.rad2deg(grid.coordinates()[0])[None])) == pytest.approx(4.0)
    assert bool(Resampling(grid, (torch.deg2rad(torch.tensor([[4.4]])), torch.deg2rad(torch.tensor([[46.6]])))).inside)


def test_gradients_flow_to_fields_and_points():
    for grid in (CartesianGrid((5, 6), periodic=True), sphere(4)):
        generator = torch.Generator().manual_seed(3)
        f = torch.randn(2, *grid.shape, generator=generator, dtype=torch.float64, requires_grad=True)
        x, y = ((0.1 + 0.3 * torch.rand(2, 4, generator=generator, dtype=torch.float64)).requires_grad_() for _ in range(2))
        assert torch.autograd.gradcheck(lambda f, x, y, g=grid: Resampling(g, (x, y), cubic=True)(f), (f, x, y), fast_mode=True)


def test_refusals():
    grid = CartesianGrid((5, 6), periodic=True)
    x = torch.zeros(1, 3)
    with pytest.raises(ShapeError, match="2 coordinates"):
        Resampling(grid, (x,))
    with pytest.raises(ShapeError, match="batch, 5, 6"):
        Resampling(grid, (x, x))(torch.zeros(6, 5))
    with pytest.raises(InputError, match="even number of longitudes"):
        Resampling(LatLonGrid([90.0, 0.0, -90.0], [0.0, 120.0, 240.0]), (x, x))
    with pytest.raises(InputError, match="at least 4 points along y"):
        Resampling(CartesianGrid((3, 6), periodic=False), (x, x), cubic=True)
