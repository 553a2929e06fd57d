"""Advection-diffusion: symbols, forms, budgets."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.exact import plane_wave
from tests.pdes.budget import assert_batched, assert_budget

GRID = CartesianGrid((12, 20), extent=(1.5, 2.0))
KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_symbol_is_that_of_a_plane_wave(ndim):
    grid = CartesianGrid((6, 8, 10)[3 - ndim :], extent=(1.0, 1.5, 2.0)[3 - ndim :])
    velocity = (0.7, -0.4, 0.2)[:ndim]
    law = AdvectionDiffusion(0.03, velocity, reaction=-0.5)
    symbol = FourierSymbol(grid).symbol(law.stiff, law.fields)["c"]
    index = (1, 2, 3)[3 - ndim :]  # storage order
    k = [2 * math.pi * m / length for m, length in zip(index, grid.extent, strict=True)][::-1]
    wanted = complex(-0.5 - 0.03 * sum(v * v for v in k), -sum(a * b for a, b in zip(k, velocity, strict=True)))
    assert abs(complex(symbol[index]) - wanted) < 1e-12 * abs(wanted)  # rounding


def test_constant_functions_equal_constants():
    D = Spectral(GRID)
    c = plane_wave(D.coordinates, 0.0, wave_vector=(2 * KX, KY), diffusivity=0.0, velocity=(0.0, 0.0), phase=0.4)[None]
    numbers = AdvectionDiffusion(0.2, (0.7, -0.4), reaction=0.3)
    functions = AdvectionDiffusion(
        lambda x, y, t: 0.2 + 0 * x, (lambda x, y, t: 0.7 + 0 * x, torch.tensor(-0.4, dtype=torch.float64)), reaction=0.3
    )
    assert float(functions.stiff({"c": c}, D)["c"].sub(0.3 * c).abs().max()) == 0
    torch.testing.assert_close(functions.rhs({"c": c}, D, 0.0)["c"], numbers.rhs({"c": c}, D, 0.0)["c"])


def test_forms_differ_by_c_times_divergence():
    D = Spectral(GRID)
    x, y = D.coordinates
    c = (1 + 0.5 * torch.cos(KX * x + 2 * KY * y))[None]
    wind = (lambda x, y, t: torch.sin(KX * x) + t, lambda x, y, t: torch.cos(KY * y))
    given = tuple(f(x, y, 0.3) for f in wind)
    one = AdvectionDiffusion(0.0, wind).rhs({"c": c}, D, 0.3)["c"]
    other = AdvectionDiffusion(0.0, wind, conservative=True).rhs({"c": c}, D, 0.3)["c"]
    torch.testing.assert_close(one - other, c * D.div(given))
    assert float((one - other).abs().max()) > 1


def test_wind_by_the_name_of_a_field():
    D = Spectral(GRID)
    x, y = D.coordinates
    c, wind = torch.cos(KX * x)[None], torch.sin(KY * y)[None]
    got = AdvectionDiffusion(0.0, ("wind", 0.5)).rhs({"c": c, "wind": wind}, D, 0.0)["c"]
    torch.testing.assert_close(got, wind * KX * torch.sin(KX * x)[None])


def test_wind_that_is_not_given_is_named():
    with pytest.raises(InputError, match="expected the wind 'wind' among the fields, got c"):
        AdvectionDiffusion(0.0, ("wind", 0.5)).rhs({"c": torch.zeros(1, 12, 20, dtype=torch.float64)}, Spectral(GRID), 0.0)


def test_wind_of_another_dimension_is_refused():
    with pytest.raises(ShapeError, match="expected 2 components"):
        AdvectionDiffusion(0.1, (1.0,)).rhs({"c": torch.zeros(1, 12, 20, dtype=torch.float64)}, Spectral(GRID), 0.0)


def test_budget_is_the_derivative_of_the_invariants():
    D = Spectral(GRID)
    x, y = D.coordinates
    # waves up to 2 of 10 and of 6 along x and y: cubic products stay resolved, so the budget closes to rounding
    c = (1 + 0.5 * torch.cos(KX * x + KY * y) + 0.3 * torch.sin(2 * KX * x))[None]
    law = AdvectionDiffusion(0.05, (lambda x, y, t: torch.cos(KY * y), 0.3), reaction=-0.2, source=lambda x, y, t: t + torch.cos(KX * x))
    rate = law.rhs({"c": c}, D, 0.7)["c"]
    # invariants are quadratic, so half the difference over u + du and u - du is the exact derivative along du
    ahead, behind = (law.invariants({"c": c + sign * rate}, GRID) for sign in (1, -1))
    change = {name: (ahead[name] - behind[name]) / 2 for name in ahead}
    expected = law.expected_rates({"c": c}, D, 0.7, grid=GRID)
    assert change.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(change[name], expected[name])
        assert float(expected[name].abs().min()) > 0.01


def test_tensor_budget_with_reaction_and_divergence_in_both_forms():
    D = Spectral(CartesianGrid((24, 40), extent=(1.5, 2.0)))
    x, y = D.coordinates
    c = (1 + 0.5 * torch.cos(KX * x + KY * y) + 0.3 * torch.sin(2 * KX * x))[None]
    wind = (lambda x, y, t: 0.4 + torch.sin(KX * x + KY * y), lambda x, y, t: 0.3 * torch.cos(2 * KX * x - KY * y))
    for conservative in (False, True):
        law = AdvectionDiffusion(
            ((0.05, 0.01), (0.01, 0.03)), wind, lambda c: c * (1 - c), lambda x, y, t: t * torch.cos(KX * x), conservative=conservative
        )
        assert_budget(law, {"c": c}, D, D.grid, t=0.7)


def test_conservation_form_gives_flux_production_and_speeds():
    D = Spectral(GRID)
    x, y = D.coordinates
    c = (1 + 0.5 * torch.cos(KX * x + 2 * KY * y))[None]
    law = AdvectionDiffusion(0.1, (0.7, -0.4), lambda c: c**2, conservative=True)
    flux, speeds = law.flux({"c": c}, D, 0.0)["c"], law.speeds({"c": c}, D, 0.0)
    torch.testing.assert_close(flux[1], -0.4 * c)
    assert [float(s.max()) for s in speeds] == [0.7, 0.4] and speeds[0].shape == c.shape
    torch.testing.assert_close(law.production({"c": c}, D, 0.0)["c"], c**2)
    torch.testing.assert_close(law.nonstiff({"c": c}, D, 0.0)["c"], c**2 - D.div(flux))
    # a uniform wind: both forms are one, however it is shared out
    other = AdvectionDiffusion(0.1, (0.7, -0.4), lambda c: c**2)
    torch.testing.assert_close(law.rhs({"c": c}, D, 0.0)["c"], other.rhs({"c": c}, D, 0.0)["c"])
    with pytest.raises(InputError, match="conservative=True"):
        other.flux({"c": c}, D, 0.0)


def test_reaction_of_something_else_than_c_is_refused():
    with pytest.raises(InputError, match="function of c alone"):
        AdvectionDiffusion(0.1, (1.0,), lambda x, t: x)


def test_diffusivity_of_another_dimension_is_refused():
    with pytest.raises(ShapeError, match="expected 2 entries"):
        AdvectionDiffusion((0.1, 0.1, 0.1), (1.0, 0.0))
    with pytest.raises(ShapeError, match="expected 2 components"):
        AdvectionDiffusion((0.1, 0.1, 0.1), (1.0, 0.0, 0.0)).rhs({"c": torch.zeros(1, 12, 20, dtype=torch.float64)}, Spectral(GRID), 0.0)


def test_parameters_per_sample_inside_a_tensor():
    D = Spectral(GRID)
    x, y = D.coordinates
    c = torch.cos(KX * x + 2 * KY * y)[None]
    assert_batched(lambda k: AdvectionDiffusion(((0.5, k), (k, 0.5)), (0.3, 0.1)), [0.1, 0.4], {"c": c}, D)
    assert AdvectionDiffusion(((torch.ones(3), 0.0), (0.0, 1.0)), (0.3, 0.1)).batch == 3


def test_gradients_reach_the_tensor_and_the_field():
    grid = CartesianGrid((4, 6), extent=(1.5, 2.0))
    c = torch.rand(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    k = torch.tensor([0.3, 0.5], dtype=torch.float64, requires_grad=True)

    def rate(c, k):
        law = AdvectionDiffusion(((k, 0.1), (0.1, 0.4)), (0.3, 0.1), lambda c: c * (1 - c), conservative=True)
        return law.rhs({"c": c}, Spectral(grid), 0.0)["c"]

    assert torch.autograd.gradcheck(rate, (c, k))
