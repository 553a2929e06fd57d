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
