"""Formulas typed anew, there and back, and what they mean."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.data.recipes.difficulty import (
    Coefficients,
    Scales,
    burgers_of,
    coefficients_of,
    difficulty_of,
    fisher_of,
    korteweg_de_vries_of,
    kuramoto_sivashinsky_of,
    linear_of,
)
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral


@pytest.mark.parametrize("ndim", [1, 2])
def test_the_formulas(ndim):
    n, length, dt, m = 160, 3.0, 0.1, 2.5
    scales = Scales(n, ndim, length, dt, m)
    a, b = (0.5, -0.2, 0.01, 0.002, -1e-4), (1.5, 1.0, 0.7)
    got = difficulty_of(Coefficients(a, b), scales)
    gamma = [a[0] * dt] + [a[j] * dt / length**j * n**j * 2 ** (j - 1) * ndim for j in range(1, 5)]
    delta = [b[0] * dt, b[1] * dt / length * m * n * ndim, b[2] * dt / length**2 * m * n**2 * ndim]
    assert got.linear == pytest.approx(gamma) and got.nonlinear == pytest.approx(delta)
    back = coefficients_of(got, scales)
    assert back.linear == pytest.approx(a) and back.nonlinear == pytest.approx(b)


def test_equal_difficulty_is_the_same_problem_on_other_scales():
    one, two = Scales(64), Scales(64, extent=10.0, dt=0.3)
    wanted = Coefficients((0.0, -1.5, 2.0))
    a, b = coefficients_of(wanted, one).linear, coefficients_of(wanted, two).linear
    # Courant numbers, and shares of what an explicit step of diffusion can bear
    assert -a[1] * one.dt * 64 / one.extent == pytest.approx(1.5) and -b[1] * two.dt * 64 / two.extent == pytest.approx(1.5)
    assert 2 * b[2] * two.dt * (64 / two.extent) ** 2 == pytest.approx(2.0)


def test_laws():
    scales = Scales(32, 2, extent=2.0, dt=0.5)
    law = linear_of((0.1, -0.8, 0.4), scales)
    a = coefficients_of(Coefficients((0.1, -0.8, 0.4)), scales).linear
    D = Spectral(CartesianGrid((32, 32), 2.0))
    x, y = (v[None] for v in D.coordinates)
    c = torch.sin(torch.pi * x) * torch.cos(2 * torch.pi * y)
    want = a[0] * c + a[1] * sum(D.grad(c)) + a[2] * D.lap(c)
    torch.testing.assert_close(law.rhs({"c": c}, D, 0.0)["c"], want, atol=1e-10, rtol=0)
    line = Scales(160, largest=2.0, dt=0.01)
    assert burgers_of(1.5, 3.2, line).viscosity == pytest.approx(1.5 / (2 * 0.01 * 160**2))
    law = kuramoto_sivashinsky_of(1.2, 15.0, 1.0, scales=Scales(160))
    assert law.growth == pytest.approx(1.2 / (2 * 160**2)) and law.damping == pytest.approx(15.0 / (8 * 160**4)) and law.potential
    assert law.nonlinearity == pytest.approx(1 / 160**2)


def test_waves_and_growth():
    """Right-hand sides typed anew, gamma_3 = a_3 dt N^3 4 D / L^3, gamma_0 = a_0 dt."""
    scales = Scales(32, extent=2.0, dt=0.5, largest=1.5)
    D = Spectral(CartesianGrid(32, 2.0), dealias=False)
    u = torch.sin(torch.pi * D.coordinates[0][None])
    slope, third = torch.pi * torch.cos(torch.pi * D.coordinates[0][None]), -(torch.pi**3) * torch.cos(torch.pi * D.coordinates[0][None])
    a3, b1 = -14.0 * 8 / (0.5 * 32**3 * 4), -2.0 * 2 / (0.5 * 1.5 * 32)
    rate = korteweg_de_vries_of(14.0, -2.0, scales).rhs({"u": u}, D, 0.0)["u"]
    torch.testing.assert_close(rate, a3 * third - b1 * u * slope, atol=1e-10, rtol=0)
    a2 = 0.2 * 4 / (0.5 * 32**2 * 2)
    rate = fisher_of(0.2, 0.02, scales).rhs({"u": u}, D, 0.0)["u"]
    torch.testing.assert_close(rate, -a2 * torch.pi**2 * u + 0.04 * u - 0.04 * u**2, atol=1e-10, rtol=0)
    with pytest.raises(InputError, match="scales of a line"):
        korteweg_de_vries_of(14.0, -2.0, Scales(8, 2))


def test_what_makes_no_sense():
    with pytest.raises(InputError, match="take dt = 0.01"):
        burgers_of(1.5, 3.2, Scales(160, largest=2.0, dt=1.0))
    with pytest.raises(InputError, match="expected three"):
        Coefficients((), (1.0,))
    with pytest.raises(InputError, match="Scales points"):
        Scales(0)
    with pytest.raises(InputError, match="higher derivatives"):
        linear_of((0.0, 0.0, 0.0, 1.0), Scales(8))
