"""Exact solutions of advection and diffusion: they solve the law, at its ends too, and keep what they should."""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.exact_advection import boundary_layer, decaying_puff, ground_plume, ogata_banks, rotating_gaussian, sheared_gaussian
from tests.pdes.budget import residual_at_points


def line(values):
    return torch.tensor(values, dtype=torch.float64)


PUFF = {"diffusivity": (0.1, 0.05, 0.02), "velocity": (0.7, -0.4, 0.2), "decay": 0.6, "mass": 2.0}
SHEAR = {"diffusivity": 0.1, "shear": 1.7, "centre": (0.2, -0.1)}
TURN = {"diffusivity": 0.02, "rotation": 1.5, "start": (1.1, 0.85), "width": 0.3, "centre": (1.0, 0.75)}
PLUME = {"rate": 3.0, "wind": 2.0, "diffusivity": 0.3, "height": 0.8}
CASES = {
    "puff": (
        AdvectionDiffusion((0.1, 0.05, 0.02), (0.7, -0.4, 0.2), -0.6),
        lambda x, y, z, t: {"c": decaying_puff((x, y, z), t, **PUFF)},
        [(-1, 1)] * 3 + [(0.5, 1.5)],
    ),
    "shear": (
        AdvectionDiffusion(0.1, (lambda x, y, t: 1.7 * (y + 0.1), 0.0)),
        lambda x, y, t: {"c": sheared_gaussian(x, y, t, **SHEAR)},
        [(-1, 1), (-1, 1), (0.5, 1.5)],
    ),
    "rotation": (
        AdvectionDiffusion(0.02, (lambda x, y, t: -1.5 * (y - 0.75), lambda x, y, t: 1.5 * (x - 1.0))),
        lambda x, y, t: {"c": rotating_gaussian(x, y, t, **TURN)},
        [(0.5, 1.5), (0.3, 1.2), (0.0, 4.0)],
    ),
    "plume": (
        AdvectionDiffusion((0.0, 0.3, 0.3), (2.0, 0.0, 0.0)),
        lambda x, y, z, t: {"c": ground_plume(x, y, z, **PLUME)},
        [(0.5, 3.0), (-1, 1), (0, 2), (0, 1)],
    ),
    "inlet": (
        AdvectionDiffusion(0.1, (0.8,), conservative=True),
        lambda x, t: {"c": ogata_banks(x, t, velocity=0.8, diffusivity=0.1)},
        [(0.0, 2.0), (0.3, 1.5)],
    ),
    "layer": (AdvectionDiffusion(0.05, (1.0,)), lambda x, t: {"c": boundary_layer(x, peclet=20.0)}, [(0.0, 1.0), (0, 1)]),
}


@pytest.mark.parametrize("name", CASES)
def test_solves_the_law(name):
    law, exact, bounds = CASES[name]
    residual, scale = residual_at_points(law, exact, *bounds)
    # rounding of second derivatives of size 1e2 to 1e3
    assert residual["c"] < 1e-11 * max(1.0, scale)


def test_a_wrong_diffusivity_shows():
    _, exact, bounds = CASES["shear"]
    residual, scale = residual_at_points(AdvectionDiffusion(0.101, (lambda x, y, t: 1.7 * (y + 0.1), 0.0)), exact, *bounds)
    assert residual["c"] > 1e-3 * scale


def test_puff_loses_mass_by_decay_alone_and_moves_with_the_wind():
    grid = CartesianGrid((60, 60, 60), extent=(6.0, 8.0, 12.0), origin=(-3.0, -4.0, -6.0))
    places = grid.coordinates()
    c = decaying_puff(places, 1.2, **PUFF)
    volume = grid.weights() * 6 * 8 * 12
    # the sum of a smooth function that vanishes at the ends is its integral to rounding
    assert abs(float((c * volume).sum()) - 2 * math.exp(-0.72)) < 1e-8
    share = c * volume / (c * volume).sum()
    for place, k, v in zip(places, PUFF["diffusivity"], PUFF["velocity"], strict=True):
        assert abs(float((share * place).sum()) - 1.2 * v) < 1e-8
        assert abs(float((share * (place - 1.2 * v) ** 2).sum()) - 2.4 * k) < 1e-7


