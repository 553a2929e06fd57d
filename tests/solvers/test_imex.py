"""Implicit-explicit steps: coupled order conditions, published formulas, measured orders, walls, batches, gradients, refusals."""

import math
from dataclasses import dataclass

import pytest
import torch

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.boundary import Dirichlet
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.pde import PDE, Parameter
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.imex import ARS222, ARS443, CN_RK2, CN_RK4, CNAB2, ImexRungeKutta, ImexTableau
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve
from tests.solvers.trees import coupled_defects, order_defects

ALL = (ARS222, ARS443, CN_RK2, CN_RK4)
LINE = CartesianGrid(48, extent=2.0)
(X,) = LINE.coordinates()
START = {"u": (0.4 + torch.sin(math.pi * X) + 0.5 * torch.cos(2 * math.pi * X))[None]}
TIMES = torch.tensor([0.0, 0.25], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Reaction(PDE):
    """u' = -rate u (stiff) + u^2 / 2 + cos t: every grid point on its own."""

    rate: Parameter

    fields = ("u",)

    def stiff(self, u, D):
        return {"u": -self.rate * u["u"]}

    def nonstiff(self, u, D, t):
        return {"u": 0.5 * u["u"] ** 2 + math.cos(t)}


@pytest.mark.parametrize("tableau", ALL, ids=lambda t: t.name)
def test_order_conditions_of_the_pair(tableau):
    defects = coupled_defects(tableau.explicit, tableau.implicit, tableau.order + 1)
    # the published low-storage coefficients have twelve digits
    assert all(d < 1e-11 for order in range(1, tableau.order + 1) for d in defects[order])
    assert max(defects[tableau.order + 1]) > 1e-4


def test_the_explicit_part_of_carpenter_and_kennedys_scheme_is_of_order_four():
    part = CN_RK4.explicit_part()
    defects = order_defects(part.a, part.b, 5)
    assert all(d < 1e-11 for order in range(1, 5) for d in defects[order])
    assert max(defects[5]) > 1e-4


@pytest.mark.parametrize("tableau", [ARS222, ARS443], ids=lambda t: t.name)
def test_what_is_infinitely_stiff_is_gone_after_one_step(tableau):
    law = Reaction(1e12)
    end = ImexRungeKutta(law, FiniteDifference(LINE), tableau).step(START, 0.0, 0.1)["u"]
    assert float(end.abs().max()) < 1e-9


def loops(n, rate, u, t, dt):
    """The formulas of the literature, written out for one point: CN-RK2 and low-storage CN-RK4."""
    z = -rate * dt
    g = u + 0.5 * z * u
    first = (g + dt * n(u, t)) / (1 - 0.5 * z)
    yield (g + 0.5 * dt * (n(u, t) + n(first, t + dt))) / (1 - 0.5 * z)
    alpha = (0, 0.1496590219993, 0.3704009573644, 0.6222557631345, 0.9582821306748, 1)
    beta = (0, -0.4178904745, -1.192151694643, -1.697784692471, -1.514183444257)
    gamma = (0.1496590219993, 0.3792103129999, 0.8229550293869, 0.6994504559488, 0.1530572479681)
    h = 0
    for k in range(5):
        h = n(u, t + alpha[k] * dt) + beta[k] * h
        m = 0.5 * (alpha[k + 1] - alpha[k]) * z
        u = (u + gamma[k] * dt * h + m * u) / (1 - m)
    yield u


@pytest.mark.parametrize("operators", [Spectral(LINE, dealias=False), FiniteDifference(LINE)], ids=["waves", "values"])
def test_crank_nicolson_pairs_are_the_published_loops(operators):
    def n(u, t):
        return 0.5 * u**2 + math.cos(t)

    for wanted, tableau in zip(loops(n, 3.0, START["u"], 0.2, 0.3), (CN_RK2, CN_RK4), strict=True):
        got = ImexRungeKutta(Reaction(3.0), operators, tableau).step(START, 0.2, 0.3)["u"]
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)  # times of the stages agree to twelve digits


def test_the_two_step_method_is_its_formula_and_a_step_is_its_start():
    law, ops, dt = Reaction(3.0), Spectral(LINE, dealias=False), 0.1
    stepper, start = CNAB2(law, ops), ImexRungeKutta(law, ops, CN_RK2)
    one = stepper.advance(stepper.enter(START), 0.2, dt)
    torch.testing.assert_close(stepper.leave(one)["u"], start.step(START, 0.2, dt)["u"])
    torch.testing.assert_close(stepper.step(START, 0.2, dt)["u"], start.step(START, 0.2, dt)["u"])
    two = stepper.leave(stepper.advance(one, 0.3, dt))["u"]
    u = stepper.leave(one)["u"]
    n1, n0 = 0.5 * u**2 + math.cos(0.3), 0.5 * START["u"] ** 2 + math.cos(0.2)
    torch.testing.assert_close(two, ((1 - 0.15) * u + dt * (1.5 * n1 - 0.5 * n0)) / (1 + 0.15))
    assert set(stepper.leave(one)) == {"u"}


def test_steps_of_unequal_length_keep_the_order_of_the_two_step_method():
    stepper, errors = CNAB2(Reaction(1.0), FiniteDifference(LINE)), []
    fine = solve(RungeKutta(Reaction(1.0), FiniteDifference(LINE)), START, torch.tensor([0.0, 0.6]), substeps=200)["u"][:, -1]
    for n in (20, 40):
        state, t = stepper.enter(START), 0.0
        for dt in [0.2 / n, 0.4 / n] * n:
            state, t = stepper.advance(state, t, dt), t + dt
        errors.append(float((stepper.leave(state)["u"] - fine).abs().max()))
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.25, errors


