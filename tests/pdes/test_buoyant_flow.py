"""Buoyant flow: budgets, the onset of convection, directions."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.buoyant_flow import BuoyantFlow, free_fall_units
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve

GRID = CartesianGrid((16, 24), extent=(2.0, 2 * math.sqrt(2)))  # twice the height 1; one wave of k = pi / sqrt(2) along x
CRITICAL = 27 * math.pi**4 / 4


@pytest.mark.parametrize(("up", "ndim"), [(None, 2), ("x", 2), (None, 3), ("y", 3)])
def test_budgets_close(up, ndim):
    grid = GRID if ndim == 2 else CartesianGrid((8, 10, 12), extent=(1.0, 2.0, 1.5))
    D, g = Spectral(grid), torch.Generator().manual_seed(1)
    white = tuple(torch.randn(2, *grid.shape, generator=g, dtype=torch.float64) for _ in range(ndim + 1))
    v = D.project(tuple(D.dealias(w) for w in white[:ndim]))
    law = BuoyantFlow(0.02, 0.03, lift=torch.tensor([0.5, -1.0]).double(), stratification=-0.7, ndim=ndim, up=up)
    u = dict(zip(law.fields, (*v, D.dealias(white[-1])), strict=True))
    slope, rates = law.rhs(u, D, 0.0), law.expected_rates(u, D, 0.0, grid=grid)
    energy = sum((u[n] * slope[n]).flatten(1).mean(1) for n in law.fields[:-1])
    torch.testing.assert_close(energy, rates["kinetic_energy"], atol=1e-11, rtol=0)
    torch.testing.assert_close((u["buoyancy"] * slope["buoyancy"]).flatten(1).mean(1), rates["variance"], atol=1e-11, rtol=0)
    torch.testing.assert_close(slope["buoyancy"].flatten(1).mean(1), rates["mass"], atol=1e-12, rtol=0)
    assert float(D.div(tuple(slope[n] for n in law.fields[:-1])).abs().max()) < 1e-10


def test_budgets_close_with_a_field_of_lifts_and_a_source():
    D, g = Spectral(GRID), torch.Generator().manual_seed(2)
    white = tuple(torch.randn(2, *GRID.shape, generator=g, dtype=torch.float64) for _ in range(3))
    v = D.project(tuple(D.dealias(w) for w in white[:2]))
    wave = math.sqrt(2) * math.pi / 2
    lift = (lambda x, y, t: torch.cos(wave * x), torch.tensor([0.3, -0.2]).double())
    law = BuoyantFlow(0.02, 0.03, lift=lift, source=lambda x, y, t: torch.sin(math.pi * y) + t)
    u = dict(zip(law.fields, (*v, D.dealias(white[-1])), strict=True))
    slope, rates = law.rhs(u, D, 0.5), law.expected_rates(u, D, 0.5, grid=GRID)
    energy = sum((u[n] * slope[n]).flatten(1).mean(1) for n in law.fields[:-1])
    torch.testing.assert_close(energy, rates["kinetic_energy"], atol=1e-11, rtol=0)
    torch.testing.assert_close((u["buoyancy"] * slope["buoyancy"]).flatten(1).mean(1), rates["variance"], atol=1e-11, rtol=0)
    torch.testing.assert_close(slope["buoyancy"].flatten(1).mean(1), torch.full((2,), 0.5).double(), atol=1e-12, rtol=0)
    # what the lifts do: the rest is the law without them
    bare = BuoyantFlow(0.02, 0.03, lift=0.0).rhs(u, D, 0.5)
    pushed = D.project((lift[0](*D.coordinates, 0.0) * u["buoyancy"], lift[1].reshape(2, 1, 1) * u["buoyancy"]))
    for k, name in enumerate(law.fields[:2]):
        torch.testing.assert_close(slope[name] - bare[name], pushed[k], atol=1e-11, rtol=0)


def growth(rayleigh, prandtl=0.7):
    """Measured growth rate of the free-free mode k = pi / sqrt(2), heated from below; and the closed form."""
    nu, kappa = free_fall_units(rayleigh, prandtl)
    x, z = GRID.coordinates()
    k = math.pi / math.sqrt(2)
    square = k * k + math.pi**2
    # (s + nu K^2)(s + kappa K^2) = k^2 / K^2 (lift times slope one)
    mean, gap = (nu + kappa) * square / 2, (nu - kappa) * square / 2
    rate = math.sqrt(gap**2 + k * k / square) - mean
    ratio = (rate + kappa * square) * 1e-6  # w for b = 1e-6: (s + kappa K^2) b = w
    u = {
        "velocity_x": (-ratio * math.pi / k * torch.sin(k * x) * torch.cos(math.pi * z))[None],
        "velocity_y": (ratio * torch.cos(k * x) * torch.sin(math.pi * z))[None],
        "buoyancy": (1e-6 * torch.cos(k * x) * torch.sin(math.pi * z))[None],
    }
    law = BuoyantFlow(nu, kappa, stratification=-1.0)
    got = solve(ETDRK4(law, Spectral(GRID)), u, torch.tensor([0.0, 2.0]), substeps=40)["velocity_y"]
    return math.log(float(got[0, 1].norm() / got[0, 0].norm())) / 2, rate


@pytest.mark.parametrize("share", [0.99, 1.01, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.5, 3.0))])
def test_convection_sets_in_at_rayleighs_number(share):
    measured, rate = growth(share * CRITICAL)
    # fourth order in steps of 0.05, a rate near 0.3: 1e-6
    assert measured == pytest.approx(rate, abs=2e-6)
    assert (measured > 0) == (share > 1)


@pytest.mark.slow
def test_no_growth_at_the_critical_number():
    assert abs(growth(657.5113644795163)[0]) < 1e-7


def test_refusals():
    with pytest.raises(InputError, match="diffusivity"):
        BuoyantFlow(0.1, -0.1)
    with pytest.raises(InputError, match="up: expected one of x, y"):
        BuoyantFlow(0.1, 0.1, up="z")
    with pytest.raises(InputError, match="one number or a tuple of 2 parts"):
        BuoyantFlow(0.1, 0.1, lift=(0.1, 0.2, 0.3))
    with pytest.raises(InputError, match="rayleigh"):
        free_fall_units(-1.0, 1.0)
