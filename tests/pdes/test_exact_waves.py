"""Exact waves: they solve their laws at scattered points and on lines with ends, and have the properties they are known for."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.exact_waves import (
    bistable_front,
    cnoidal_wave,
    fisher_front,
    korteweg_soliton,
    kuramoto_shock,
    logistic,
    schroedinger_breather,
    schroedinger_soliton,
)
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.reaction_diffusion import FitzHughNagumo, GrayScott
from physdiff.pdes.schroedinger import NonlinearSchroedinger
from tests.pdes.budget import residual_at_points

LOW, HIGH = 0.5 * (1 - math.sqrt(0.6)), 0.5 * (1 + math.sqrt(0.6))
LEFT, RIGHT = (0.5 * (-0.2 + sign * math.sqrt(4 - 3 * 0.04)) for sign in (-1, 1))


def oblique(*places_and_time, **kind):
    *x, t = places_and_time
    return bistable_front(x, t, direction=(2.0, -1.0, 0.5)[: len(x)], position=0.3, **kind)


def eaten(x, y, t):
    v = oblique(x, y, t, diffusivity=0.05, rate=1.0, roots=(0.0, LOW, HIGH))
    return {"u": 1 - v, "v": v}


def excited(x, y, t):
    u = oblique(x, y, t, diffusivity=0.05, rate=1.0, roots=(LEFT, 0.2, RIGHT))
    return {"u": u, "v": torch.full_like(u, -0.1)}


CASES = {
    "wall": (AllenCahn(0.05, 2.0), 3, lambda x, y, z, t: {"u": oblique(x, y, z, t, diffusivity=0.05, rate=2.0, roots=(-1.0, 0.0, 1.0))}),
    "invasion": (AllenCahn(0.05, 2.0), 2, lambda x, y, t: {"u": oblique(x, y, t, diffusivity=0.05, rate=2.0, roots=(0.0, -1.0, 1.0))}),
    "eater": (GrayScott((0.05, 0.05), 0.1, 0.0), 2, eaten),
    "excitation": (FitzHughNagumo((0.05, 0.01), 0.2 - 0.008 + 0.1, 0.0), 2, excited),
    "soliton": (KortewegDeVries(), 1, lambda x, t: {"u": korteweg_soliton(x, t, speed=2.0, position=-0.2)}),
    "soliton the other way": (
        KortewegDeVries(-3.0, -0.5),
        1,
        lambda x, t: {"u": korteweg_soliton(x, t, speed=-0.7, nonlinearity=-3.0, dispersion=-0.5)},
    ),
    "cnoidal": (KortewegDeVries(2.0, 0.3), 1, lambda x, t: {"u": cnoidal_wave(x, t, extent=3.0, speed=1.2, nonlinearity=2.0, dispersion=0.3)}),
    "shock": (KuramotoSivashinsky(), 1, lambda x, t: {"u": kuramoto_shock(x, t, speed=0.4)}),
    "shock in other units": (
        KuramotoSivashinsky(2.0, 0.7, 0.2),
        1,
        lambda x, t: {"u": kuramoto_shock(x, t, speed=-0.4, nonlinearity=2.0, growth=0.7, damping=0.2, position=0.1)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_solves_its_law_at_scattered_points(name):
    law, ndim, exact = CASES[name]
    generator = torch.Generator().manual_seed(0)
    *x, t = (torch.rand(60, dtype=torch.float64, generator=generator).mul(2).sub(1).requires_grad_() for _ in range(ndim + 1))
    u = exact(*x, t)
    left = law.residual(u, Autograd(tuple(x), t), 0.0)
    ops = Autograd(tuple(x), t)
    for field, value in left.items():
        # rounding of at most fourth derivatives of order 1e2
        assert float(value.detach().abs().max()) < 1e-11, field
    assert float(ops.dt(u[law.fields[0]]).detach().abs().max()) > (0.05 if name != "wall" else -1)


@pytest.mark.parametrize("name", ["shock", "soliton"])
def test_on_a_line_with_ends_finite_differences_see_it_to_their_order(name):
    law, _, exact = CASES[name]
    errors = []
    for n in (100, 200):
        grid = CartesianGrid(n, extent=16.0, origin=-8.0, periodic=False)
        (x,) = grid.coordinates()
        time = torch.full_like(x, 0.1).requires_grad_()
        u = exact(x, time)["u"]
        (rate,) = torch.autograd.grad(u.sum(), time)
        got = law.rhs({"u": u.detach()[None]}, FiniteDifference(grid, order=6), 0.1)["u"][0]
        # a derivative of a derivative is of lower order within a stencil of the ends
        errors.append(float((got - rate)[n // 8 : -n // 8].abs().max()))
    assert abs(math.log2(errors[0] / errors[1]) - 6) < 0.4, errors


def test_periodic_wave_is_periodic_and_becomes_the_soliton():
    x = torch.linspace(-20, 20, 81, dtype=torch.float64)
    wave = cnoidal_wave(x, 0.3, extent=4.0, speed=1.5, position=0.7)
    torch.testing.assert_close(wave[:-8], wave[8:])
    # the next crests are exp(-2 s L) = 1e-21 away in height
    torch.testing.assert_close(cnoidal_wave(x, 0.3, extent=40.0, speed=1.5), korteweg_soliton(x, 0.3, speed=1.5))


def test_soliton_height_and_mass():
    x = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    u = korteweg_soliton(x, 0.0, speed=0.8, nonlinearity=2.0, dispersion=0.5)
    assert abs(float(u.max()) - 3 * 0.8 / 2) < 1e-14
    # integral of sech^2 is 2: mass 2 (3 c/a) / s
    assert abs(float(torch.trapezoid(u, x)) - 2 * 1.2 / (0.5 * math.sqrt(1.6))) < 1e-9


def test_front_joins_its_states_and_a_wall_between_equal_phases_rests():
    x = torch.tensor([-50.0, 50.0], dtype=torch.float64)
    ends = bistable_front((x,), 0.0, diffusivity=0.5, rate=1.0, roots=(-1.0, 0.0, 1.0))
    torch.testing.assert_close(ends, torch.tensor([1.0, -1.0], dtype=torch.float64))
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    wall = bistable_front((x,), 7.0, diffusivity=0.5, rate=1.0, roots=(-1.0, 0.0, 1.0), direction=(-2.0,))
    torch.testing.assert_close(wall, torch.tanh(x))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: bistable_front((x,), 0.0, diffusivity=0.1, rate=1.0, roots=(1.0, 0.0, -1.0)), "turn the direction"),
        (lambda x: bistable_front((x,), 0.0, diffusivity=0.0, rate=1.0, roots=(0.0, -1.0, 1.0)), "diffusivity: expected a positive"),
        (lambda x: korteweg_soliton(x, 0.0, speed=-1.0), "speed of the sign of the dispersion"),
        (lambda x: korteweg_soliton(x, 0.0, speed=1.0, nonlinearity=0.0), "nonlinearity other than zero"),
        (lambda x: cnoidal_wave(x, 0.0, extent=1.0, speed=1.0), "take a faster wave"),
        (lambda x: kuramoto_shock(x, 0.0, damping=-1.0), "damping: expected a positive"),
        (lambda x: kuramoto_shock(x, 0.0, nonlinearity=0.0), "there is no shock"),
    ],
)
def test_what_is_no_wave_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(torch.zeros(3, dtype=torch.float64))


def test_fisher_front_solves_its_law_and_runs_at_its_speed():
    law = FisherKPP(0.05, 2.0)
    residual, scale = residual_at_points(law, lambda x, t: {"u": fisher_front(x, t, diffusivity=0.05, rate=2.0, position=0.2)}, (-1, 2), (0, 1))
    assert residual["u"] < 1e-12 * max(1.0, scale)
    middle = torch.tensor([0.2 + 5 * math.sqrt(2.0 * 0.05 / 6) * 0.7], dtype=torch.float64)
    assert abs(float(fisher_front(middle, 0.7, diffusivity=0.05, rate=2.0, position=0.2)) - 0.25) < 1e-14


def test_logistic_growth_solves_the_law_without_diffusion():
    law = FisherKPP(0.05, 2.0)
    residual, scale = residual_at_points(law, lambda x, t: {"u": logistic(0.1 + 0 * x, t, rate=2.0)}, (0, 1), (0, 3))
    assert residual["u"] < 1e-13 and scale > 0.1


def test_schroedinger_soliton_and_breather_solve_their_laws():
    soliton = {"steepness": 1.3, "speed": -0.8, "dispersion": 0.4, "nonlinearity": 1.5, "position": 0.3}
    cases = {
        "soliton": (NonlinearSchroedinger(0.4, 1.5), lambda x, t: schroedinger_soliton(x, t, **soliton)),
        "breather": (NonlinearSchroedinger(0.5, 1.0), schroedinger_breather),
    }
    for law, exact in cases.values():
        residual, scale = residual_at_points(law, exact, (-3, 3), (0, 2))
        assert max(residual.values()) < 1e-12 * max(1.0, 10 * scale)
        assert scale > 0.5


def test_the_breather_starts_as_twice_a_soliton_and_returns():
    x = torch.linspace(-30, 30, 61, dtype=torch.float64)
    start, later = schroedinger_breather(x, 0.0), schroedinger_breather(x, math.pi / 2)
    torch.testing.assert_close(start["real"], 2 / torch.cosh(x))
    sizes = [torch.hypot(u["real"], u["imaginary"]) for u in (start, later, schroedinger_breather(x, math.pi / 4))]
    torch.testing.assert_close(sizes[0], sizes[1])
    assert abs(float(sizes[2].max()) - 4) < 1e-12
