"""Marching: the same gradients in less memory with checkpoints, the last good fields after a blow-up, unstable steps refused."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch.utils.checkpoint import checkpoint as recomputed

from physdiff.base.errors import Diverged, InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.pde import PDE
from physdiff.solvers.etdrk import ETDRK2, ETDRK4
from physdiff.solvers.imex import CNAB2, ImexRungeKutta
from physdiff.solvers.implicit import BACKWARD_EULER, ImplicitRungeKutta
from physdiff.solvers.march import march
from physdiff.solvers.runge_kutta import EULER, HEUN2, RK4, EmbeddedRungeKutta, RungeKutta
from physdiff.solvers.solve import solve

GRID = CartesianGrid(32, extent=2.0)
(X,) = GRID.coordinates()
START = (0.4 + torch.sin(math.pi * X) + 0.5 * torch.cos(2 * math.pi * X))[None]
TIMES = torch.tensor([0.0, 0.05, 0.1], dtype=torch.float64)


def implicit(pde, ops):
    return ImplicitRungeKutta(pde, ops, BACKWARD_EULER)


def gradients(make, ops, checkpoint, steps):
    """Gradients of a loss in the initial field and the viscosity, and the bytes kept for the backward pass."""
    u, nu = START.clone().requires_grad_(), torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    stepper, kept = make(Burgers(nu), ops), {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = solve(stepper, {"u": u}, TIMES, substeps=steps, checkpoint=checkpoint)["u"]
    loss = (out[:, 1:] * torch.cos(X)).square().sum()
    return (*torch.autograd.grad(loss, (u, nu)), sum(kept.values()))


@pytest.mark.parametrize("operators", [Spectral, FiniteDifference])
@pytest.mark.parametrize("make", [ETDRK4, ETDRK2, RungeKutta, CNAB2, ImexRungeKutta, implicit])
def test_checkpoints_change_no_gradient(make, operators):
    if operators is FiniteDifference and make in (ETDRK4, ETDRK2):
        pytest.skip("exponential steppers are for periodic boxes with Spectral operators")
    steps = 12 if make is RungeKutta else 3
    plain, saving = (gradients(make, operators(GRID), checkpoint, steps) for checkpoint in (None, 2 if steps == 3 else 5))
    for a, b in zip(plain[:2], saving[:2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)  # the same operations; sums of parts in another order


@pytest.mark.parametrize("make", [RungeKutta, CNAB2])
def test_checkpoints_bound_the_memory(make, monkeypatch):
    """All that is saved with checkpoints are the states between segments; then comes the inside of one segment at a time."""
    states = []

    def counted(segment, state, **options):
        states.append(sum(v.untyped_storage().nbytes() for v in state.values()))
        return recomputed(segment, state, **options)

    monkeypatch.setattr("physdiff.solvers.march.recomputed", counted)
    whole = {n: gradients(make, Spectral(GRID), None, n)[2] for n in (8, 32, 64)}
    saved = gradients(make, Spectral(GRID), 8, 64)[2]
    peak = saved + sum(states) + whole[8] / 2  # `gradients` counts two intervals of so many steps
    print(f"{make.__name__}: {whole[64]} bytes without checkpoints, {peak:.0f} with; 32 steps {whole[32]}")
    assert len(states) == 16
    assert peak < whole[64] / 6
    assert whole[64] > 1.9 * whole[32]


def test_without_gradients_nothing_is_computed_twice():
    class Counting(RungeKutta):
        calls = 0

        def rhs(self, u, t):
            self.calls += 1
            return super().rhs(u, t)

    stepper = Counting(Burgers(0.1), Spectral(GRID))
    with torch.no_grad():
        march(stepper, {"u": START}, (0.0, 0.05), steps=6, checkpoint=2)
    assert stepper.calls == 24


@pytest.mark.parametrize(("control", "message"), [({"checkpoint": 0}, "checkpoint: expected a whole"), ({"checkpoint": 3, "tol": 1e-3}, "with tol")])
def test_bad_checkpoints_are_refused(control, message):
    with pytest.raises(InputError, match=message):
        solve(RungeKutta(Burgers(0.1), Spectral(GRID)), {"u": START}, TIMES, **control)


@dataclass(frozen=True, eq=False)
class Explosion(PDE):
    """u' = u^2, infinite at t = 1/u(0)."""

    fields = ("calm", "wild")

    def nonstiff(self, u, D, t):
        return {"calm": 0 * u["calm"], "wild": u["wild"] ** 2}