def pair(tableau):
    return lambda pde, ops: ImexRungeKutta(pde, ops, tableau)


METHODS = {**{tableau.name: (tableau.order, pair(tableau)) for tableau in ALL}, "CNAB2": (2, CNAB2)}


@pytest.mark.parametrize("name", METHODS)
def test_measured_order_on_burgers(name):
    order, make = METHODS[name]
    law, ops = Burgers(0.05), Spectral(LINE)
    fine = solve(ETDRK4(law, ops), START, TIMES, substeps=400)["u"][:, -1]
    errors = [float((solve(make(law, ops), START, TIMES, substeps=n)["u"][:, -1] - fine).abs().max()) for n in (80, 160)]
    # CN-RK4: its error is that of the implicit part alone, of order 2
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.25, errors


@pytest.mark.parametrize("make", [CNAB2, ImexRungeKutta])
def test_finite_differences_between_open_ends_by_linear_solves(make):
    """Viscosity so strong that an explicit step would have to be 60 times shorter; against explicit steps."""
    grid = CartesianGrid((10, 14), extent=(1.5, 2.0), periodic=(True, False))
    x, y = grid.coordinates()
    law, ops = Burgers(0.5), FiniteDifference(grid)
    u = {"u": (0.3 + torch.exp(-8 * (x - 0.9) ** 2) * (1 + 0.5 * torch.sin(2 * math.pi * y / 1.5)))[None]}
    times = torch.tensor([0.0, 0.04], dtype=torch.float64)
    with torch.no_grad():
        fine = solve(RungeKutta(law, ops), u, times, substeps=200)["u"][:, -1]
        errors = [float((solve(make(law, ops), u, times, substeps=n)["u"][:, -1] - fine).abs().max()) for n in (4, 8)]
    assert errors[1] < 1e-2
    assert math.log2(errors[0] / errors[1]) > 1.5, errors


def test_heat_between_walls_of_two_temperatures():
    """A condition with a value makes the stiff part affine; a few steps of many explicit limits reach the straight line between both walls."""
    grid = CartesianGrid(20, extent=2.0, periodic=False)
    (x,) = grid.coordinates()
    law, ops = AdvectionDiffusion(0.5, (0.0,)), FiniteDifference(grid, boundary={"x": (Dirichlet(1.0), Dirichlet(3.0))})
    out = solve(ImexRungeKutta(law, ops), {"c": torch.sin(3 * x)[None]}, torch.tensor([0.0, 40.0]), substeps=12)["c"][0, -1]
    torch.testing.assert_close(out, 1 + x, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_viscosities_is_a_loop(name):
    make = METHODS[name][1]
    ops, nu = Spectral(LINE), torch.tensor([0.01, 0.2], dtype=torch.float64)
    u = torch.cat([START["u"], 0.5 - START["u"]])
    both = solve(make(Burgers(nu), ops), {"u": u}, TIMES, substeps=12)["u"]
    for i in range(2):
        alone = solve(make(Burgers(float(nu[i])), ops), {"u": u[i : i + 1]}, TIMES, substeps=12)["u"]
        torch.testing.assert_close(both[i : i + 1], alone)


@pytest.mark.parametrize("operators", [Spectral, FiniteDifference])
@pytest.mark.parametrize("make", [CNAB2, ImexRungeKutta])
def test_gradients_in_the_initial_field_and_the_viscosity(make, operators):
    grid = CartesianGrid(8, extent=2.0)
    u = (0.4 + torch.sin(math.pi * grid.coordinates()[0]))[None].requires_grad_()

    def final(u, nu):
        return solve(make(Burgers(nu), operators(grid)), {"u": u}, TIMES, substeps=3)["u"][:, -1]

    assert torch.autograd.gradcheck(final, (u, torch.tensor(0.3, dtype=torch.float64, requires_grad=True)), fast_mode=True)


def test_the_limit_is_that_of_the_explicit_part():
    viscous, thin = (ImexRungeKutta(Burgers(nu), Spectral(LINE), CN_RK4).limit(START) for nu in (10.0, 1e-6))
    assert abs(viscous - thin) < 1e-12
    # the explicit part has the reach of a five-stage method of order four along both axes
    assert abs(CN_RK4.explicit_part().careful() / 3.34 - 1) < 0.02


@pytest.mark.parametrize(
    ("explicit", "implicit", "message"),
    [
        (((), (1.0, 0.0)), ((0.0,), (0.5, 0.5)), "row i of `explicit`"),
        (((), (1.0,)), ((0.5,), (0.5, 0.5)), "first stage at the start"),
        (((), (1.0,)), ((0.0,), (1.5, -0.5)), "diagonal of at least zero"),
        (((), (0.9,)), ((0.0,), (0.5, 0.5)), "equal sums"),
    ],
)
def test_bad_pairs_are_refused(explicit, implicit, message):
    with pytest.raises(InputError, match=message):
        ImexTableau("odd", 1, explicit, implicit)


def test_a_stiff_part_that_breaks_its_rules_is_refused_on_waves():
    @dataclass(frozen=True, eq=False)
    class Sourced(PDE):
        fields = ("u",)

        def stiff(self, u, D):
            return {"u": D.lap(u["u"]) + 1.0}

    with pytest.raises(UnsupportedOperator, match="source"):
        ImexRungeKutta(Sourced(), Spectral(LINE))
