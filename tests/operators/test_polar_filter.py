"""What the filter keeps, what it cuts, and that explicit steps may be longer for it."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.polar_filter import PolarFilter
from physdiff.operators.sphere import Sphere


def ball(n, longitudes=None):
    """Pole rows at both ends, north first."""
    m = longitudes or 3 * n // 2
    return LatLonGrid(torch.linspace(90, -90, n + 1, dtype=torch.float64), torch.arange(m, dtype=torch.float64) * (360 / m), 1.0)


def noise(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("longitudes", [36, 37])
def test_it_is_a_projection_that_keeps_zonal_means(longitudes):
    grid = ball(24, longitudes)
    f, cut = noise(2, *grid.shape), PolarFilter(grid)
    once = cut(f)
    assert (cut(once) - once).abs().max() < 1e-13
    assert (once.mean(-1) - f.mean(-1)).abs().max() < 1e-14
    g = noise(2, *grid.shape).flip(-1)
    # orthogonal: what is cut of one field has nothing in common with what is kept of another
    assert ((f - once) * cut(g)).sum(-1).abs().max() < 1e-12
    assert (f - once).abs().max() > 1


def test_waves_are_cut_where_they_are_shorter_than_at_the_equator():
    grid = ball(24)
    longitude, latitude = grid.coordinates()
    cut = PolarFilter(grid)
    for wave in (1, 2, 3, 7, 12, 18):
        f = torch.cos(wave * longitude + 0.3)
        kept = (torch.cos(latitude[:, 0]) * 18 + 1e-9 >= wave) | torch.tensor(wave <= 2)
        got = cut(f)
        assert (got[kept] - f[kept]).abs().max() < 1e-13
        assert not bool((got[~kept].abs() > 1e-13).any())
    # rows of low latitude have nothing to lose and come back bit for bit
    f = noise(*grid.shape)
    assert torch.equal(cut(f)[12], f[12]) and not torch.equal(cut(f)[2], f[2])


@pytest.mark.parametrize(("degree_power", "wave"), [(4, 4), (3, 3)])
def test_little_is_cut_from_smooth_fields(degree_power, wave):
    """A scalar of wave m goes as cos^m towards the poles, a component of a vector as cos^(m - 1); of second order or less in the mean square."""

    def removed(n, power):
        grid = ball(n)
        longitude, latitude = grid.coordinates()
        f = torch.cos(latitude) ** power * torch.cos(wave * longitude)
        return math.sqrt(float(((PolarFilter(grid)(f) - f) ** 2 * grid.weights()).sum()))

    for power in (degree_power, degree_power - 1):
        a, b = removed(24, power), removed(48, power)
        assert a < 0.02 and math.log2(a / b) > 2.5, (power, a, b)


def test_only_dealias_changes_and_only_if_asked_for():
    grid = ball(12)
    f = noise(3, *grid.shape)
    plain, filtered = Sphere(grid), Sphere(grid, polar_filter=True)
    assert plain.dealias(f) is f and not torch.equal(filtered.dealias(f), f)
    assert torch.equal(plain.lap(f), filtered.lap(f)) and torch.equal(plain.div((f, f)), filtered.div((f, f)))
    single = filtered.dealias(f.float())
    assert single.dtype == torch.float32 and (single - filtered.dealias(f)).abs().max() < 1e-5


def test_gradients_flow():
    grid = ball(4, 12)
    f = noise(*grid.shape).requires_grad_()
    assert torch.autograd.gradcheck(PolarFilter(grid), (f,))


def test_refusals():
    region = LatLonGrid(torch.linspace(20, 60, 9), torch.linspace(0, 50, 11))
    with pytest.raises(InputError, match="close around the sphere"):
        Sphere(region, polar_filter=True)
    with pytest.raises(ShapeError, match="Sphere.dealias"):
        Sphere(ball(12), polar_filter=True).dealias(torch.zeros(18, 13))
