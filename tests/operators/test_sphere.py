from __future__ import annotations

import math

import pytest
import torch
import xarray as xr

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import EARTH_RADIUS, LatLonGrid
from physdiff.operators.sphere import Sphere
from tests.operators.fields import relative


def with_poles(n, radius=1.0):
    """North first, pole rows at both ends, as in ERA5; as many longitudes per row as steps, not twice as many."""
    longitude = torch.arange(3 * n // 2, dtype=torch.float64) * (240.0 / n)
    return LatLonGrid(torch.linspace(90, -90, n + 1, dtype=torch.float64), longitude, radius)


def without_poles(n, radius=1.0):
    """South first, rows half a step from the poles, longitudes from -180."""
    step = 180.0 / n
    latitude = -90 + step * (torch.arange(n, dtype=torch.float64) + 0.5)
    return LatLonGrid(latitude, -180 + torch.arange(3 * n // 2, dtype=torch.float64) * (240.0 / n), radius)


def gaussian(n, radius=1.0):
    """Rows at the zeros of a Legendre polynomial, as in spectral models, unevenly spaced."""
    k = torch.arange(1, n, dtype=torch.float64)
    beta = k / torch.sqrt(4 * k**2 - 1)
    sines = torch.linalg.eigvalsh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return LatLonGrid(torch.rad2deg(torch.asin(sines)), torch.arange(3 * n // 2, dtype=torch.float64) * (240.0 / n), radius)


def regional(n, radius=1.0):
    """North first, open on all sides."""
    latitude = torch.linspace(68, 21, n + 1, dtype=torch.float64)
    return LatLonGrid(latitude, torch.linspace(-12, 50, n + 7, dtype=torch.float64), radius)


GLOBAL = (with_poles, without_poles, gaussian)
KINDS = (*GLOBAL, regional)


def harmonic(grid, degree, order):
    """Real spherical harmonic of small degree without symmetry in longitude, with its gradient on the unit sphere."""
    longitude, latitude = grid.coordinates()
    s, c = torch.sin(latitude), torch.cos(latitude)
    table = {  # value, derivative in latitude, over cos(latitude)
        (1, 0): (s, c, s / c),
        (1, 1): (c, -s, torch.ones_like(c)),
        (2, 1): (s * c, c**2 - s**2, s),
        (2, 2): (c**2, -2 * s * c, c),
        (3, 1): (c * (5 * s**2 - 1), -s * (5 * s**2 - 1) + 10 * s * c**2, 5 * s**2 - 1),
        (4, 3): (s * c**3, c**4 - 3 * s**2 * c**2, s * c**2),
    }
    value, slope, over = table[degree, order]
    phase = order * longitude + 0.4
    return value * torch.cos(phase), (-order * over * torch.sin(phase), slope * torch.cos(phase))


HARMONICS = [(1, 0), (1, 1), (2, 1), (2, 2), (3, 1), (4, 3)]


def mean_square(error, grid):
    return math.sqrt(float((error**2 * grid.weights()).sum()))


def measured_order(error_of, grids):
    errors = [error_of(grid) for grid in grids]
    return math.log(errors[-2] / errors[-1]) / math.log(2), errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("degree", "order"), HARMONICS)
def test_laplacian_of_harmonics_is_of_second_order(kind, degree, order):
    def error(grid):
        y, _ = harmonic(grid, degree, order)
        difference = Sphere(grid).lap(y) + degree * (degree + 1) * y
        # rows next to a pole are of lower order but small, so closed spheres are judged by the area-weighted mean square
        return float(difference.abs().max()) if kind is regional else mean_square(difference, grid)

    slope, errors = measured_order(error, [kind(n) for n in (48, 96)])
    # wave two: the outermost Gaussian row lies off the middle of its band, an error of order one on an area of order h^2
    expected = 1 if kind is gaussian and order == 2 else 2
    assert abs(slope - expected) < 0.25, errors
    assert errors[-1] < 0.02 * degree * (degree + 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("degree", "order"), HARMONICS)
def test_gradient_of_harmonics_is_of_second_order_at_the_poles_too(kind, degree, order):
    def error(grid):
        y, (east, north) = harmonic(grid, degree, order)
        got = Sphere(grid).grad(y)
        return max(float((got[0] - east).abs().max()), float((got[1] - north).abs().max()))

    slope, errors = measured_order(error, [kind(n) for n in (48, 96)])
    assert slope > 1.75, errors


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_of_a_gradient_is_of_second_order(kind):
    def error(grid):
        y, gradient = harmonic(grid, 3, 1)
        return mean_square(Sphere(grid).div(gradient) + 12 * y, grid)

    slope, errors = measured_order(error, [kind(n) for n in (48, 96)])
    assert abs(slope - 2) < 0.25, errors


@pytest.mark.parametrize("kind", KINDS)
def test_tilted_solid_body_rotation_has_its_vorticity_and_no_divergence(kind):
    tilt = 0.4

    def flow(grid):
        longitude, latitude = grid.coordinates()
        s, c = torch.sin(latitude), torch.cos(latitude)
        u = c * math.cos(tilt) + s * torch.cos(longitude) * math.sin(tilt)
        v = -torch.sin(longitude) * math.sin(tilt)
        return u, v, 2 * (s * math.cos(tilt) - c * torch.cos(longitude) * math.sin(tilt))

    def vorticity_error(grid):
        u, v, vorticity = flow(grid)
        return mean_square(Sphere(grid).div((v, -u)) - vorticity, grid)

    def divergence_error(grid):
        u, v, _ = flow(grid)
        return mean_square(Sphere(grid).div((u, v)), grid)

    grids = [kind(n) for n in (48, 96)]
    for error in (vorticity_error, divergence_error):
        slope, errors = measured_order(error, grids)
        assert slope > 1.75, errors
        assert errors[-1] < 2e-3


def test_tilted_rotation_on_the_grids_of_the_method_card():
    # methods card N12, half-latitude form: largest error relative to the largest vorticity, and its weighted mean square
    for step, largest, square in ((3.0, 1.9e-3, 3.9e-4), (1.5, 7.9e-4, 9.7e-5), (0.75, 3.6e-4, 2.4e-5)):
        n = round(180 / step)
        longitude = step * torch.arange(2 * n, dtype=torch.float64)
        grid = LatLonGrid(torch.linspace(90, -90, n + 1, dtype=torch.float64), longitude, 1.0)
        lam, phi = grid.coordinates()
        u = torch.cos(phi) * math.cos(0.4) + torch.sin(phi) * torch.cos(lam) * math.sin(0.4)
        v = -torch.sin(lam) * math.sin(0.4)
        error = Sphere(grid).div((v, -u)) / 2 - (torch.sin(phi) * math.cos(0.4) - torch.cos(phi) * torch.cos(lam) * math.sin(0.4))
        assert float(error.abs().max()) == pytest.approx(largest, rel=0.05)
        assert mean_square(error, grid) == pytest.approx(square, rel=0.05)


@pytest.mark.parametrize("kind", GLOBAL)
def test_nothing_leaves_a_closed_sphere(kind):
    grid = kind(24)
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(3, *grid.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    ops = Sphere(grid)
    latitude = torch.deg2rad(grid.latitude)
    middle = torch.sin((latitude[1:] + latitude[:-1]) / 2)
    edges = torch.cat([torch.sign(latitude[:1]), middle, torch.sign(latitude[-1:])])
    area = edges.diff().abs()[:, None] / grid.shape[1]
    for f in (ops.div((u, v)), ops.lap(u)):
        # cells of the pole row are one cap, whose value is repeated along it
        assert (f * area).sum((-2, -1)).abs().max() < 1e-13 * f.abs().max()


def test_pole_rows_have_one_value():
    grid = with_poles(24)
    ops = Sphere(grid)
    f = torch.randn(2, *grid.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for row in (0, -1):
        for g in (ops.lap(f), ops.div((f, f))):
            assert (g[:, row] - g[:, row, :1]).abs().max() < 1e-12 * g.abs().max()
    assert all(bool(g.isfinite().all()) for g in (*ops.grad(f), ops.lap(f)))


def test_orientation_of_latitude_does_not_matter():
    north = with_poles(24, EARTH_RADIUS)
    south = LatLonGrid(north.latitude.flip(0), north.longitude, EARTH_RADIUS)
    generator = torch.Generator().manual_seed(2)
    u, v = (torch.randn(north.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    a, b = Sphere(north), Sphere(south)
    pairs = [
        (a.lap(u), b.lap(u.flip(0))),
        (a.div((u, v)), b.div((u.flip(0), v.flip(0)))),
        *zip(a.grad(u), b.grad(u.flip(0)), strict=True),
    ]
    for up, down in pairs:
        assert relative(down.flip(0), up) < 1e-12


def test_lengths_are_metres():
    for kind in KINDS:
        unit, earth = kind(24), kind(24, EARTH_RADIUS)
        y, gradient = harmonic(unit, 3, 1)
        assert relative(Sphere(earth).grad(y)[0] * EARTH_RADIUS, Sphere(unit).grad(y)[0]) < 1e-12
        assert relative(Sphere(earth).lap(y) * EARTH_RADIUS**2, Sphere(unit).lap(y)) < 1e-12
        assert relative(Sphere(earth).div(gradient) * EARTH_RADIUS, Sphere(unit).div(gradient)) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_batches_and_advection(kind):
    grid = kind(24, EARTH_RADIUS)
    ops = Sphere(grid, dt=3600.0)
    y, (east, north) = harmonic(grid, 2, 1)
    field = y.float().expand(2, 3, *grid.shape)
    for got, wanted in zip(ops.grad(field), ops.grad(y), strict=True):
        assert got.dtype == torch.float32 and got.shape == field.shape
        # rounding over the smallest east-west distance, 1/100 of the radius
        assert relative(got, wanted) < 1e-4
    wanted = east * ops.grad(y)[0] + north * ops.grad(y)[1]
    assert relative(ops.advect((east, north), y), wanted) < 1e-13
    assert not ops.dt(field).abs().max() > 1e-9


def test_gradients_flow():
    for kind in (with_poles, regional):
        grid = kind(4)
        f = torch.randn(grid.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
        ops = Sphere(grid)
        assert torch.autograd.gradcheck(ops.lap, (f,))
        assert torch.autograd.gradcheck(lambda g, D=ops: D.div(D.grad(g)), (f,))


def test_winds_of_era5_have_the_vorticity_of_their_spectral_twin(shared_data):
    path = shared_data / "reanalysis" / "era5_uv850_with_ncl_vo_div_sf_vp_2p5deg_2025-12-01T00.nc"
    with xr.open_dataset(path) as ds:
        data = {name: torch.tensor(ds[name].values, dtype=torch.float64) for name in ds}
        grid = LatLonGrid(ds.latitude.values.tolist(), ds.longitude.values.tolist())
    ops, inside = Sphere(grid), grid.latitude.abs() < 80

    def error(got, name):
        return float((got - data[name])[inside].norm() / data[name][inside].norm())

    u, v = data["u"], data["v"]
    # the data's README: second-order differences of a field with much energy near the grid scale
    assert error(ops.div((v, -u)), "vo_ncl") == pytest.approx(0.47, abs=0.005)
    assert error(ops.div((u, v)), "dv_ncl") == pytest.approx(0.80, abs=0.005)
    stream, potential = ops.grad(data["sf_ncl"]), ops.grad(data["vp_ncl"])
    assert error(potential[0] - stream[1], "u") == pytest.approx(0.18, abs=0.005)
    assert error(potential[1] + stream[0], "v") == pytest.approx(0.22, abs=0.005)


def test_refusals():
    with pytest.raises(UnsupportedOperator, match="Sphere.*LatLonGrid"):
        Sphere(CartesianGrid((8, 9)))
    with pytest.raises(InputError, match="at least 4"):
        Sphere(LatLonGrid([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0]))
    with pytest.raises(InputError, match="pole rows"):
        Sphere(LatLonGrid([90.0, 80.0, 70.0, 60.0], [0.0, 1.0, 2.0, 3.0]))
    ops = Sphere(regional(8))
    with pytest.raises(ShapeError, match="9, 15"):
        ops.grad(torch.zeros(15, 9))
    with pytest.raises(UnsupportedOperator, match="`inv_lap`"):
        ops.inv_lap(torch.zeros(9, 15))
