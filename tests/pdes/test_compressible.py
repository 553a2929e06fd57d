"""Compressible flow: budgets, known stresses, decay of sound and shear from the linear problem."""

import math

import pytest
import torch

from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.compressible import CompressibleNavierStokes, Euler
from physdiff.pdes.exact_compressible import sound_damping

PLANE = CartesianGrid((18, 26), extent=(1.5, 2.0))


def blobs(law, grid):
    x, y = grid.coordinates()
    a, b = math.pi * x, 2 * math.pi / 1.5 * y
    density = 1 + 0.2 * torch.sin(a + 0.3) * torch.cos(b)
    velocity = (0.3 * torch.sin(b), 0.3 - 0.2 * torch.cos(a + b))
    return law.state(density[None], tuple(v[None] for v in velocity), (0.8 + 0.2 * torch.cos(a - b + 0.5))[None])


@pytest.mark.parametrize("law", [Euler(1.3, ndim=2), CompressibleNavierStokes(0.03, 0.02, 0.05, 1.3, ndim=2)], ids=["euler", "viscous"])
def test_budgets(law):
    u, D = blobs(law, PLANE), Spectral(PLANE)
    rate, step = law.rhs(u, D, 0.0), 1e-6
    ahead, behind = (law.invariants({n: u[n] + sign * step * rate[n] for n in u}, PLANE) for sign in (1, -1))
    expected = law.expected_rates(u, D, 0.0, grid=PLANE)
    for name, wanted in expected.items():
        change = (ahead[name] - behind[name]) / (2 * step)
        # 1e-9: rounding over the step; the entropy integral is resolved to 1e-5 on these grids
        assert float((change - wanted).abs()) < (2e-5 if name == "entropy" else 1e-9), name
    assert float(expected["entropy"]) > (0.1 if isinstance(law, CompressibleNavierStokes) else -1)


def test_stress_of_known_flows():
    D = Spectral(PLANE)
    x, y = D.coordinates
    a, b = math.pi * x, 2 * math.pi / 1.5 * y
    law = CompressibleNavierStokes(0.2, 0.05, ndim=2)
    one = torch.ones(1, *PLANE.shape, dtype=torch.float64)
    shear = law.production(law.state(one, (torch.sin(b)[None], 0 * one), one), D, 0.0)
    k = 2 * math.pi / 1.5
    torch.testing.assert_close(shear["momentum_x"], -0.2 * k**2 * torch.sin(b)[None])
    # u tau_xy is the work of the stress: (eta u u_y)_y
    torch.testing.assert_close(shear["energy"], 0.2 * k**2 * torch.cos(2 * b)[None])
    swell = law.production(law.state(one, (torch.sin(a)[None], 0 * one), one), D, 0.0)
    torch.testing.assert_close(swell["momentum_x"], -(4 / 3 * 0.2 + 0.05) * math.pi**2 * torch.sin(a)[None])
    torch.testing.assert_close(swell["momentum_y"], 0 * one, atol=1e-12, rtol=0)


def test_heat_flows_down_the_gradient_of_temperature():
    D = Spectral(CartesianGrid(32, extent=2.0))
    (x,) = D.coordinates
    one = torch.ones(1, 32, dtype=torch.float64)
    law = CompressibleNavierStokes(0.0, conductivity=0.3)
    got = law.production(law.state(one, (0 * one,), (1 + 0.1 * torch.sin(math.pi * x))[None]), D, 0.0)
    torch.testing.assert_close(got["energy"], -0.3 * 0.1 * math.pi**2 * torch.sin(math.pi * x)[None])


def test_damping_of_sound_is_that_of_the_linear_problem():
    law = CompressibleNavierStokes(0.003, 0.001, 0.004, 1.4)
    grid = CartesianGrid(16, extent=2.0)
    D, base, waves = Spectral(grid), {"density": 1.2, "momentum_x": 0.0, "energy": 0.9 / 0.4}, []
    (x,) = grid.coordinates()
    for wave in (torch.cos(math.pi * x), torch.sin(math.pi * x)):
        waves += [{n: torch.full((1, 16), v, dtype=torch.float64) + (1e-6 * wave if n == name else 0) for n, v in base.items()} for name in base]
    rates = [law.rhs(u, D, 0.0) for u in waves]
    mode = torch.exp(-1j * math.pi * x) / 16 * 2e6
    # the matrix of the linear problem for exp(ikx): columns from cosine (real) waves
    matrix = torch.stack([torch.stack([(r[n][0] * mode).sum() for n in base]) for r in rates[:3]], dim=1)
    values = torch.linalg.eigvals(matrix)
    sound = values[values.imag.abs().argmax()]
    wanted = sound_damping(math.pi, density=1.2, viscosity=0.003, bulk_viscosity=0.001, conductivity=0.004)
    # the formula is the first term in the decay per radian (4e-3); difference quotients cost 1e-6
    assert abs(float(-sound.real) / wanted - 1) < 1e-4
    assert abs(abs(float(sound.imag)) - math.pi * math.sqrt(1.4 * 0.9 / 1.2)) < 1e-4


def test_laws_are_written_and_built_again():
    law = build(describe(CompressibleNavierStokes(0.1, conductivity=0.2, ndim=2)))
    assert law.fields == ("density", "momentum_x", "momentum_y", "energy") and law.conductivity == 0.2