def test_shear_stretches_as_the_cube_of_time():
    grid = CartesianGrid((120, 200), extent=(12.0, 30.0), origin=(-6.1, -14.8))
    x, y = grid.coordinates()
    c = sheared_gaussian(x, y, 2.0, **SHEAR)
    share = c * grid.weights() * 360
    moments = [float((share * f).sum()) for f in (torch.ones_like(x), (y + 0.1) ** 2, (x - 0.2) * (y + 0.1), (x - 0.2) ** 2)]
    wanted = [1.0, 0.4, 0.1 * 1.7 * 4, 0.4 * (1 + (1.7 * 2) ** 2 / 3)]
    assert max(abs(a - b) for a, b in zip(moments, wanted, strict=True)) < 1e-7


def test_rotation_returns_after_one_turn():
    x, y = (torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    still = {**TURN, "diffusivity": 0.0}
    torch.testing.assert_close(rotating_gaussian(x, y, 2 * math.pi / 1.5, **still), rotating_gaussian(x, y, 0.0, **still))
    assert float((rotating_gaussian(x, y, math.pi / 1.5, **still) - rotating_gaussian(x, y, 0.0, **still)).abs().max()) > 0.1


def test_plume_passes_its_rate_through_every_plane_and_nothing_through_the_ground():
    y, z = torch.meshgrid(torch.linspace(-12, 12, 481, dtype=torch.float64), (torch.arange(400, dtype=torch.float64) + 0.5) * 0.03, indexing="ij")
    for distance in (0.5, 4.0):
        c = ground_plume(torch.full_like(y, distance), y, z, **PLUME)
        # midpoint sums; at the ground the slope vanishes, so that they are exact to the tails
        assert abs(float(2.0 * c.sum() * 0.05 * 0.03) - 3.0) < 1e-5
    low = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ground_plume(torch.full_like(low, 1.0), torch.zeros_like(low), low, **PLUME).sum(), low)
    assert float(slope.abs().max()) < 1e-14


def test_ogata_banks_holds_the_inlet_and_does_not_overflow():
    at_inlet = ogata_banks(torch.zeros(3, dtype=torch.float64), line([0.1, 1.0, 100.0]), velocity=0.8, diffusivity=0.1)
    torch.testing.assert_close(at_inlet, torch.ones_like(at_inlet), rtol=0, atol=1e-15)
    # e^(v x / K) alone would be e^8000
    far = ogata_banks(line([10.0, 10.5, 200.0]), 12.5, velocity=0.8, diffusivity=1e-3)
    assert bool(far.isfinite().all()) and abs(float(far[0]) - 0.5) < 0.01 and float(far[2]) == 0.0


def test_ogata_banks_against_scipy():
    special = pytest.importorskip("scipy.special")
    x, t, v, k = 1.3, 0.9, 0.8, 0.1
    root = 2 * math.sqrt(k * t)
    wanted = 0.5 * (special.erfc((x - v * t) / root) + math.exp(v * x / k) * special.erfc((x + v * t) / root))
    assert abs(float(ogata_banks(line([x]), t, velocity=v, diffusivity=k)) - wanted) < 1e-14


def test_boundary_layer_holds_both_ends_for_any_peclet_number():
    for peclet in (-1e4, -20.0, -1e-3, 0.0, 1e-3, 20.0, 1e4):
        ends = boundary_layer(line([0.0, 1.0]), peclet=peclet)
        torch.testing.assert_close(ends, line([0.0, 1.0]), rtol=0, atol=1e-15)
    x = line([0.2, 0.5, 0.9])
    torch.testing.assert_close(boundary_layer(x, peclet=3.0), torch.expm1(3 * x) / math.expm1(3.0))
    # turned round, the layer of the opposite wind
    torch.testing.assert_close(boundary_layer(x, peclet=-3.0), 1 - boundary_layer(1 - x, peclet=3.0))
