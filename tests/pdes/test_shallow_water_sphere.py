"""Shallow water on the sphere: budgets, parameters, ground, refusals. Its flows are judged in tests/laws/test_sphere_flows.py."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.spectral import Spectral
from physdiff.operators.sphere import Sphere
from physdiff.pdes.shallow_water_sphere import ShallowWaterSphere
from tests.pdes.budget import assert_batched


def globe(n):
    """Rows half a step from the poles, a unit sphere."""
    step, m = 180 / n, 3 * n // 2
    latitude = -90 + step * (torch.arange(n, dtype=torch.float64) + 0.5)
    return LatLonGrid(latitude, torch.arange(m, dtype=torch.float64) * (360 / m), 1.0)


def flow(grid):
    """Gradients of smooth functions on the sphere, along and turned, and a depth; without symmetry."""
    longitude, latitude = grid.coordinates()
    c, s = torch.cos(latitude), torch.sin(latitude)
    x, y = c * torch.cos(longitude), c * torch.sin(longitude)
    # of the potential x s and the stream function y s + s
    along = (-s * torch.sin(longitude), torch.cos(longitude) * (c**2 - s**2))
    turned = (-(torch.sin(longitude) * (c**2 - s**2) + c), s * torch.cos(longitude))
    return {
        "velocity_x": (0.3 * along[0] + turned[0])[None],
        "velocity_y": (0.3 * along[1] + turned[1])[None],
        "depth": (2 + 0.3 * x + 0.2 * y * s - 0.1 * s)[None],
    }


def ground(longitude, latitude, t):
    return 0.3 * torch.cos(latitude) * torch.sin(longitude - 0.4)


def budgets(law, n):
    """Rates of the invariants along the right-hand side, and the expected ones."""
    grid = globe(n)
    u, D = flow(grid), Sphere(grid)
    rate, step = law.rhs(u, D, 0.0), 1e-5
    ahead, behind = (law.invariants({k: u[k] + sign * step * rate[k] for k in law.fields}, grid) for sign in (1, -1))
    found = {k: float(ahead[k] - behind[k]) / (2 * step) for k in ahead}
    return found, {k: float(v) for k, v in law.expected_rates(u, D, 0.0, grid=grid).items()}


@pytest.mark.parametrize(("drag", "viscosity"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.05)])
def test_budgets_close_to_second_order(drag, viscosity):
    law = ShallowWaterSphere(1.3, 0.7, ground, drag=drag, viscosity=viscosity)
    gaps = []
    for n in (24, 48):
        found, expected = budgets(law, n)
        assert abs(found["mass"]) < 1e-10 and expected["mass"] == 0
        gaps.append(abs(found["energy"] - expected["energy"]))
        if drag or viscosity:
            assert expected["energy"] < -0.1
    assert gaps[1] < 1e-2 and math.log2(gaps[0] / gaps[1]) > 1.75, gaps


def test_potential_enstrophy_is_kept_to_second_order():
    law = ShallowWaterSphere(1.3, 0.7, ground, tilt=0.3)
    a, b = (abs(budgets(law, n)[0]["potential_enstrophy"]) for n in (24, 48))
    assert b < 0.02 and math.log2(a / b) > 1.75, (a, b)


@pytest.mark.parametrize("name", ["gravity", "rotation_rate", "drag", "viscosity"])
def test_one_parameter_per_sample(name):
    grid = globe(8)
    fixed = {"gravity": 1.3, "rotation_rate": 0.7, "topography": ground}
    assert_batched(lambda v: ShallowWaterSphere(**{**fixed, name: v}), [0.2, 0.9], flow(grid), Sphere(grid))


def test_viscosity_is_the_vector_laplacian():
    """A rigid rotation about a tilted axis is slowed at the rate 2 nu / a^2, at every place."""
    gaps = []
    for n in (24, 48):
        grid = globe(n)
        longitude, latitude = grid.coordinates()
        east = torch.cos(latitude) * math.cos(0.6) + torch.cos(longitude) * torch.sin(latitude) * math.sin(0.6)
        north = -math.sin(0.6) * torch.sin(longitude)
        u = {"velocity_x": east[None], "velocity_y": north[None], "depth": torch.ones_like(east)[None]}
        D, slow = Sphere(grid), {}
        with_it, without = (ShallowWaterSphere(viscosity=nu).rhs(u, D, 0.0) for nu in (0.3, 0.0))
        for name in ("velocity_x", "velocity_y"):
            slow[name] = (with_it[name] - without[name] + 0.6 * u[name])[0]
        gaps.append(math.sqrt(float(sum((v**2 * grid.weights()).sum() for v in slow.values()))))
    # a flow across the poles: vorticity there is of first order, its gradient of order zero in rows whose area is of second order
    assert gaps[1] < 0.01 and abs(math.log2(gaps[0] / gaps[1]) - 1) < 0.25, gaps


@pytest.mark.parametrize("polar_filter", [False, True])
def test_water_at_rest_over_ground_stays_at_rest(polar_filter):
    grid = globe(12)
    longitude, latitude = grid.coordinates()
    still = torch.zeros(1, *grid.shape, dtype=torch.float64)
    u = {"velocity_x": still, "velocity_y": still, "depth": (2 - ground(longitude, latitude, 0.0))[None]}
    rate = ShallowWaterSphere(1.3, 0.7, ground).rhs(u, Sphere(grid, polar_filter=polar_filter), 0.0)
    assert all(float(v.abs().max()) < 1e-12 for v in rate.values())
    assert "energy" not in ShallowWaterSphere(1.3, 0.7, lambda x, y, t: 0.1 * t + 0 * x).invariants(u, grid)


def test_gradients_and_single_precision():
    grid = globe(4)
    u, D = flow(grid), Sphere(grid, polar_filter=True)

    def rate(gravity, rotation, nu, *fields):
        law = ShallowWaterSphere(gravity, rotation, ground, viscosity=nu)
        return tuple(law.rhs(dict(zip(law.fields, fields, strict=True)), D, 0.0).values())

    values = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (1.3, 0.7, 0.1)]
    assert torch.autograd.gradcheck(rate, (*values, *(v.requires_grad_() for v in u.values())), fast_mode=True)
    law = ShallowWaterSphere(1.3, 0.7, ground)
    single = law.rhs({k: v.detach().float() for k, v in u.items()}, D, 0.0)
    double = law.rhs({k: v.detach() for k, v in u.items()}, D, 0.0)
    for k, v in single.items():
        assert v.dtype == torch.float32 and (v - double[k]).abs().max() < 1e-4


def test_refusals():
    law, grid = ShallowWaterSphere(), globe(8)
    u = flow(grid)
    with pytest.raises(InputError, match="depth above zero everywhere, got -0.5; give the depth itself"):
        law.rhs({**u, "depth": u["depth"] * 0 - 0.5}, Sphere(grid), 0.0)
    plane = CartesianGrid((8, 12))
    with pytest.raises(UnsupportedOperator, match="Spectral.*metric of the sphere; use Sphere"):
        law.rhs({k: v.float() for k, v in u.items()}, Spectral(plane), 0.0)
    x, y, t = (torch.rand(5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    with pytest.raises(UnsupportedOperator, match="Autograd.*metric of the sphere"):
        law.rhs({"velocity_x": x * y, "velocity_y": x + t, "depth": 1 + x}, Autograd((x, y), t), t)
    with pytest.raises(InputError, match="gravity: expected values that are positive"):
        ShallowWaterSphere(gravity=0.0)
    with pytest.raises(InputError, match="rotation_rate: expected a number or a Tensor"):
        ShallowWaterSphere(rotation_rate=lambda x, y, t: x)
    with pytest.raises(InputError, match="topography: expected a function"):
        ShallowWaterSphere(topography=3.0)
    with pytest.raises(InputError, match="drag: expected values that are not negative"):
        ShallowWaterSphere(drag=-1.0)
