"""Trajectories: times, step control, refusals, divergence."""

import math
from dataclasses import dataclass

import pytest
import torch

from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import cole_hopf_waves
from physdiff.pdes.pde import PDE
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import EULER, RungeKutta
from physdiff.solvers.solve import solve

GRID = CartesianGrid(96, extent=2.0)
OPS = Spectral(GRID)
(X,) = GRID.coordinates()
TIMES = torch.tensor([0.0, 0.1, 0.4], dtype=torch.float64)


def exact(t):
    return cole_hopf_waves(X, t, viscosity=0.05, extent=2.0)[None]


@dataclass(frozen=True, eq=False)
class Explosion(PDE):
    """u' = u^2, infinite at t = 1/u(0)."""

    fields = ("calm", "wild")

    def nonstiff(self, u, D, t):
        return {"calm": 0 * u["calm"], "wild": u["wild"] ** 2}


@dataclass(frozen=True, eq=False)
class Clock(PDE):
    """u' = cos t."""

    fields = ("u",)

    def nonstiff(self, u, D, t):
        return {"u": math.cos(t) + 0 * u["u"]}


@pytest.mark.parametrize("control", [{}, {"cfl": 0.3}, {"substeps": 120}, {"tol": 1e-6}], ids=str)
@pytest.mark.parametrize("stepper", [ETDRK4, RungeKutta])
def test_every_step_control_follows_the_exact_solution(stepper, control):
    out = solve(stepper(Burgers(0.05), OPS), {"u": exact(0.0)}, TIMES, **control)["u"]
    assert out.shape == (1, 3, 96)
    wanted = torch.stack([exact(float(t))[0] for t in TIMES])[None]
    # the longest of the steps, half the stable limit, has an error of some 1e-5 of the amplitude
    assert float((out - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


def test_first_frame_is_the_initial_field_bit_for_bit_and_shape_is_batch_time_space():
    u0 = torch.randn(3, 96, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    out = solve(ETDRK4(Burgers(0.5), OPS), {"u": u0}, torch.tensor([1.0, 1.5]), substeps=20)["u"]
    assert out.shape == (3, 2, 96)
    assert out.dtype == torch.float32
    assert torch.equal(out[:, 0], u0)


def test_a_smaller_tolerance_gives_a_smaller_error():
    errors = []
    for tol in (1e-3, 1e-6, 1e-9):
        out = solve(ETDRK4(Burgers(0.05), OPS), {"u": exact(0.0)}, TIMES, tol=tol)["u"]
        errors.append(float((out[:, -1] - exact(0.4)).square().mean().sqrt() / exact(0.4).square().mean().sqrt()))
    # the estimate is of the finer run's error, per interval; two intervals
    assert all(error < 3 * tol for error, tol in zip(errors, (1e-3, 1e-6, 1e-9), strict=True)), errors
    assert errors[2] < errors[0]


def test_time_reaches_the_law():
    u0 = torch.zeros(1, 96, dtype=torch.float64)
    times = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    out = solve(RungeKutta(Clock(), OPS), {"u": u0}, times, substeps=20)["u"][0, :, 0]
    # Simpson's rule with 20 intervals of 1/20: error h^4 / 2880
    torch.testing.assert_close(out, torch.sin(times) - math.sin(0.5), rtol=0, atol=1e-8)


def test_samples_do_not_mix():
    u0 = torch.cat([exact(0.0), exact(0.3), 2 * exact(0.0)])
    together = solve(ETDRK4(Burgers(0.05), OPS), {"u": u0}, TIMES, substeps=10)["u"]
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], solve(ETDRK4(Burgers(0.05), OPS), {"u": u0[i : i + 1]}, TIMES, substeps=10)["u"])


def test_progress_is_told_after_each_frame():
    seen = []
    solve(ETDRK4(Burgers(0.05), OPS), {"u": exact(0.0)}, TIMES, substeps=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]


@pytest.mark.parametrize("control", [{"substeps": 100}, {"tol": 1e-6}, {"cfl": 0.5}], ids=str)
def test_divergence_names_the_field_and_the_time(control, monkeypatch):
    monkeypatch.setattr("physdiff.solvers.solve._MOST_SUBSTEPS", 512)  # else the search for a step takes seconds
    u0 = {"calm": torch.ones(1, 96), "wild": torch.ones(1, 96)}
    with pytest.raises(Diverged) as caught:
        solve(RungeKutta(Explosion(), FiniteDifference(GRID)), u0, torch.tensor([0.0, 0.5, 3.0]), **control)
    # the exact solution ends at t = 1; steps see it within the next few of them
    assert 0.5 <= caught.value.time < 3.0
    if "substeps" in control:
        assert caught.value.field == "wild"
        assert 1.0 < caught.value.time < 1.5
        assert "field `wild` is not finite at time" in str(caught.value)


def test_a_time_too_far_for_one_stretch_is_no_field_that_is_not_finite():
    with pytest.raises(Diverged, match="is not carried on at time 0: steps of .* ask for times in between") as caught:
        solve(RungeKutta(AdvectionDiffusion(0.1, (1.0,)), FiniteDifference(GRID)), {"c": torch.ones(1, 96)}, torch.tensor([0.0, 1e6]))
    assert "finite" not in str(caught.value)


def test_too_long_steps_diverge_with_a_remedy():
    # stable for the calm field at the start; the source makes waves that are not
    law = AdvectionDiffusion(0.0, (lambda x, t: 40.0 * t + 0 * x,), source=lambda x, t: torch.sin(math.pi * x))
    with pytest.raises(Diverged, match="shorter steps"):
        solve(RungeKutta(law, OPS, EULER), {"c": exact(0.0)}, torch.tensor([0.0, 50.0]), substeps=400)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (torch.tensor([0.0, 0.2, 0.2]), "increasing times, got 0.2 before 0.2"),
        (torch.tensor([0.0, -1.0]), "increasing times, got 0 before -1"),
        (torch.zeros(2, 2), "a row of finite times"),
        (torch.tensor([0.0, float("nan")]), "a row of finite times"),
        (torch.zeros(0), "a row of finite times"),
    ],
)
def test_bad_times_are_refused(times, message):
    with pytest.raises(InputError, match=message):
        solve(ETDRK4(Burgers(0.05), OPS), {"u": exact(0.0)}, times)


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({"substeps": 2, "cfl": 0.5}, "one of substeps, cfl and tol, got substeps and cfl"),
        ({"substeps": 0}, "whole number above 0"),
        ({"substeps": 2.5}, "whole number above 0"),
        ({"cfl": -1.0}, "positive"),
        ({"tol": 0.0}, "positive"),
    ],
)
def test_bad_step_control_is_refused(control, message):
    with pytest.raises(InputError, match=message):
        solve(ETDRK4(Burgers(0.05), OPS), {"u": exact(0.0)}, TIMES, **control)


