"""Implicit Runge-Kutta: order conditions, stability, measured orders, stiff nonlinear diffusion, gradients."""

import math
from dataclasses import dataclass

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import cole_hopf_waves
from physdiff.pdes.pde import PDE, Parameter
from physdiff.solvers.implicit import (
    BACKWARD_EULER,
    CRANK_NICOLSON,
    IMPLICIT_MIDPOINT,
    SDIRK2,
    SDIRK3,
    DiagonalTableau,
    ImplicitRungeKutta,
)
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve
from tests.solvers.trees import order_defects

ALL = (BACKWARD_EULER, IMPLICIT_MIDPOINT, CRANK_NICOLSON, SDIRK2, SDIRK3)
DAMPING = (BACKWARD_EULER, SDIRK2, SDIRK3)


@dataclass(frozen=True, eq=False)
class NonlinearDiffusion(PDE):
    """u_t = scale lap u^3, stiff and nonlinear."""

    scale: Parameter

    fields = ("u",)

    def nonstiff(self, u, D, t):
        return {"u": self.scale * D.lap(u["u"] ** 3)}


@pytest.mark.parametrize("tableau", ALL, ids=lambda t: t.name)
def test_order_conditions(tableau):
    defects = order_defects(tableau.a, tableau.b, tableau.order + 1)
    assert all(d < 1e-14 for order in range(1, tableau.order + 1) for d in defects[order])  # rounding
    assert max(defects[tableau.order + 1]) > 1e-3


@pytest.mark.parametrize("tableau", ALL, ids=lambda t: t.name)
def test_no_point_of_the_left_half_plane_grows(tableau):
    real, imaginary = torch.meshgrid(-torch.logspace(-3, 6, 60, dtype=torch.float64), torch.logspace(-3, 6, 60, dtype=torch.float64), indexing="ij")
    assert float(tableau.stability(torch.complex(real, imaginary)).abs().max()) <= 1 + 1e-12
    far = float(tableau.stability(torch.tensor(-1e9)).abs())
    assert far < 1e-8 if tableau in DAMPING else abs(far - 1) < 1e-8


@pytest.mark.parametrize("tableau", ALL, ids=lambda t: t.name)
def test_measured_order_on_burgers(tableau):
    grid = CartesianGrid(32, extent=2.0)
    (x,) = grid.coordinates()
    start, end = (cole_hopf_waves(x, t, viscosity=0.1, extent=2.0)[None] for t in (0.0, 0.4))
    errors = []
    for n in (8, 16):
        with torch.no_grad():
            out = solve(ImplicitRungeKutta(Burgers(0.1), Spectral(grid), tableau), {"u": start}, torch.tensor([0.0, 0.4]), substeps=n)["u"]
        errors.append(float((out[:, -1] - end).abs().max()))
    assert abs(math.log2(errors[0] / errors[1]) - tableau.order) < 0.25, errors


@pytest.mark.parametrize("tableau", ALL, ids=lambda t: t.name)
def test_a_linear_step_is_the_stability_function(tableau):
    grid = CartesianGrid(12, extent=2.0)
    wave = torch.cos(math.pi * grid.coordinates()[0])[None]
    out = ImplicitRungeKutta(AdvectionDiffusion(0.3, (0.0,)), Spectral(grid), tableau).step({"c": wave}, 0.0, 0.4)["c"]
    factor = complex(tableau.stability(torch.tensor(-0.3 * math.pi**2 * 0.4, dtype=torch.float64))).real
    torch.testing.assert_close(out, factor * wave, rtol=0, atol=1e-11)  # Newton's tolerance


