"""Gray-Scott and FitzHugh-Nagumo: text, budgets, positivity, rest states, batched parameters, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.reaction_diffusion import FitzHughNagumo, GrayScott
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import EULER, SSPRK3, RungeKutta
from physdiff.solvers.solve import solve

PLANE = CartesianGrid((24, 40), extent=(1.5, 2.0))
KX, KY = math.pi, 2 * math.pi / 1.5
SPOTS, NERVE = GrayScott((0.02, 0.01), 0.04, 0.06), FitzHughNagumo((0.02, 0.05), 0.1, 0.7, 1.3)


def fields():
    x, y = PLANE.coordinates()
    u = 0.5 + 0.3 * torch.sin(KX * x + 2 * KY * y) + 0.1 * torch.cos(2 * KX * x - KY * y + 1.0)
    v = 0.3 + 0.2 * torch.cos(3 * KX * x + 0.4) + 0.1 * torch.sin(KX * x + KY * y)
    return {"u": u[None], "v": v[None]}


def laplacians():
    x, y = PLANE.coordinates()
    first = 0.3 * (KX**2 + 4 * KY**2) * torch.sin(KX * x + 2 * KY * y) + 0.1 * (4 * KX**2 + KY**2) * torch.cos(2 * KX * x - KY * y + 1.0)
    second = 1.8 * KX**2 * torch.cos(3 * KX * x + 0.4) + 0.1 * (KX**2 + KY**2) * torch.sin(KX * x + KY * y)
    return -first[None], -second[None]


def test_the_text_of_gray_scott_is_the_equation():
    f, (lap_u, lap_v) = fields(), laplacians()
    u, v = f["u"], f["v"]
    got = SPOTS.rhs(f, Spectral(PLANE), 0.0)
    torch.testing.assert_close(got["u"], 0.02 * lap_u - u * v**2 + 0.04 * (1 - u))
    torch.testing.assert_close(got["v"], 0.01 * lap_v + u * v**2 - 0.1 * v)


def test_the_text_of_fitzhugh_nagumo_is_the_equation():
    f, (lap_u, lap_v) = fields(), laplacians()
    u, v = f["u"], f["v"]
    got = NERVE.rhs(f, Spectral(PLANE), 0.0)
    torch.testing.assert_close(got["u"], 0.02 * lap_u + u - u**3 - v - 0.1)
    torch.testing.assert_close(got["v"], 0.05 * lap_v + 0.7 * (u - 1.3 * v))


@pytest.mark.parametrize("law", [SPOTS, NERVE], ids=["GrayScott", "FitzHughNagumo"])
def test_budget_is_the_derivative_of_the_invariants(law):
    D, u = Spectral(PLANE), fields()
    rate = law.rhs(u, D, 0.0)
    # invariants are at most quadratic, so half the difference over u + du and u - du is the exact derivative along du
    ahead, behind = (law.invariants({k: u[k] + sign * rate[k] for k in u}, PLANE) for sign in (1, -1))
    expected = law.expected_rates(u, D, 0.0, grid=PLANE)
    assert set(expected) == set(ahead)
    for name, wanted in expected.items():
        torch.testing.assert_close((ahead[name] - behind[name]) / 2, wanted, atol=1e-12, rtol=1e-10)
        assert float(wanted.abs()) > 1e-3


def test_mass_balance_of_gray_scott_to_rounding():
    """Without deaths <u + v> - 1 decays at the rate of the feed, whatever is eaten."""
    law, times = GrayScott((0.02, 0.01), 0.3, 0.0), torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    u = solve(ETDRK4(law, Spectral(PLANE)), fields(), times, substeps=20)
    mass = law.invariants(u, PLANE)["mass"][0]
    # the exponential integrator takes the decay and a constant feed without error
    torch.testing.assert_close(mass - 1, (mass[0] - 1) * torch.exp(-0.3 * times), rtol=0, atol=1e-13)
    assert float((u["v"][0, 1].mean() - u["v"][0, 0].mean() * math.exp(-0.3)).abs()) > 0.01


@pytest.mark.parametrize("tableau", [EULER, SSPRK3], ids=["Euler", "SSPRK3"])
def test_concentrations_stay_positive_from_any_start(tableau):
    """Second-order differences with a step below 1 / (4 D / h^2 + v^2 + F + k) form averages of values that are not negative."""
    noise = torch.rand(2, 24, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = {"u": (noise[:1] > 0.7).double(), "v": (noise[1:] > 0.6).double()}
    ops = FiniteDifference(PLANE)
    # 2 D (1 / 0.05^2 + 1 / 0.0625^2) = 26.2, v^2 < 4
    u = solve(RungeKutta(SPOTS, ops, tableau), start, torch.linspace(0, 3, 7, dtype=torch.float64), substeps=20)
    assert float(u["u"].min()) == 0.0 and float(u["v"].min()) == 0.0  # the start has zeros
    assert float(u["u"][:, 1:].min()) > 0 and float(u["v"][:, 1:].min()) > 0
    assert float(u["u"].max()) <= 1.0


def test_resolved_concentrations_stay_positive_with_the_spectral_solver():
    grid = CartesianGrid((60, 80), extent=(1.5, 2.0))
    x, y = grid.coordinates()
    spot = torch.exp(2 * (torch.cos(KX * x - 1.0) + torch.cos(KY * y - 0.4) - 2))
    start = {"u": (1 - 0.5 * spot)[None], "v": (0.25 * spot)[None]}
    law = GrayScott((1e-3, 5e-4), 0.04, 0.06)
    u = solve(ETDRK4(law, Spectral(grid)), start, torch.linspace(0, 200, 6, dtype=torch.float64), substeps=40)
    assert float(u["u"].min()) > 0 and float(u["v"].min()) > -1e-9
    assert float(u["v"][0, -1].max()) > 0.3 and float(u["v"][0, -1].mean()) > 4 * float(u["v"][0, 0].mean())  # alive: it spreads


def test_gray_scott_rests_without_eaters():
    nothing = {"u": torch.ones(1, 24, 40, dtype=torch.float64), "v": torch.zeros(1, 24, 40, dtype=torch.float64)}
    for rate in GrayScott().rhs(nothing, Spectral(PLANE), 0.0).values():
        assert float(rate.abs().max()) < 1e-15


@pytest.mark.parametrize("kind", [GrayScott, FitzHughNagumo])
def test_batched_parameters_equal_single_solves(kind):
    a, b, c = (torch.tensor(v, dtype=torch.float64) for v in ([0.02, 0.01], [0.1, 0.3], [0.2, 0.6]))
    times, law = torch.tensor([0.0, 0.5], dtype=torch.float64), kind((a, 0.05), b, c)
    assert law.batch == 2
    start = {k: v.expand(2, -1, -1).clone() for k, v in fields().items()}
    together = solve(ETDRK4(law, Spectral(PLANE)), start, times, substeps=5)
    rates = law.expected_rates(together, Spectral(PLANE), 0.0, grid=PLANE)
    for i in range(2):
        one = kind((float(a[i]), 0.05), float(b[i]), float(c[i]))
        alone = solve(ETDRK4(one, Spectral(PLANE)), fields(), times, substeps=5)
        for name in ("u", "v"):
            torch.testing.assert_close(together[name][i : i + 1], alone[name], rtol=0, atol=1e-13)
        for name, rate in one.expected_rates(alone, Spectral(PLANE), 0.0, grid=PLANE).items():
            torch.testing.assert_close(rates[name][i : i + 1], rate)
        for name, value in one.invariants(alone, PLANE).items():
            torch.testing.assert_close(law.invariants(together, PLANE)[name][i : i + 1], value)
    assert float((together["u"][0] - together["u"][1]).abs().max()) > 0.01


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GrayScott(2e-5), "GrayScott diffusivity: expected a tuple of two"),
        (lambda: GrayScott((2e-5, -1e-5)), "GrayScott diffusivity of v: expected values that are not negative"),
        (lambda: GrayScott(feed=-0.1), "GrayScott feed: expected values that are not negative"),
        (lambda: GrayScott(kill=math.inf), "GrayScott kill"),
        (lambda: FitzHughNagumo((1e-3, 5e-3, 1.0)), "FitzHughNagumo diffusivity: expected a tuple of two"),
        (lambda: FitzHughNagumo(rate=-1.0), "FitzHughNagumo rate: expected values that are not negative"),
        (lambda: FitzHughNagumo(offset=math.nan), "FitzHughNagumo offset: expected values that are finite"),
        (lambda: FitzHughNagumo(decay=True), "FitzHughNagumo decay: expected a number"),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_they_are_built_again_from_their_descriptions():
    law = build(describe(GrayScott((1e-3, 2e-3), 0.03, kill=0.05)))
    assert (law.diffusivity, law.feed, law.kill) == ((1e-3, 2e-3), 0.03, 0.05)
    law = build(describe(FitzHughNagumo(offset=0.2, rate=0.1)))
    assert (law.diffusivity, law.offset, law.rate, law.decay) == ((1e-3, 5e-3), 0.2, 0.1, 1.0)
