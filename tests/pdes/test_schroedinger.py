"""Nonlinear Schroedinger: text, what is kept, the dispersion of plane waves, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.schroedinger import NonlinearSchroedinger
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve
from tests.pdes.budget import assert_batched

PLANE = CartesianGrid((24, 40), extent=(1.5, 2.0))
KX, KY = math.pi, 2 * math.pi / 1.5
D = Spectral(PLANE)
X, Y = D.coordinates
U = {"real": (0.6 + 0.3 * torch.sin(KX * X + KY * Y))[None], "imaginary": (0.2 * torch.cos(2 * KX * X - KY * Y))[None]}


def test_the_text_is_the_complex_equation():
    h = torch.complex(U["real"], U["imaginary"])
    bend = torch.complex(D.lap(U["real"]), D.lap(U["imaginary"]))
    got = NonlinearSchroedinger(0.3, 1.7).rhs(U, D, 0.0)
    wanted = 1j * (0.3 * bend + 1.7 * h.abs() ** 2 * h)
    torch.testing.assert_close(torch.complex(got["real"], got["imaginary"]), wanted)


def test_mass_and_energy_are_kept():
    law, step = NonlinearSchroedinger(0.05, 1.7), 1e-3
    rate = law.rhs(U, D, 0.0)
    ahead, behind = (law.invariants({k: U[k] + sign * step * rate[k] for k in U}, PLANE) for sign in (1, -1))
    expected = law.expected_rates(U, D, 0.0, grid=PLANE)
    assert set(expected) == set(ahead) == {"mass", "energy"}
    for name in expected:
        # products of four waves are resolved: what is left is the third derivative times the step squared
        assert float((ahead[name] - behind[name]).abs().max()) / (2 * step) < 1e-4
    assert_batched(lambda d: NonlinearSchroedinger(d, 1.7), [0.1, 0.3], U, D)
    out = solve(RungeKutta(law, D), U, torch.tensor([0.0, 1.0], dtype=torch.float64), substeps=400)
    kept = law.invariants(out, PLANE)
    for name, value in kept.items():
        # fourth order in steps of 0.0025: 1e-8; the cubic term's aliasing is below that
        assert float((value[:, 1] - value[:, 0]).abs().max()) < 1e-6 * float(value[:, 0].abs().max()), name


def test_a_plane_wave_turns_at_its_frequency():
    # h = A exp(i (k . x - w t)) with w = d k^2 - g A^2
    amplitude, k2 = 0.7, KX**2 + (2 * KY) ** 2
    frequency = 0.3 * k2 - 1.7 * amplitude**2
    start = {"real": amplitude * torch.cos(KX * X + 2 * KY * Y)[None], "imaginary": amplitude * torch.sin(KX * X + 2 * KY * Y)[None]}
    out = solve(RungeKutta(NonlinearSchroedinger(0.3, 1.7), D), start, torch.tensor([0.0, 0.1], dtype=torch.float64), substeps=200)
    wanted = amplitude * torch.cos(KX * X + 2 * KY * Y - 0.1 * frequency)
    assert float((out["real"][0, -1] - wanted).abs().max()) < 1e-9


def test_what_is_not_finite_is_refused():
    with pytest.raises(InputError, match="finite"):
        NonlinearSchroedinger(float("inf"))