def test_stiff_nonlinear_diffusion_in_the_plane_at_steps_far_beyond_the_explicit_limit():
    grid = CartesianGrid((16, 24), extent=(1.5, 2.0))
    x, y = grid.coordinates()
    u = {"u": (2.0 + torch.cos(math.pi * x) + 0.5 * torch.sin(2 * math.pi * (x + y / 1.5)))[None]}
    law, ops = NonlinearDiffusion(0.05), FiniteDifference(grid, order=4)
    times = torch.tensor([0.0, 0.03], dtype=torch.float64)
    explicit = RungeKutta(law, ops)
    with torch.no_grad():
        wanted = solve(explicit, u, times, tol=1e-7)["u"][:, -1]
        errors = [float((solve(ImplicitRungeKutta(law, ops), u, times, substeps=n)["u"][:, -1] - wanted).abs().max()) for n in (3, 6, 12)]
        # one step of 500 explicit limits: everything is damped towards the mean, which is kept
        far = ImplicitRungeKutta(law, ops, BACKWARD_EULER).step(u, 0.0, 500 * explicit.limit(u))["u"]
    assert all(abs(math.log2(a / b) - 2) < 0.35 for a, b in zip(errors, errors[1:], strict=False)), errors
    assert float(far.std()) < 0.3 * float(u["u"].std())
    # the stencils conserve, so the mean of the Newton residual is all there is
    assert abs(float(far.mean() - u["u"].mean())) < 1e-10


def test_explicit_time_of_the_stages():
    @dataclass(frozen=True, eq=False)
    class Clock(PDE):
        fields = ("u",)

        def nonstiff(self, u, D, t):
            return {"u": math.cos(t) + 0 * u["u"]}

    grid, zero = CartesianGrid(8, extent=1.0), torch.zeros(1, 8, dtype=torch.float64)
    for tableau in ALL:
        out = ImplicitRungeKutta(Clock(), FiniteDifference(grid), tableau).step({"u": zero}, 0.3, 0.5)["u"]
        wanted = sum(w * math.cos(0.3 + 0.5 * c) for w, c in zip(tableau.b, tableau.c, strict=True)) * 0.5
        torch.testing.assert_close(out, zero + wanted)


@pytest.mark.parametrize("tableau", [CRANK_NICOLSON, SDIRK2], ids=lambda t: t.name)
def test_gradients_in_the_initial_field_and_a_parameter_of_each_sample(tableau):
    grid = CartesianGrid(8, extent=2.0)
    wave = torch.cos(math.pi * grid.coordinates()[0] + 0.3)
    start = torch.stack([1.0 + 0.3 * wave, 1.5 - 0.4 * wave]).requires_grad_()
    scale = torch.tensor([0.5, 0.1], dtype=torch.float64, requires_grad=True)

    def final(u, s):
        stepper = ImplicitRungeKutta(NonlinearDiffusion(s), FiniteDifference(grid), tableau)
        return solve(stepper, {"u": u}, torch.tensor([0.0, 0.5]), substeps=1 + (tableau is CRANK_NICOLSON))["u"][:, -1]

    assert torch.autograd.gradcheck(final, (start, scale), fast_mode=True)


def test_single_precision():
    grid = CartesianGrid((8, 12), extent=(1.5, 2.0))
    x, y = grid.coordinates()
    u = (2.0 + torch.cos(math.pi * x) * torch.sin(2 * math.pi * y / 1.5))[None]
    stepper = ImplicitRungeKutta(NonlinearDiffusion(1.0), FiniteDifference(grid))
    one, other = (stepper.step({"u": v}, 0.0, 1.0)["u"] for v in (u, u.float()))
    assert other.dtype == torch.float32
    # the tolerance in single precision is 4e-6
    torch.testing.assert_close(other.double(), one, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("a", "b"), [(((0.5, 0.1),), (1.0,)), (((-0.5,),), (1.0,)), (((1.0,),), (0.5, 0.5)), (((1.0,),), (0.9,))])
def test_bad_tableaux_are_refused(a, b):
    with pytest.raises(InputError, match="DiagonalTableau odd: expected"):
        DiagonalTableau("odd", 1, a, b)
