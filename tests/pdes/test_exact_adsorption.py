"""Exact answers of a packed column: golden values, residuals, moments, waves."""

import math

import torch

from physdiff.pdes.adsorption import AdvectionAdsorption
from physdiff.pdes.exact_adsorption import adsorption_wave, pulse_response, step_response
from tests.pdes.budget import residual_at_points

COLUMN = {"velocity": 0.7, "adsorption": 1.5, "desorption": 0.8, "ratio": 0.6}
LAW = AdvectionAdsorption((0.7,), 1.5, 0.8, 0.6)


def test_golden_values_of_the_step():
    tau = torch.tensor([5.0, 10.0, 15.0, 20.0], dtype=torch.float64)
    got = step_response(torch.full_like(tau, 10.0), tau + 10.0, velocity=1.0, adsorption=1.0, desorption=1.0)["c"]
    # methods card, section 5: five digits
    assert float((got - torch.tensor([0.11979, 0.54489, 0.86578, 0.97421], dtype=torch.float64)).abs().max()) < 6e-6


def test_step_solves_the_law_behind_its_front():
    # the front is at x = 0.7 t: all points are behind it
    residual, scale = residual_at_points(LAW, lambda x, t: step_response(x, t, **COLUMN), (0.1, 2.0), (3.0, 9.0))
    assert max(residual.values()) < 1e-12
    assert scale > 0.01


def test_step_is_one_at_the_inlet_and_nothing_ahead_of_its_front():
    x = torch.tensor([0.0, 0.5, 5.0], dtype=torch.float64, requires_grad=True)
    u = step_response(x, 2.0, **COLUMN)
    # the bound phase at the inlet meets c = 1: q = (k_a / k_d) (1 - exp(-k_d t))
    wanted = torch.tensor([1.0, 1.5 / 0.8 * (1 - math.exp(-1.6))], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([u["c"][0], u["q"][0]]).detach(), wanted)
    assert float(u["c"][2].detach()) == 0.0 and float(u["q"][2].detach()) == 0.0
    # the front itself: what has not been bound on the way
    front = step_response(torch.tensor([0.7 * 2], dtype=torch.float64), 2.0, **COLUMN)
    assert abs(float(front["c"]) - math.exp(-1.5 * 0.6 * 2)) < 1e-12
    (slope,) = torch.autograd.grad(u["c"].sum(), x)
    assert bool(slope.isfinite().all()) and float(slope[2]) == 0.0


def test_moments_of_the_pulse():
    X = 6.0
    tau = (torch.arange(60000, dtype=torch.float64) + 0.5) * 1e-3
    c = pulse_response(torch.full_like(tau, X), tau) * 1e-3
    mean = float((c * tau).sum())
    # the midpoint rule, second order; the part that passes unbound has the mass e^-X at tau = 0
    assert abs(float(c.sum()) + math.exp(-X) - 1) < 1e-6
    assert abs(mean - X) < 1e-6
    assert abs(float((c * (tau - X) ** 2).sum()) + X**2 * math.exp(-X) - 2 * X) < 1e-5


def test_pulse_is_the_rate_of_change_of_the_step():
    tau = torch.tensor([0.5, 3.0, 12.0], dtype=torch.float64, requires_grad=True)
    c = step_response(torch.full_like(tau, 4.0), tau + 4.0, velocity=1.0, adsorption=1.0, desorption=1.0)["c"]
    (rate,) = torch.autograd.grad(c.sum(), tau)
    torch.testing.assert_close(rate, pulse_response(torch.full_like(tau, 4.0), tau).detach())


def test_wave_solves_the_law_and_is_slowed_to_the_speed_of_equilibrium_when_long():
    law = AdvectionAdsorption((0.7,), 1.5, 0.8, 0.6, 0.1)
    residual, scale = residual_at_points(law, lambda x, t: adsorption_wave(x, t, wave_number=3.0, diffusivity=0.1, **COLUMN), (0, 2), (0, 2))
    assert max(residual.values()) < 1e-13 * max(1.0, 10 * scale)
    x = torch.zeros(1, dtype=torch.float64)
    k, t = 1e-3, 1.0
    wave = adsorption_wave(x, t, wave_number=k, **COLUMN)["c"]
    speed = math.acos(float(wave) / float(adsorption_wave(x + speed_of(t), t, wave_number=k, **COLUMN)["c"])) / (k * t)
    assert abs(speed - 0.7 / (1 + 0.6 * 1.5 / 0.8)) < 1e-3


def speed_of(t):
    """Where the crest of a long wave is: it moves at the speed of equilibrium."""
    return 0.7 / (1 + 0.6 * 1.5 / 0.8) * t
