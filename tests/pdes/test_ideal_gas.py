"""Ideal gas: helpers invert each other, thermodynamic identities, what is refused."""

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.compressible import CompressibleNavierStokes, Euler


def randoms(ndim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    density, pressure, *velocity = torch.rand(2 + ndim, 3, 5, dtype=torch.float64, generator=generator) + 0.2
    return density, tuple(v - 0.7 for v in velocity), pressure


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_state_and_primitive_variables_are_inverse(ndim):
    density, velocity, pressure = randoms(ndim)
    law = Euler(torch.tensor([1.2, 1.4, 1.6]), ndim=ndim)
    u = law.state(density, velocity, pressure)
    assert tuple(u) == law.fields == ("density", *(f"momentum_{x}" for x in "xyz"[:ndim]), "energy")
    torch.testing.assert_close(law.pressure(u), pressure)
    torch.testing.assert_close(law.temperature(u), pressure / density)
    for a, b in zip(law.velocity(u), velocity, strict=True):
        torch.testing.assert_close(a, b)
    bound = law.bound(1, like=density)
    again = bound.conserved(bound.primitive(u, None, 0.0), None, 0.0)
    for name in law.fields:
        torch.testing.assert_close(again[name], u[name])


def test_speed_of_sound_and_entropy_by_derivatives():
    law = Euler(1.3)
    density = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    s = 0.4

    def pressure(rho):
        return torch.exp(0.3 * s + 1.3 * torch.log(rho))  # entropy per mass s

    (slope,) = torch.autograd.grad(pressure(density).sum(), density)
    u = {n: f.detach() for n, f in law.state(density, (0.2 * density,), pressure(density)).items()}
    torch.testing.assert_close(law.sound_speed(u) ** 2, slope)
    torch.testing.assert_close(law.entropy(u), torch.tensor([s], dtype=torch.float64))


def test_flux_of_a_gas_at_rest_is_its_pressure_alone():
    law = Euler(ndim=2)
    one = torch.ones(1, 4, 6, dtype=torch.float64)
    flux = law.flux(law.state(one, (0 * one, 0 * one), 0.3 * one), Spectral(CartesianGrid((4, 6))), 0.0)
    assert {n: tuple(round(float(f.max()), 12) for f in v) for n, v in flux.items()} == {
        "density": (0.0, 0.0), "momentum_x": (0.3, 0.0), "momentum_y": (0.0, 0.3), "energy": (0.0, 0.0)}


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Euler(1.0), "heat_ratio: expected values above 1"),
    (lambda: Euler(torch.tensor([1.4, 0.9])), "heat_ratio: expected values above 1"),
    (lambda: Euler(lambda x, t: x), "got a function"),
    (lambda: Euler(ndim=4), "ndim: expected 1, 2 or 3 directions, got 4"),
    (lambda: CompressibleNavierStokes(-0.1), "viscosity: expected values that are not negative"),
    (lambda: CompressibleNavierStokes(0.1, conductivity=lambda x, t: x), "conductivity: expected a number"),
])
def test_refusals(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_states_that_are_none_are_refused():
    density, velocity, pressure = randoms(2)
    law = Euler(ndim=2)
    with pytest.raises(InputError, match="expected a pressure above zero everywhere, got -1"):
        law.state(density, velocity, 0 * pressure - 1)
    with pytest.raises(InputError, match="expected a density above zero"):
        law.state(0 * density, velocity, pressure)
    with pytest.raises(ShapeError, match="expected a velocity of 2 components"):
        law.state(density, velocity[:1], pressure)
