"""Exponential steppers: weights against their series, exactness for linear laws, the complex mean, refusals."""

import math
from dataclasses import dataclass

import pytest
import torch

from physdiff.base.errors import UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import plane_wave
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.pde import PDE
from physdiff.solvers.etdrk import ETDRK2, ETDRK4, StrehmelWeiner, etd_weights
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

GRID = CartesianGrid((12, 20), extent=(1.5, 2.0))
KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5


def rough(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def phi(z, n):
    """Sum over j of z^j / (j + n)!, the function phi_n; a brute-force twin without cancellation for |z| <= 3."""
    return sum(z**j / math.factorial(j + n) for j in range(40))


@pytest.mark.parametrize("z", [0.0, 1e-6, -1e-3, -0.5 + 0.3j, 2.5j, -2.0])
def test_weights_are_combinations_of_phi_functions(z):
    dt = 0.1
    got = {k: complex(v) for k, v in etd_weights(torch.tensor(z / dt, dtype=torch.complex128), dt).items()}
    p1, p2, p3 = phi(z, 1), phi(z, 2), phi(z, 3)
    half1, half2 = phi(z / 2, 1), phi(z / 2, 2)
    wanted = {
        "full": 1 + z * p1,
        "half": 1 + z / 2 * phi(z / 2, 1),
        "q": dt / 2 * half1,
        "back": dt / 4 * z * half1**2,
        "bend": dt / 2 * half2,
        "straight": dt / 2 * (half1 - half2),
        "ahead": dt * (p1 - 2 * p2),
        "f1": dt * (p1 - 3 * p2 + 4 * p3),
        "f2": dt * (p2 - 2 * p3),
        "f3": dt * (4 * p3 - p2),
        "phi1": dt * p1,
        "phi2": dt * p2,
    }
    assert got.keys() == wanted.keys()
    for name in wanted:
        assert abs(got[name] - wanted[name]) < 1e-13, name  # rounding of 20 terms of order one


def test_weights_of_very_stiff_modes_are_finite_and_small():
    w = etd_weights(torch.tensor([-1e6], dtype=torch.complex128), 1.0)
    assert abs(complex(w["full"])) == 0
    # f1 = -(4 + z)/z^3 + ... and q = -1/z
    assert abs(complex(w["f1"]) * 1e12 + 1) < 1e-4
    assert abs(complex(w["q"]) * 1e6 - 1) < 1e-4


@pytest.mark.parametrize("stepper", [ETDRK2, ETDRK4, StrehmelWeiner])
def test_a_linear_law_is_exact_in_one_step_whatever_its_length(stepper):
    law = AdvectionDiffusion(0.01, (0.7, -0.4), reaction=0.2)
    x, y = GRID.coordinates()

    def wave(t):
        kind = {"diffusivity": 0.01, "velocity": (0.7, -0.4), "reaction": 0.2}
        return plane_wave((x, y), t, wave_vector=(9 * KX, -KY), **kind, phase=0.3) + plane_wave((x, y), t, wave_vector=(KX, 2 * KY), **kind)

    # 9 of 10 waves along x: above two thirds of the shortest, and still advanced
    out = solve(stepper(law, Spectral(GRID)), {"c": wave(0.0)[None]}, torch.tensor([0.0, 3.0], dtype=torch.float64), substeps=1)["c"]
    torch.testing.assert_close(out[0, -1], wave(3.0))


@dataclass(frozen=True, eq=False)
class Turning(PDE):
    """A law whose linear part has an imaginary symbol, with a quadratic rest."""

    fields = ("u",)

    def stiff(self, u, D):
        return {"u": -1.0 * u["u"] + 6 / KX * D.grad(u["u"])[0]}

    def nonstiff(self, u, D, t):
        return {"u": 0.5 * u["u"] ** 2}


@pytest.mark.parametrize("kind", [ETDRK4, StrehmelWeiner])
def test_order_holds_where_the_symbol_is_complex(kind):
    x, y = GRID.coordinates()
    u0 = {"u": (0.5 + 0.5 * torch.cos(KX * x) + 0.2 * torch.sin(2 * KX * x + KY * y))[None]}
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    stepper = kind(Turning(), Spectral(GRID))
    reference = solve(stepper, u0, times, substeps=512)["u"][:, -1]
    errors = [float((solve(stepper, u0, times, substeps=n)["u"][:, -1] - reference).abs().max()) for n in (16, 32, 64)]
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(abs(order - 4) < 0.25 for order in orders), (errors, orders)


def test_strehmel_weiner_is_the_more_accurate_where_short_waves_are_damped():
    law, ops = KuramotoSivashinsky(), Spectral(CartesianGrid(64, extent=32.0))
    x = ops.coordinates[0] * 2 * math.pi / 32
    times = torch.tensor([0.0, 30.0, 38.0], dtype=torch.float64)
    u = solve(ETDRK4(law, ops), {"u": (torch.cos(x) + torch.sin(2 * x + 0.4))[None]}, times[:2], substeps=150)["u"][:, -1]
    runs = ((StrehmelWeiner, 320), (ETDRK4, 80), (StrehmelWeiner, 80))
    exact, one, other = (solve(k(law, ops), {"u": u}, times[1:], substeps=n)["u"] for k, n in runs)
    # measured 6.0 here, 4.1 on 256 points (benchmarks/solvers.py)
    assert float((one - exact).norm()) > 4 * float((other - exact).norm())


def test_both_families_agree_on_one_law():
    law, ops = Burgers(0.02), Spectral(CartesianGrid(32, extent=2.0))
    u = {"u": torch.sin(math.pi * ops.coordinates[0] + 0.3)[None]}
    times = torch.tensor([0.0, 0.1], dtype=torch.float64)
    one, other = (solve(kind(law, ops), u, times, substeps=64)["u"] for kind in (ETDRK4, RungeKutta))
    # both errors at this step are below 1e-9
    torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


@pytest.mark.parametrize("stepper", [ETDRK2, ETDRK4, StrehmelWeiner])
def test_a_batch_of_viscosities_is_a_loop(stepper):
    ops, nu = Spectral(CartesianGrid(32, extent=2.0)), torch.tensor([0.01, 0.1], dtype=torch.float64)
    u = rough(2, 32).cumsum(-1) / 8
    u = ops.dealias(u)
    times = torch.tensor([0.0, 0.05], dtype=torch.float64)
    both = solve(stepper(Burgers(nu), ops), {"u": u}, times, substeps=10)["u"]
    for i in range(2):
        alone = solve(stepper(Burgers(float(nu[i])), ops), {"u": u[i : i + 1]}, times, substeps=10)["u"]
        torch.testing.assert_close(both[i : i + 1], alone)


def test_gradient_with_respect_to_the_viscosity():
    ops = Spectral(CartesianGrid(16, extent=2.0))
    u = {"u": torch.sin(math.pi * ops.coordinates[0] + 0.3)[None]}
    times = torch.tensor([0.0, 0.2], dtype=torch.float64)

    def final(nu):
        return solve(ETDRK4(Burgers(nu), ops), u, times, substeps=4)["u"][:, -1]

    assert torch.autograd.gradcheck(final, (torch.tensor(0.05, dtype=torch.float64, requires_grad=True),))


def test_limit_is_the_reach_over_the_wave_speed():
    # N = -v du/dx with v given as a function, so that it is explicit; the shortest dealiased wave of 30 points is 9
    law = AdvectionDiffusion(0.0, (lambda x, t: 2.0 + 0 * x,))
    ops = Spectral(CartesianGrid(30, extent=2.0))
    limit = ETDRK4(law, ops).limit({"c": torch.zeros(1, 30, dtype=torch.float64)})
    exact = 2.82 / (2.0 * 9 * math.pi)
    assert exact * (1 - 1e-6) < limit < 1.2 * exact
    assert ETDRK4(AdvectionDiffusion(0.1, (2.0,)), ops).limit({"c": rough(1, 30)}) == float("inf")


@dataclass(frozen=True, eq=False)
class Sourced(PDE):
    fields = ("u",)

    def stiff(self, u, D):
        return {"u": D.lap(u["u"]) + 1.0}


def test_what_cannot_be_done_is_refused():
    with pytest.raises(UnsupportedOperator, match="FiniteDifference cannot give `ETDRK4`"):
        ETDRK4(Burgers(0.1), FiniteDifference(GRID))
    with pytest.raises(UnsupportedOperator, match="source"):
        ETDRK4(Sourced(), Spectral(GRID))
