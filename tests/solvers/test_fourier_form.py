"""A law in Fourier space: norms are those of the grid, the explicit part is that of the law, waves above the cut move by the stiff part alone."""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.pdes.pde import PDE
from physdiff.solvers.etdrk import ETDRK2, ETDRK4, StrehmelWeiner, etd_weights
from physdiff.solvers.fourier_form import FourierForm, WaveState
from physdiff.solvers.solve import solve
from tests.laws.harness import smooth_fields
from tests.laws.test_every_law import LAWS

LINE = CartesianGrid(12, extent=1.0)
SPECTRAL = {
    name: case for name, case in LAWS.items() if name not in ("Lorenz96", "FokkerPlanck", "PorousMedium")
}  # those have another grid, or a stiff part with coefficients in space
ASKED = ("Burgers", "IncompressibleFlow")  # they hold functions that may change in time


def form(shape, nu=0.1):
    grid = CartesianGrid(shape, extent=tuple(1.0 + i for i in range(len(shape))))
    return FourierForm(Burgers(nu), Spectral(grid), what="test", weights=etd_weights), Spectral(grid)


def rough(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("shape", [(16,), (15,), (9, 14), (6, 5, 8)])
def test_norms_of_waves_are_root_mean_squares_of_fields(shape):
    f, plain = form(shape)
    u = rough(2, *shape)
    axes = tuple(range(1, u.ndim))
    torch.testing.assert_close(f.norm(f.waves({"u": u})["u"]), u.square().mean(axes).sqrt())
    resolved = plain.dealias(u)
    kept = f.kept(f.waves({"u": resolved}))["u"]
    torch.testing.assert_close(f.norm(kept), resolved.square().mean(axes).sqrt())
    torch.testing.assert_close(f.inverse(kept, like=f.waves({"u": u})["u"]), resolved)


def test_the_explicit_part_is_that_of_the_law_and_is_kept_in_the_state():
    f, plain = form((9, 14))
    u = plain.dealias(rough(2, 9, 14))
    state = f.waves({"u": u})
    found = f.slopes(state, 0.0)
    torch.testing.assert_close(f.inverse(found["u"], like=state["u"]), plain.dealias(Burgers(0.1).explicit({"u": u}, plain, 0.0)["u"]))
    assert f.slopes(WaveState(state, found), 0.0) is found


def test_weights_are_kept_for_as_many_lengths_as_a_controller_uses():
    f, _ = form((12,))
    state = f.waves({"u": rough(1, 12)})
    first = f.weights(state, 0.1)
    for i in range(10):
        f.weights(state, 0.2 + i)
    assert f.weights(state, 0.1) is first
    assert f.weights(f.waves({"u": rough(1, 12).float()}), 0.1)["u"]["q"].dtype is torch.complex64


def test_weights_that_leave_nothing_of_a_wave_are_zero():
    f, _ = form((64,), nu=1.0)
    for dtype in (torch.float32, torch.float64):
        state = f.waves({"u": rough(1, 64).to(dtype)})
        for name, w in f.weights(state, 0.05)["u"].items():
            least = w.abs()[w != 0].min()
            assert name not in ("full", "half") or bool((w == 0).any())
            assert float(least) >= torch.finfo(dtype).tiny ** 0.5, name


def test_waves_above_the_cut_decay_as_the_stiff_part_says():
    _, plain = form((12,))
    x = plain.coordinates[0]
    high = torch.cos(2 * torch.pi * 5 * x)[None]  # 5 of at most 6, the cut is below 4
    low = torch.sin(2 * torch.pi * x)[None]
    stepper = ETDRK4(Burgers(0.01), plain)
    got = stepper.step({"u": low + high}, 0.0, 0.05)["u"]
    decayed = high * torch.exp(torch.tensor(-0.01 * (10 * torch.pi) ** 2 * 0.05, dtype=torch.float64))
    torch.testing.assert_close(got, stepper.step({"u": low}, 0.0, 0.05)["u"] + decayed)


@pytest.mark.parametrize("name", SPECTRAL)
@pytest.mark.parametrize("batched", [False, True])
def test_every_law_gives_the_same_from_its_recording(name, batched):
    case = SPECTRAL[name]
    grid = CartesianGrid(36, extent=2.0) if case.ndim == 1 else CartesianGrid((20, 26), extent=(1.5, 2.0))
    given = [torch.tensor([v, 1.3 * v], dtype=torch.float64) for v in case.parameters] if batched else case.parameters
    f = ETDRK4(case.law(*given), Spectral(grid))._form
    u = smooth_fields(f._pde, grid, offset=case.offset, batch=2)
    for i in range(5):
        kept = f.kept(f.waves({n: (1 + 0.1 * i) * v for n, v in u.items()}))
        got, wanted = f.explicit(kept, 0.1 * i), f.from_text(kept, 0.1 * i)
        for n in wanted:
            # sums in another order: rounding of some ten operations
            torch.testing.assert_close(got[n], wanted[n], rtol=1e-11, atol=1e-13 * float(wanted[n].abs().max()))
    recorded = [made for made, trials in f._replay._found.values() if made is not None and trials == 0]
    assert len(recorded) == (0 if name in ASKED else 1)


def beats(law_of):
    """A law of a line from its explicit part."""

    class Beaten(PDE):
        fields = ("u",)

        def stiff(self, u, D):
            return {"u": 0.1 * D.lap(u["u"])}

        def nonstiff(self, u, D, t):
            return {"u": law_of(u["u"], D, t)}

    return Beaten()


@pytest.mark.parametrize(
    ("law", "records"),
    [
        (beats(lambda u, D, t: -u * u + 3.0 * t), True),
        (beats(lambda u, D, t: -u * u * math.cos(40 * t)), False),
        (beats(lambda u, D, t: -u * u if t < 0.05 else u * u), False),
        (beats(lambda u, D, t: -u * u if float(u.max()) < 1.2 else u * u), False),
        (Burgers(0.1, forcing=lambda x, t: torch.sin(2 * math.pi * x) * math.sin(40 * t)), False),
        (Burgers(0.1, forcing=lambda x, t: torch.sin(2 * math.pi * x - 40 * t)), False),
    ],
)
def test_nothing_that_depends_on_the_time_or_on_values_is_frozen(law, records):
    stepper, start = ETDRK4(law, Spectral(LINE)), {"u": 1 + torch.sin(2 * math.pi * Spectral(LINE).coordinates[0])[None]}
    times = torch.tensor([0.0, 0.05, 0.2], dtype=torch.float64)
    for _ in range(2):  # the second run has every recording that there will be
        got = solve(stepper, start, times, substeps=8)["u"]
    plain = ETDRK4(law, Spectral(LINE))
    plain._form._replays = False
    torch.testing.assert_close(got, solve(plain, start, times, substeps=8)["u"], rtol=1e-12, atol=1e-13)
    made = [m for m, _ in stepper._step._replay._found.values()]
    assert any(m is not None for m in made) is records


@pytest.mark.parametrize("kind", [ETDRK2, ETDRK4, StrehmelWeiner])
@pytest.mark.parametrize("control", [{"substeps": 3}, {"tol": 3e-3}])
def test_solutions_and_gradients_do_not_depend_on_recordings(kind, control):
    grid = CartesianGrid((12, 16), extent=(1.0, 1.0))
    viscosity = torch.tensor([0.01, 0.03], dtype=torch.float64)
    times = torch.tensor([0.0, 0.02, 0.04], dtype=torch.float64)
    found = {}
    for replays in (True, False):
        law = NavierStokes(viscosity.clone().requires_grad_(), forcing=KolmogorovForcing(2.0, 2 * math.pi))
        start = {n: v.requires_grad_() for n, v in smooth_fields(law, grid, offset=0.0, batch=2).items()}
        stepper = kind(law, Spectral(grid))
        stepper._form._replays = replays
        with torch.no_grad():
            fixed = solve(stepper, start, times, **control)["vorticity"]
            fixed = solve(stepper, start, times, **control)["vorticity"]
        out = solve(stepper, start, times, **control)["vorticity"]
        out.square().sum().backward()
        found[replays] = (fixed, out.detach(), start["vorticity"].grad, law.viscosity.grad)
        assert bool((stepper._watched_step if "tol" in control else stepper._step)._replay._found) is replays
    for got, wanted in zip(found[True], found[False], strict=True):
        # rounding of some ten steps, and of a gradient through them
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11 * float(wanted.abs().max()))


def test_only_waves_held_twice_need_tidying():
    grid = CartesianGrid(64, extent=64.0)
    assert not FourierForm(KuramotoSivashinsky(), Spectral(grid), what="test", weights=etd_weights)._grows
    plane = CartesianGrid((32, 32), extent=(32.0, 32.0))
    assert FourierForm(KuramotoSivashinsky(potential=True), Spectral(plane), what="test", weights=etd_weights)._grows