@pytest.mark.parametrize("make", [RungeKutta, ETDRK4, implicit])
def test_a_blow_up_leaves_the_last_good_fields(make):
    u0 = {"calm": torch.ones(1, 32, dtype=torch.float64), "wild": torch.ones(1, 32, dtype=torch.float64)}
    with pytest.raises(Diverged) as caught:
        solve(make(Explosion(), Spectral(GRID)), u0, torch.tensor([0.0, 0.5, 3.0]), substeps=50 if make is implicit else 200)
    error = caught.value
    assert 0.5 < error.last_time < error.time < 1.2
    assert set(error.last_good) == {"calm", "wild"}
    assert all(bool(v.isfinite().all()) and v.shape == (1, 32) for v in error.last_good.values())
    if error.last_time < 0.97:
        # 1 / (1 - t); steps of 0.0125 near the pole
        torch.testing.assert_close(error.last_good["wild"][0, 0], torch.tensor(1 / (1 - error.last_time), dtype=torch.float64), rtol=0.5, atol=0)


def test_without_a_single_good_step_the_last_frame_is_kept():
    u0 = {"calm": torch.ones(1, 32), "wild": torch.full((1, 32), 1e30)}
    with pytest.raises(Diverged) as caught:
        solve(RungeKutta(Explosion(), FiniteDifference(GRID)), u0, torch.tensor([0.5, 3.0]), tol=1e-3)
    assert caught.value.last_time == 0.5
    assert torch.equal(caught.value.last_good["wild"], u0["wild"])


@pytest.mark.parametrize("make", [RungeKutta, EmbeddedRungeKutta])
def test_unstable_steps_are_refused_with_a_number_that_does(make):
    law, ops = AdvectionDiffusion(0.1, (1.0,)), FiniteDifference(GRID)
    rough = {"c": START + 0.1 * torch.randn(1, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))}
    times = torch.tensor([0.0, 0.1, 4.0], dtype=torch.float64)
    with pytest.raises(InputError, match=r"steps of at most .* to be stable.* got 0.39; take substeps=\d+, or cfl=0.5") as caught:
        solve(make(law, ops), rough, times, substeps=10)
    enough = int(str(caught.value).split("substeps=")[1].split(",")[0])
    out = solve(make(law, ops), rough, times, substeps=enough)["c"]
    assert float(out[:, -1].abs().max()) <= float(rough["c"].abs().max())


def test_the_bound_is_the_one_of_the_method():
    law, ops, u = AdvectionDiffusion(0.1, (0.0,)), FiniteDifference(GRID), {"c": START}
    fastest = 4 * 0.1 / GRID.spacing[0] ** 2
    for tableau, reach in ((EULER, 2.0), (HEUN2, 2.0), (RK4, 2 * math.sqrt(2))):
        bound = RungeKutta(law, ops, tableau).unstable_beyond(u)
        assert reach / fastest * (1 - 1e-3) < bound < 1.25 * reach / fastest  # the radius comes from below


@pytest.mark.parametrize("make", [ETDRK4, ImexRungeKutta, implicit])
def test_steps_that_are_only_inaccurate_are_not_refused(make):
    out = solve(make(AdvectionDiffusion(5.0, (0.0,)), Spectral(GRID)), {"c": START}, torch.tensor([0.0, 1.0]), substeps=1)["c"]
    assert float((out[:, -1] - out[:, -1].mean()).abs().max()) < 0.3
