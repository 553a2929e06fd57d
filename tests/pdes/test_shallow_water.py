"""Shallow water: flux form against the advective one, budgets, lakes at rest under all operators, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.shallow_water import ShallowWater

PLANE = CartesianGrid((18, 26), extent=(1.5, 2.0))


def ground(x, y, t):
    return 0.3 * torch.sin(math.pi * x) * torch.cos(2 * math.pi / 1.5 * y + 0.3) - 0.4


def waves(grid=PLANE):
    x, y = grid.coordinates()
    a, b = math.pi * x, 2 * math.pi / 1.5 * y
    h = 1.5 + 0.2 * torch.sin(a + 0.3) * torch.cos(b)
    return {"depth": h[None], "momentum_x": (h * 0.3 * torch.sin(b))[None], "momentum_y": (h * (0.3 - 0.2 * torch.cos(a + b)))[None]}


def test_flux_form_is_the_advective_form():
    D, u = Spectral(PLANE), waves()
    law = ShallowWater(2.0, coriolis=lambda x, y, t: 0.5 + 0.1 * torch.sin(math.pi * x), bathymetry=ground, drag=0.3)
    rate = law.rhs(u, D, 0.0)
    h, v = u["depth"], law.velocity(u)
    x, y = D.coordinates
    f = 0.5 + 0.1 * torch.sin(math.pi * x)
    surface = D.grad(h + ground(x, y, 0.0))
    force = (f * v[1] - 2.0 * surface[0] - 0.3 * v[0], -f * v[0] - 2.0 * surface[1] - 0.3 * v[1])
    torch.testing.assert_close(rate["depth"], -D.div(tuple(h * c for c in v)))
    for name, c, push in zip(("momentum_x", "momentum_y"), v, force, strict=True):
        # d(h v)/dt = h dv/dt + v dh/dt; products up to cubic are resolved to 1e-8 here
        wanted = h * (push - D.advect(v, c)) + c * rate["depth"]
        torch.testing.assert_close(rate[name], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bathymetry", [None, ground], ids=["flat", "ground"])
def test_budgets(bathymetry):
    law = ShallowWater(2.0, coriolis=0.7, bathymetry=bathymetry, drag=torch.tensor([0.3], dtype=torch.float64))
    u, D = waves(), Spectral(PLANE)
    rate, step = law.rhs(u, D, 0.0), 1e-6
    ahead, behind = (law.invariants({n: u[n] + sign * step * rate[n] for n in u}, PLANE) for sign in (1, -1))
    expected = law.expected_rates(u, D, 0.0, grid=PLANE)
    assert set(expected) == {"mass", "momentum_x", "momentum_y", "energy"}
    for name, wanted in expected.items():
        assert float(((ahead[name] - behind[name]) / (2 * step) - wanted).abs()) < 1e-7, name  # aliasing of cubic terms
    assert float(expected["energy"]) < -0.01


def test_energy_is_not_promised_over_moving_ground():
    law = ShallowWater(2.0, bathymetry=lambda x, y, t: 0.1 * torch.sin(math.pi * x - t))
    assert "energy" not in law.invariants(waves(), PLANE)


@pytest.mark.parametrize("D", [Spectral(PLANE), FiniteDifference(PLANE), FiniteDifference(PLANE, order=6)], ids=["spectral", "second", "sixth"])
def test_a_lake_at_rest_stays_so_for_every_operator(D):
    law = ShallowWater(9.81, coriolis=0.4, bathymetry=ground, drag=0.1)
    depth = (0.05 - ground(*PLANE.coordinates(), 0.0))[None]
    still = {"depth": depth, "momentum_x": 0 * depth, "momentum_y": 0 * depth}
    # rounding of g h^2 / h_x: 10 * 14
    assert max(float(f.abs().max()) for f in law.rhs(still, D, 0.0).values()) < 1e-12


def test_thin_water_is_slow_and_dry_ground_still():
    law = ShallowWater(1.0, ndim=1, dry_depth=1e-3)
    u = {"depth": torch.tensor([[1.0, 1e-3, 1e-4, 0.0]]), "momentum_x": torch.tensor([[2.0, 2e-3, 2e-4, 0.0]])}
    torch.testing.assert_close(law.velocity(u)[0], torch.tensor([[2.0, 2.0, 0.02, 0.0]]))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: ShallowWater(-1.0), "gravity: expected values that are positive"),
    (lambda: ShallowWater(drag=-0.1), "drag: expected values that are not negative"),
    (lambda: ShallowWater(ndim=3), "ndim: expected 1 or 2"),
    (lambda: ShallowWater(ndim=1, coriolis=0.1), "a flow in one direction cannot be turned"),
    (lambda: ShallowWater(bathymetry=-3.0), "expected a function of .x, .y,. t. or None"),
    (lambda: ShallowWater(dry_depth=0.0), "dry_depth: expected a positive"),
])
def test_refusals(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_ground_that_rises_out_of_the_water_is_refused():
    law, u = ShallowWater(bathymetry=ground), waves()
    u["depth"][0, 3, 4] = 0.0
    with pytest.raises(InputError, match="ground that rises out of the water is not built"):
        law.primitive(u, Spectral(PLANE), 0.0)
    with pytest.raises(ShapeError, match="expected operators in 1 directions"):
        ShallowWater(ndim=1).rhs(waves(), Spectral(PLANE), 0.0)