def test_bad_initial_fields_are_refused():
    stepper = ETDRK4(Burgers(0.05), OPS)
    with pytest.raises(InputError, match="initial fields u of Burgers; missing u"):
        solve(stepper, {"v": exact(0.0)}, TIMES)
    with pytest.raises(ShapeError, match=r"expected initial u of shape \(batch, 96\)"):
        solve(stepper, {"u": exact(0.0)[0]}, TIMES)
    with pytest.raises(ShapeError, match="got \\(1, 95\\)"):
        solve(stepper, {"u": exact(0.0)[:, :95]}, TIMES)
    with pytest.raises(InputError, match="1 of 96 entries NaN"):
        solve(stepper, {"u": exact(0.0).index_fill(1, torch.tensor([3]), float("nan"))}, TIMES)
    with pytest.raises(ShapeError, match="parameters for 2 samples, expected 1"):
        solve(ETDRK4(Burgers(torch.tensor([0.1, 0.2])), OPS), {"u": exact(0.0)}, TIMES)


def test_initial_fields_that_jump_where_the_box_closes_are_refused():
    ramp = torch.cat([exact(0.0), exact(0.0) + X])
    with pytest.raises(InputError, match=r"solve: initial u: expected a field that is periodic along x.*sample 1.*FiniteDifference"):
        solve(ETDRK4(Burgers(0.05), OPS), {"u": ramp}, TIMES)
    assert solve(RungeKutta(Burgers(0.05), FiniteDifference(GRID)), {"u": ramp}, TIMES, substeps=200)["u"].isfinite().all()
