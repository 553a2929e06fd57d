"""Steps chosen by their error: the error follows the tolerance, intervals are met exactly, and what depends on time alone is not overlooked."""

import math
from fractions import Fraction

import pytest
import torch

from physdiff.base.errors import Diverged
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.solvers.control import _parts, controlled
from physdiff.solvers.etdrk import ETDRK2, ETDRK4, StrehmelWeiner
from physdiff.solvers.runge_kutta import EmbeddedRungeKutta
from physdiff.solvers.solve import solve

LINE = Spectral(CartesianGrid(48, extent=2.0))
STEPPERS = [ETDRK2, ETDRK4, StrehmelWeiner, EmbeddedRungeKutta]


def hill(samples=2):
    x = LINE.coordinates[0]
    scale = torch.linspace(0.5, 1.0, samples, dtype=torch.float64)[:, None]
    return {"u": 0.4 + scale * torch.sin(math.pi * x + 0.3) + 0.2 * torch.cos(2 * math.pi * x)}


def counted(stepper, monkeypatch):
    """The stepper, and the number of evaluations of its law so far in a list."""
    taken, explicit = [0], stepper._form.from_text

    def one_more(*args):
        taken[0] += 1
        return explicit(*args)

    monkeypatch.setattr(stepper._form, "from_text", one_more)
    monkeypatch.setattr(stepper._form, "_replays", False)
    return taken


@pytest.mark.parametrize("kind", STEPPERS)
def test_the_error_follows_the_tolerance(kind):
    law, times = Burgers(0.05), torch.tensor([0.0, 0.3, 0.5], dtype=torch.float64)
    reference = solve(ETDRK4(law, LINE), hill(), times, substeps=400)["u"]
    errors = []
    for tol in (1e-2, 1e-3, 1e-4) if kind is ETDRK2 else (1e-3, 1e-5, 1e-7):
        found = solve(kind(law, LINE), hill(), times, tol=tol)["u"]
        errors.append(float((found - reference).abs().max()))
        # a few steps, each allowed the tolerance, in units of a field of size one
        assert errors[-1] < 10 * tol
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize("kind", [ETDRK2, ETDRK4, StrehmelWeiner])
def test_the_estimate_falls_as_its_order_says(kind):
    stepper = kind(Burgers(0.05), LINE)
    u, lengths = hill(), (0.02, 0.01, 0.005)
    sizes, shares = [], []
    for dt in lengths:
        end, error = stepper.step_with_error(u, 0.0, dt)
        torch.testing.assert_close(end["u"], stepper.step(u, 0.0, dt)["u"])
        state, share = stepper.advance_with_error(stepper.enter(u), 0.0, dt)
        torch.testing.assert_close(stepper.leave(state)["u"], end["u"])
        sizes.append(float(error["u"].square().mean().sqrt()))
        # the same number in waves as on the grid, unless the bend of the explicit part is larger
        rms = [e["u"].square().mean(-1).sqrt() for e in (error, end)]
        assert bool((share >= rms[0] / rms[1] * (1 - 1e-12)).all())
        shares.append(float(share.max()))
    order = stepper.error_order + 1
    for values in (sizes, shares):
        found = [math.log2(a / b) for a, b in zip(values, values[1:], strict=False)]
        assert all(abs(p - order) < 0.25 or p > order for p in found), found
    assert abs(math.log2(sizes[1] / sizes[2]) - order) < 0.25


@pytest.mark.parametrize("kind", [ETDRK2, ETDRK4, StrehmelWeiner])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_a_force_that_depends_on_time_alone_is_seen(kind, size):
    # u_t = nu u_xx + a cos(40 t) on a constant field: quadrature in time, which the difference of the last two stages does not see
    law = Burgers(0.1, forcing=lambda x, t: size * math.cos(40 * float(t)) + 0 * x)
    u = {"u": torch.ones(1, 48, dtype=torch.float64)}
    tol = 1e-6 if kind is ETDRK4 else 1e-4
    found = solve(kind(law, LINE), u, torch.tensor([0.0, 1.0], dtype=torch.float64), tol=size * tol)["u"][0, -1]
    exact = 1.0 + size * math.sin(40.0) / 40
    # some 40 steps of one tolerance each
    assert float((found - exact).abs().max()) < 40 * size * tol


def test_evaluations_are_four_a_step_and_one(monkeypatch):
    stepper = ETDRK4(Burgers(0.05), LINE)
    taken, lengths, advance = counted(stepper, monkeypatch), [], stepper.advance_with_error

    def noted(state, t, dt):
        lengths.append(dt)
        return advance(state, t, dt)

    monkeypatch.setattr(stepper, "advance_with_error", noted)
    controlled(stepper, hill(), (0.0, 0.5), tol=1e-6, length=0.5 / 64)
    assert taken[0] == 4 * len(lengths) + 1
    assert len(set(lengths)) < 8 < len(lengths)  # few lengths, so that their weights are kept


def test_lengths_begin_where_they_fit_and_meet_the_end():
    assert _parts(Fraction(0), 1.0) == 1
    assert _parts(Fraction(0), 0.4) == 3
    assert _parts(Fraction(1, 8), 0.5) == 8
    assert _parts(Fraction(1, 8), 0.1) == 16  # not 12, whose steps do not begin at an eighth
    assert _parts(Fraction(1, 3), 0.25) == 6
    assert _parts(Fraction(0), 1e-9) is None
    place = Fraction(0)
    for share in (0.3, 0.11, 0.02, 0.5, 0.07, 1.0, 0.4, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        if place < 1:
            place += Fraction(1, _parts(place, share))
            assert place <= 1


def test_the_worst_sample_sets_the_step():
    law = Burgers(0.05)
    both = hill()
    calm = {"u": torch.cat([0.01 * both["u"][:1] + 1.0, both["u"][1:]])}
    _, length = controlled(ETDRK4(law, LINE), calm, (0.0, 0.4), tol=1e-6, length=0.1)
    _, alone = controlled(ETDRK4(law, LINE), {"u": calm["u"][1:]}, (0.0, 0.4), tol=1e-6, length=0.1)
    assert length == alone


def test_gradients_pass_through_chosen_steps():
    def final(nu):
        return solve(ETDRK4(Burgers(nu), LINE), hill(1), torch.tensor([0.0, 0.1], dtype=torch.float64), tol=1e-4)["u"][:, -1, ::8]

    assert torch.autograd.gradcheck(final, (torch.tensor(0.05, dtype=torch.float64, requires_grad=True),))


def test_a_tolerance_that_cannot_be_met_diverges_with_a_remedy():
    with pytest.raises(Diverged, match="raise tol"):
        controlled(ETDRK4(Burgers(0.05), LINE), {"u": hill()["u"].float()}, (0.0, 0.5), tol=1e-14, length=None)


def test_a_plane_flow_in_float32_by_tolerance():
    grid = CartesianGrid((24, 36), extent=(1.0, 2.0))
    x, y = grid.coordinates()
    w = (torch.sin(2 * math.pi * y + 0.4) + torch.cos(math.pi * x) * torch.sin(4 * math.pi * y) + 0.5 * torch.sin(3 * math.pi * x))[None]
    stepper, times = ETDRK4(NavierStokes(1e-3), Spectral(grid)), torch.tensor([0.0, 0.5])
    exact = solve(stepper, {"vorticity": w}, times, substeps=128)["vorticity"][:, -1]
    found = solve(stepper, {"vorticity": w.float()}, times, tol=1e-4)["vorticity"][:, -1]
    assert float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt()) < 1e-4
