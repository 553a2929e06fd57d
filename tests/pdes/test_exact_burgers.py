"""Exact solutions of Burgers' equation: they solve it, meet golden values and have the properties they are known for."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.pdes.burgers import Burgers, VectorBurgers
from physdiff.pdes.exact import cole_hopf_sine
from physdiff.pdes.exact_burgers import bessel_sine, n_wave, oblique_waves, plane_front, riemann, viscous_shock
from tests.pdes.budget import residual_at_points


def line(*values):
    return torch.tensor(values, dtype=torch.float64)


OBLIQUE = {"viscosity": 0.05, "wave_vector": (0.5, -2 / 1.5), "extent": 1.0}
CASES = {
    "shock": (Burgers(0.05), lambda x, t: {"u": viscous_shock(x, t, viscosity=0.05, left=1.2, right=-0.4, position=0.1)}, [(-1, 1), (0, 1)]),
    "fan": (Burgers(0.0), lambda x, t: {"u": riemann(x, t, left=-0.5, right=1.5, position=0.2)}, [(-1, 2), (0.5, 1)]),
    "n-wave": (Burgers(0.05), lambda x, t: {"u": n_wave(x, t, viscosity=0.05, scale=40.0)}, [(-3, 3), (0.7, 1.5)]),
    "series": (Burgers(0.1), lambda x, t: {"u": bessel_sine(x, t, viscosity=0.1)}, [(0, 1), (0.1, 1)]),
    "oblique": (Burgers(0.05), lambda x, y, t: {"u": oblique_waves(x, y, t, **OBLIQUE)}, [(0, 2), (0, 1.5), (0, 0.5)]),
    "oblique, vector": (
        VectorBurgers(0.05),
        lambda x, y, t: dict.fromkeys(("velocity_x", "velocity_y"), oblique_waves(x, y, t, **OBLIQUE)),
        [(0, 2), (0, 1.5), (0, 0.5)],
    ),
    "front": (VectorBurgers(0.02), lambda x, y, t: plane_front(x, y, t, viscosity=0.02), [(0, 1), (0, 1), (0, 1)]),
}


@pytest.mark.parametrize("name", CASES)
def test_solves_the_law(name):
    law, exact, bounds = CASES[name]
    residual, scale = residual_at_points(law, exact, *bounds)
    # rounding of second derivatives of size 1e2 to 1e3
    assert max(residual.values()) < 1e-10 * max(1.0, scale)
    assert scale > 1e-2


def test_golden_value_of_the_series_and_its_start():
    # methods card, section 5
    assert abs(float(bessel_sine(line(0.5), 1.0, viscosity=0.1)) - 0.29191596) < 5e-9
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(bessel_sine(x, 0.0, viscosity=0.1), torch.sin(math.pi * x), rtol=0, atol=1e-13)
    # two ways to the same solution: the smaller the viscosity, the more the series cancels
    for viscosity, tolerance in ((0.1, 1e-13), (0.02, 1e-10)):
        got, wanted = bessel_sine(x, 0.5, viscosity=viscosity), cole_hopf_sine(x - 1, 0.5, viscosity=viscosity)
        assert float((got - wanted).abs().max()) < tolerance


def test_shock_tends_to_the_inviscid_one_and_keeps_still_if_its_states_are_opposite():
    x = line(-0.3, -0.01, 0.09, 0.11, 0.5)
    thin = viscous_shock(x, 0.1, viscosity=1e-4, left=1.5, right=0.5)
    torch.testing.assert_close(thin, riemann(x, 0.1, left=1.5, right=0.5), rtol=0, atol=1e-10)
    kind = {"viscosity": 0.1, "left": 1.0, "right": -1.0}
    assert torch.equal(viscous_shock(x, 0.0, **kind), viscous_shock(x, 7.0, **kind))


def test_fan_spreads_between_both_states():
    x = line(-1.0, -0.5, 0.0, 0.4, 1.2)
    torch.testing.assert_close(riemann(x, 0.5, left=-1.0, right=1.0), line(-1.0, -1.0, 0.0, 0.8, 1.0))
    torch.testing.assert_close(riemann(line(-0.1, 0.1), 0.0, left=-1.0, right=1.0), line(-1.0, 1.0))


def test_each_half_of_the_n_wave_has_the_area_it_should():
    x = (torch.arange(8000, dtype=torch.float64) + 0.5) * 1e-3
    for t in (0.5, 2.0):
        area = float(n_wave(x, t, viscosity=0.05, scale=40.0).sum()) * 1e-3
        # the midpoint rule: second order
        assert abs(area - 0.1 * math.log1p(math.sqrt(40 / t))) < 1e-6
    assert bool(n_wave(line(-1e3, 1e3), 0.5, viscosity=1e-3).abs().max() == 0)


def test_diagonal_wave_obeys_its_reduced_equation():
    xi, t = (v.requires_grad_() for v in (line(0.1, 0.35, 0.8), line(0.1, 0.2, 0.3)))
    w = oblique_waves(xi, torch.zeros_like(xi), t, viscosity=0.05, wave_vector=(1.0, 1.0), extent=1.0)
    slope, rate = torch.autograd.grad(w.sum(), (xi, t), create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), xi)
    torch.testing.assert_close(rate.detach(), (2 * 0.05 * bend - 2 * w * slope).detach())


def test_what_is_no_such_solution_is_refused():
    x = line(0.0)
    with pytest.raises(InputError, match="see riemann"):
        viscous_shock(x, 0.0, viscosity=0.1, left=0.0, right=1.0)
    with pytest.raises(InputError, match="at least 0.02"):
        bessel_sine(x, 0.0, viscosity=0.003)
    with pytest.raises(InputError, match="not zero"):
        oblique_waves(x, x, 0.0, viscosity=0.1, wave_vector=(1.0, -1.0), extent=1.0)
