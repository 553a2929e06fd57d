"""Korteweg-de Vries: its text, invariants, solitons by the solver, batched parameters, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.exact_waves import cnoidal_wave, korteweg_soliton
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve

LINE = CartesianGrid(64, extent=3.0)
K = 2 * math.pi / 3.0


def smooth(amplitude=1.0):
    (x,) = LINE.coordinates()
    return (amplitude * (0.3 + torch.sin(K * x + 0.2) + 0.5 * torch.cos(3 * K * x)))[None]


def test_the_text_is_the_equation():
    (x,) = LINE.coordinates()
    u, slope = smooth()[0], K * torch.cos(K * x + 0.2) - 1.5 * K * torch.sin(3 * K * x)
    third = -(K**3) * torch.cos(K * x + 0.2) + 13.5 * K**3 * torch.sin(3 * K * x)
    law = KortewegDeVries(2.0, -0.1)
    torch.testing.assert_close(law.rhs({"u": u[None]}, Spectral(LINE), 0.0)["u"][0], -2.0 * u * slope + 0.1 * third)
    torch.testing.assert_close(law.stiff({"u": u[None]}, Spectral(LINE))["u"], 0.1 * Spectral(LINE).partial(u[None], 0, 3))


def test_the_right_hand_side_keeps_mass_momentum_and_energy():
    D, law = Spectral(LINE), KortewegDeVries(2.0, 0.1)
    u = smooth()
    rate = law.rhs({"u": u}, D, 0.0)["u"]
    # invariants are cubic, so this difference of fourth order over a direction of the rate's size is the exact derivative
    values = {s: law.invariants({"u": u + s * rate / 100}, LINE) for s in (-2, -1, 1, 2)}
    expected = law.expected_rates({"u": u}, D, 0.0, grid=LINE)
    for name in ("mass", "momentum", "energy"):
        change = 100 * (8 * (values[1][name] - values[-1][name]) - values[2][name] + values[-2][name]) / 12
        torch.testing.assert_close(change, expected[name], atol=1e-10, rtol=0)
    assert "energy" not in law.invariants({"u": u}, CartesianGrid(64, periodic=False))


def test_solver_keeps_the_invariants():
    law = KortewegDeVries(1.0, 0.0025)
    grid = CartesianGrid(128, extent=2.0, origin=-1.0)
    start = torch.cos(math.pi * grid.coordinates()[0])[None]
    drift = []
    for steps in (200, 400):
        u = solve(ETDRK4(law, Spectral(grid)), {"u": start}, torch.tensor([0.0, 0.5], dtype=torch.float64), substeps=steps)
        values = law.invariants(u, grid)
        # mass to rounding; the others to the error of the steps
        assert float((values["mass"][:, 1] - values["mass"][:, 0]).abs()) < 1e-15
        drift.append([float((values[name][:, 1] - values[name][:, 0]).abs()) for name in ("momentum", "energy")])
    print("drift of momentum and energy", drift)
    assert max(drift[1]) < 1e-6
    # the drift of a quadratic invariant by a method of order 4 falls at least with the fourth power
    assert all(math.log2(a / b) > 3.75 for a, b in zip(*drift, strict=True)), drift


def error(steps, *, points, extent, exact):
    grid = CartesianGrid(points, extent=extent, origin=-extent / 2)
    (x,) = grid.coordinates()
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    found = solve(ETDRK4(KortewegDeVries(), Spectral(grid)), {"u": exact(x, 0.0)[None]}, times, substeps=steps)["u"][0, -1]
    return float((found - exact(x, 1.0)).abs().max())


WAVES = {
    # tails of exp(-20 x 1.41) = 1e-12 at the ends
    "soliton": (288, 44.0, lambda x, t: korteweg_soliton(x, t, speed=2.0, position=-1.0)),
    "cnoidal": (96, 8.0, lambda x, t: cnoidal_wave(x, t, extent=8.0, speed=2.0)),
}


@pytest.mark.parametrize("name", WAVES)
def test_order_of_the_exponential_integrator(name):
    points, extent, exact = WAVES[name]
    errors = [error(n, points=points, extent=extent, exact=exact) for n in (80, 160, 320)]
    rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    print(name, *(f"{e:.1e}" for e in errors), "orders", *(f"{r:.2f}" for r in rates))
    assert all(abs(rate - 4) < 0.25 for rate in rates), (errors, rates)
    assert errors[-1] < 1e-6


def test_batched_parameters_equal_single_solves():
    a, b = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64), torch.tensor([0.01, 0.02, 0.005], dtype=torch.float64)
    times = torch.tensor([0.0, 0.1], dtype=torch.float64)
    together = solve(ETDRK4(KortewegDeVries(a, b), Spectral(LINE)), {"u": smooth().expand(3, -1).clone()}, times, substeps=20)["u"]
    for i in range(3):
        alone = solve(ETDRK4(KortewegDeVries(float(a[i]), float(b[i])), Spectral(LINE)), {"u": smooth()}, times, substeps=20)["u"]
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-13)
    energy = KortewegDeVries(a, b).invariants({"u": together}, LINE)["energy"]
    torch.testing.assert_close(energy[2], KortewegDeVries(6.0, 0.005).invariants({"u": together[2:]}, LINE)["energy"][0])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="dispersion: expected values that are finite"):
        KortewegDeVries(1.0, math.inf)
    with pytest.raises(InputError, match="nonlinearity: expected a number"):
        KortewegDeVries("6", 1.0)
    with pytest.raises(ShapeError, match="nonlinearity: expected a Tensor of shape"):
        KortewegDeVries(torch.ones(2, 3))
    with pytest.raises(ShapeError, match="one number of samples"):
        _ = KortewegDeVries(torch.ones(2), torch.ones(3)).batch
    for D in (Spectral(CartesianGrid((8, 12))), FiniteDifference(CartesianGrid((8, 12)))):
        with pytest.raises(InputError, match="expected a line, got operators of 2"):
            KortewegDeVries().rhs({"u": torch.zeros(1, 8, 12, dtype=torch.float64)}, D, 0.0)
    with pytest.raises(InputError, match="expected a line"):
        ETDRK4(KortewegDeVries(), Spectral(CartesianGrid((8, 12))))


def test_it_is_built_again_from_its_description():
    law = build(describe(KortewegDeVries(1.0, 0.022**2)))
    assert (law.nonlinearity, law.dispersion) == (1.0, 0.022**2)
