"""Burgers: flux form, one and two dimensions, budget."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers, VectorBurgers
from tests.pdes.budget import assert_batched, assert_budget

LINE = CartesianGrid(32, extent=2.0)
PLANE = CartesianGrid((12, 20), extent=(1.5, 2.0))


def test_flux_form_is_the_advective_form_where_products_are_resolved():
    D = Spectral(LINE)
    (x,) = D.coordinates
    u = (0.3 + torch.sin(math.pi * x + 0.2) + 0.5 * torch.cos(3 * math.pi * x))[None]
    (slope,) = D.grad(u)
    torch.testing.assert_close(Burgers(0.0).rhs({"u": u}, D, 0.0)["u"], -u * slope)


def test_in_the_plane_it_carries_itself_along_both_directions():
    D = Spectral(PLANE)
    x, y = D.coordinates
    u = torch.sin(math.pi * x + 2 * math.pi / 1.5 * y)[None]
    along_x, along_y = D.grad(u)
    law = Burgers(0.1, forcing=lambda x, y, t: t * y)
    torch.testing.assert_close(law.rhs({"u": u}, D, 2.0)["u"], -u * (along_x + along_y) + 0.1 * D.lap(u) + 2.0 * y)


def test_budget_is_the_derivative_of_the_invariants():
    D = Spectral(LINE)
    (x,) = D.coordinates
    u = (0.3 + torch.sin(math.pi * x + 0.2) + 0.5 * torch.cos(3 * math.pi * x))[None]
    law = Burgers(0.02, forcing=lambda x, t: 0.1 + torch.cos(math.pi * x))
    # invariants are quadratic, so half the difference over u + du and u - du is the exact derivative along du
    rate = law.rhs({"u": u}, D, 0.0)["u"]
    ahead, behind = (law.invariants({"u": u + sign * rate}, LINE) for sign in (1, -1))
    change = {name: (ahead[name] - behind[name]) / 2 for name in ahead}
    expected = law.expected_rates({"u": u}, D, 0.0, grid=LINE)
    for name in ("mass", "energy"):
        torch.testing.assert_close(change[name], expected[name])
        assert float(expected[name].abs().min()) > 0.01


def vectors():
    x, y = Spectral(PLANE).coordinates
    a = 0.3 + torch.sin(math.pi * x + 2 * math.pi / 1.5 * y)
    return {"velocity_x": a[None], "velocity_y": (0.5 * torch.cos(2 * math.pi * x) - 0.2)[None]}


def test_a_velocity_carries_each_of_its_components():
    D, u = Spectral(PLANE), vectors()
    a, b = u["velocity_x"], u["velocity_y"]
    law = VectorBurgers(0.1, forcing=(lambda x, y, t: t * y, lambda x, y, t: x))
    got = law.rhs(u, D, 2.0)
    x, y = D.coordinates
    for name, f, force in (("velocity_x", a, 2.0 * y), ("velocity_y", b, x)):
        along_x, along_y = D.grad(f)
        torch.testing.assert_close(got[name], -a * along_x - b * along_y + 0.1 * D.lap(f) + force)
    assert float((got["velocity_x"] - VectorBurgers(0.1).rhs(u, D, 2.0)["velocity_x"]).abs().max()) > 1


def test_budget_of_a_velocity_with_divergence():
    law = VectorBurgers(0.02, (lambda x, y, t: 0.1 + torch.cos(math.pi * x), lambda x, y, t: 0.2 + 0 * x))
    assert_budget(law, vectors(), Spectral(PLANE), PLANE)
    assert_batched(VectorBurgers, [0.1, 0.3], vectors(), Spectral(PLANE))


def test_a_velocity_lives_in_the_plane_with_two_forces():
    with pytest.raises(ShapeError, match="take Burgers on a line"):
        VectorBurgers(0.1).rhs({k: v[:, 0] for k, v in vectors().items()}, Spectral(CartesianGrid(20)), 0.0)
    with pytest.raises(InputError, match="two functions"):
        VectorBurgers(0.1, forcing=lambda x, y, t: x)
    with pytest.raises(InputError, match="not negative"):
        VectorBurgers(-0.1)
