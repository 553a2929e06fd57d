"""Allen-Cahn: its text, the energy that falls, walls that move by curvature, batched parameters, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import EULER, RungeKutta
from physdiff.solvers.solve import solve

PLANE = CartesianGrid((24, 40), extent=(1.5, 2.0))
KX, KY = math.pi, 2 * math.pi / 1.5


def field():
    x, y = PLANE.coordinates()
    return (0.2 + 0.6 * torch.sin(KX * x + 2 * KY * y) + 0.3 * torch.cos(2 * KX * x - KY * y + 1.0))[None]


def test_the_text_is_the_equation():
    x, y = PLANE.coordinates()
    u = field()
    lap = -0.6 * (KX**2 + 4 * KY**2) * torch.sin(KX * x + 2 * KY * y) - 0.3 * (4 * KX**2 + KY**2) * torch.cos(2 * KX * x - KY * y + 1.0)
    torch.testing.assert_close(AllenCahn(0.02, 5.0).rhs({"u": u}, Spectral(PLANE), 0.0)["u"], 0.02 * lap + 5 * u - 5 * u**3)


def test_budget_is_the_derivative_of_the_invariants():
    D, law, u = Spectral(PLANE), AllenCahn(0.02, 3.0), field()
    rate = law.rhs({"u": u}, D, 0.0)["u"]
    # the energy is quartic, for which this difference is exact
    values = {s: law.invariants({"u": u + s * rate / 10}, PLANE) for s in (-2, -1, 1, 2)}
    expected = law.expected_rates({"u": u}, D, 0.0, grid=PLANE)
    for name in ("mass", "energy"):
        change = 10 * (8 * (values[1][name] - values[-1][name]) - values[2][name] + values[-2][name]) / 12
        torch.testing.assert_close(change, expected[name], atol=1e-12, rtol=1e-10)
        assert float(expected[name].abs()) > 0.1
    assert set(law.invariants({"u": u}, CartesianGrid((24, 40), periodic=False))) == {"mass"}


def test_energy_falls():
    law, D = AllenCahn(0.005, 4.0), Spectral(CartesianGrid((48, 64), extent=(1.5, 2.0)))
    start = torch.randn(2, 48, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = solve(ETDRK4(law, D), {"u": start}, torch.linspace(0, 2, 21, dtype=torch.float64), substeps=5)
    energy = law.invariants(u, D.grid)["energy"]
    assert bool((energy.diff(dim=1) < 0).all())


def test_values_stay_between_the_phases():
    """Second-order differences with a step below 1 / (4 kappa / h^2 + 2 r) = 0.035 are monotone."""
    law, D = AllenCahn(0.005, 4.0), FiniteDifference(CartesianGrid((48, 64), extent=(1.5, 2.0)))
    start = torch.randn(2, 48, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(-1, 1)
    u = solve(RungeKutta(law, D, EULER), {"u": start}, torch.linspace(0, 2, 6, dtype=torch.float64), substeps=20)["u"]
    assert float(u.abs().max()) == 1.0 and float(u[:, 1:].abs().max()) < 1
    assert float(u[:, -1].abs().mean()) > 0.7  # and they go to the phases


def test_a_ring_shrinks_by_its_curvature():
    """R^2 falls at the rate 2 kappa where the wall is thin against R."""
    kappa, grid = 0.02, CartesianGrid((96, 128), extent=(3.0, 4.0), origin=(-1.5, -2.0))
    law, (x, y) = AllenCahn(kappa, 16.0), grid.coordinates()
    start = torch.tanh((1.0 - (x**2 + y**2).sqrt()) * math.sqrt(16.0 / (2 * kappa)))[None]
    times = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)
    u = solve(ETDRK4(law, Spectral(grid)), {"u": start}, times, substeps=100)
    area = (law.invariants(u, grid)["mass"][0] + 1) / 2 * 12.0 / math.pi
    # corrections are of the order of the width over R, squared: (0.05)^2
    torch.testing.assert_close((area[1] - area[2]) / 4.0, torch.tensor(2 * kappa, dtype=torch.float64), rtol=0.01, atol=0)


def test_batched_parameters_equal_single_solves():
    kappa, rate = torch.tensor([0.02, 0.05], dtype=torch.float64), torch.tensor([3.0, 1.0], dtype=torch.float64)
    times, law = torch.tensor([0.0, 0.2], dtype=torch.float64), AllenCahn(kappa, rate)
    together = solve(ETDRK4(law, Spectral(PLANE)), {"u": field().expand(2, -1, -1).clone()}, times, substeps=5)
    for i in range(2):
        one = AllenCahn(float(kappa[i]), float(rate[i]))
        alone = solve(ETDRK4(one, Spectral(PLANE)), {"u": field()}, times, substeps=5)
        torch.testing.assert_close(together["u"][i : i + 1], alone["u"], rtol=0, atol=1e-13)
        torch.testing.assert_close(law.invariants(together, PLANE)["energy"][i], one.invariants(alone, PLANE)["energy"][0])
    assert float((together["u"][0] - together["u"][1]).abs().max()) > 0.01


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="AllenCahn diffusivity: expected values that are not negative"):
        AllenCahn(-1e-4)
    with pytest.raises(InputError, match="AllenCahn rate: expected values that are not negative and finite, got -5"):
        AllenCahn(1e-4, torch.tensor([5.0, -5.0]))


def test_it_is_built_again_from_its_description():
    law = build(describe(AllenCahn(1e-4, rate=5.0)))
    assert (law.diffusivity, law.rate) == (1e-4, 5.0)
