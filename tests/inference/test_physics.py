"""A law as an operator: equals the law's residual, takes its time step and parameters from the windows, worded errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import plain_prior
from physdiff.inference.observation import Observation
from physdiff.inference.physics import PhysicsResidual, calibrated
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.pdes.pde import PDE
from physdiff.solvers.etdrk import ETDRK2

LIKE = torch.zeros((), dtype=torch.float64)
GRID = CartesianGrid((6, 8), extent=(1.0, 2.0))
SPEC = FieldSpec(("u", "nu"), ("m/s", "m2/s"), GRID, 0.1, 5)
X = Rng(1).normal((3, *SPEC.shape), like=LIKE)


@pytest.mark.parametrize("backend", [Spectral, FiniteDifference])
def test_it_is_the_residual_of_the_law(backend) -> None:
    operators = backend(GRID, dt=0.1)
    law = Burgers(viscosity=0.02)
    expected = law.residual({"u": X[:, 0]}, operators, 0.0)["u"]
    torch.testing.assert_close(PhysicsResidual(law, operators, SPEC)(X)[:, 0], expected, rtol=0, atol=0)
    # without a time step of their own, operators are lent that of the windows
    torch.testing.assert_close(PhysicsResidual(law, backend(GRID), SPEC)(X)[:, 0], expected, rtol=0, atol=0)


def test_a_parameter_comes_from_its_channel_sample_by_sample() -> None:
    values = torch.tensor([0.01, 0.3, -0.05], dtype=torch.float64)
    x = X.clone()
    x[:, 1] = values.reshape(3, 1, 1, 1)
    operator = PhysicsResidual(Burgers(viscosity=1.0), Spectral(GRID), SPEC, parameters={"viscosity": "nu"})
    operators = Spectral(GRID, dt=0.1)
    inviscid = Burgers(viscosity=0.0).residual({"u": X[:, 0]}, operators, 0.0)["u"]
    expected = inviscid - values.reshape(3, 1, 1, 1) * operators.lap(X[:, 0])
    # a negative viscosity, which a sampler may pass on its way, has a residual too
    torch.testing.assert_close(operator(x)[:, 0], expected, rtol=0, atol=1e-9)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(operator(x).sum(), x)
    assert bool(gradient[:, 1].any())


def test_a_law_that_served_a_solver_before_is_none_the_worse() -> None:
    """It has noted that it holds numbers alone; two windows on a grid of two rows would take their viscosities row by row, silently."""
    law, spec = Burgers(viscosity=1.0), FieldSpec(("u", "nu"), ("1", "1"), CartesianGrid((2,)), 0.1, 5)
    ETDRK2(law, Spectral(spec.grid)).pde.bound(1)
    x = Rng(4).normal((2, *spec.shape), like=LIKE)
    x[:, 1] = torch.tensor([0.01, 0.3], dtype=torch.float64).reshape(2, 1, 1)
    fresh = PhysicsResidual(Burgers(viscosity=1.0), Spectral(spec.grid), spec, parameters={"viscosity": "nu"})
    used = PhysicsResidual(law, Spectral(spec.grid), spec, parameters={"viscosity": "nu"})
    torch.testing.assert_close(used(x), fresh(x), rtol=0, atol=0)


def test_further_fields_of_the_windows_serve_as_wind() -> None:
    spec = FieldSpec(("east", "c", "north"), ("m/s", "1", "m/s"), GRID, 0.1, 5)
    x = Rng(2).normal((2, *spec.shape), like=LIKE)
    operators = Spectral(GRID, dt=0.1)
    law = AdvectionDiffusion(0.01, ("east", "north"))
    c = x[:, 1]
    expected = operators.dt(c) + operators.advect((x[:, 0], x[:, 2]), c) - 0.01 * operators.lap(c)
    torch.testing.assert_close(PhysicsResidual(law, operators, spec)(x)[:, 0], expected, rtol=0, atol=1e-10)


def test_nonlocal_laws_work_with_a_lent_time_step() -> None:
    law = NavierStokes(viscosity=0.01)
    fields = (*law.fields, "pressure") if "pressure" in law.diagnostics else law.fields
    spec = FieldSpec(tuple(law.fields), ("1",) * len(law.fields), GRID, 0.1, 5)
    assert fields
    x = Rng(3).normal((2, *spec.shape), like=LIKE)
    timed, lent = (PhysicsResidual(law, Spectral(GRID, dt=dt), spec)(x) for dt in (0.1, None))
    torch.testing.assert_close(timed, lent, rtol=0, atol=0)
    assert timed.shape == (2, len(law.fields), 5, 6, 8)


@dataclass(frozen=True, eq=False)
class Forced(PDE):
    """du/dt = cos t."""

    fields: ClassVar[tuple[str, ...]] = ("u",)

    def nonstiff(self, u, D, t) -> Mapping:
        return {"u": torch.cos(torch.as_tensor(t)) * torch.ones_like(u["u"])}


@dataclass(frozen=True, eq=False)
class Still(PDE):
    """du/dt = 0."""

    fields: ClassVar[tuple[str, ...]] = ("u",)

    def nonstiff(self, u, D, t) -> Mapping:
        return {"u": 0 * u["u"]}


def test_laws_that_depend_on_time_need_the_times() -> None:
    times = 3 + 0.1 * torch.arange(5, dtype=torch.float64)
    x = torch.sin(times).reshape(1, 1, 5, 1, 1).expand(1, 2, 5, 6, 8)
    r = PhysicsResidual(Forced(), Spectral(GRID), SPEC, times=times)(x)
    # fourth-order differences of a sine: dt^4/5 at the ends
    assert float(r.abs().max()) < 1e-4
    with pytest.raises(InputError, match="depends on time: expected `times`"):
        PhysicsResidual(Forced(), Spectral(GRID), SPEC)(x)


def test_it_observes_zero_within_a_tolerance() -> None:
    operator = PhysicsResidual(Burgers(viscosity=0.02), Spectral(GRID), SPEC)
    r = operator(X)
    value = Observation(operator, y=0.0, std=0.5).log_prob(X)
    torch.testing.assert_close(value, torch.distributions.Normal(LIKE, LIKE + 0.5).log_prob(r).flatten(1).sum(1), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pde": AdvectionDiffusion(0.1, (1.0, 0.0))}, "expected the fields c among u, nu"),
        ({"parameters": {"viscosity": "kappa"}}, "expected the fields kappa among u, nu"),
        ({"parameters": {"kappa": "nu"}}, "expected parameters among viscosity, forcing of Burgers, got 'kappa'"),
        ({"spec": SPEC.with_frames(1)}, "windows of at least three frames, got 1"),
        ({"operators": Spectral(GRID, dt=0.2)}, "the time step of the windows, dt = 0.1, got 0.2"),
        ({"operators": Spectral(CartesianGrid((6, 10)), dt=0.1)}, "operators on the grid of the windows"),
    ],
    ids=["field", "channel", "parameter", "one frame", "time step", "grid"],
)
def test_worded_errors(arguments, message) -> None:
    given = {"pde": Burgers(viscosity=0.02), "operators": Spectral(GRID), "spec": SPEC, **arguments}
    with pytest.raises(InputError, match=message):
        PhysicsResidual(given.pop("pde"), given.pop("operators"), given.pop("spec"), **given)


def test_only_some_frames_are_asked_for() -> None:
    law = Burgers(viscosity=0.02)
    every, inner = (PhysicsResidual(law, Spectral(GRID), SPEC, frames=f) for f in (None, (1, -2)))
    torch.testing.assert_close(inner(X), every(X)[:, :, [1, 3]], rtol=0, atol=0)
    assert every.units == {"u": "m/s s-1"}
    for wrong in ((), (5,), (-6,)):
        with pytest.raises(InputError, match="expected frames within 0 to 4"):
            PhysicsResidual(law, Spectral(GRID), SPEC, frames=wrong)


def shaken(n: int, together: bool) -> torch.Tensor:
    """Windows whose residual is white in time and, if not `together`, in space: the law of no change, with steps of 0.3 at random."""
    shape = (n, 1, SPEC.frames, *((1, 1) if together else GRID.shape))
    walk = 0.3 * Rng(5).normal(shape, like=LIKE).cumsum(2).expand(n, 1, SPEC.frames, *GRID.shape)
    return torch.cat([walk, walk], 1)


def test_the_tolerance_is_what_true_fields_leave() -> None:
    """The derivative of a walk between frames: known steps over the time between them; 4 standard errors of a root mean square."""
    still = PhysicsResidual(Still(), FiniteDifference(GRID), SPEC)
    truth = shaken(60, together=False)
    observation = calibrated(still, truth, factor=2.0)
    assert observation.noise.std.shape == (1, 5, 1, 1) and bool((observation.y == 0).all())
    expected = 2 * still(truth).square().mean((0, 3, 4), keepdim=True)[0].sqrt()
    torch.testing.assert_close(observation.noise.std, expected, rtol=1e-12, atol=0)
    # factor 1: the mean square over the variance is one, by construction on these and within sampling error on others
    again = calibrated(still, truth)
    assert float((again.residual(truth) ** 2 / again.noise.std**2).mean()) == pytest.approx(1.0, abs=1e-12)


def test_residuals_that_go_together_count_once() -> None:
    """All 48 places of a frame move as one: worth a 48th of independent ones, so that the tolerance grows by about sqrt 48."""
    still = PhysicsResidual(Still(), FiniteDifference(GRID), SPEC, frames=(2,))
    grown = []
    for together in (False, True):
        truth = shaken(400, together)
        plain, careful = (calibrated(still, truth, dependent=d).noise.std for d in (False, True))
        grown.append(float((careful / plain).mean()))
    # the variance of a variance of 400 numbers is known to sqrt(2/400) at best, of squares of normal ones to about 15 %
    assert grown[0] == pytest.approx(1.0, abs=0.15) and grown[1] == pytest.approx(48**0.5, rel=0.25)
    # windows of sizes from 0.01 to 10 are not fewer residuals each
    sized = torch.logspace(-2, 1, 400, dtype=torch.float64).reshape(-1, 1, 1, 1, 1) * shaken(400, together=False)
    plain, careful = (calibrated(still, sized, dependent=d).noise.std for d in (False, True))
    assert float((careful / plain).mean()) == pytest.approx(1.0, abs=0.05)
    few, nothing, broken = (truth[:7], True, "8 true windows or more, got 7"), (0 * truth, False, "a residual of zero"), (truth / 0, False, "holds")
    for windows, dependent, said in (few, nothing, broken):
        with pytest.raises(InputError, match=said):
            calibrated(still, windows, dependent=dependent)


def test_the_tolerance_is_that_of_truth_as_a_prior_can_draw_it() -> None:
    """A prior of one pattern per frame, the mean over places: draws leave of the law what the means of the truth leave, a seventh."""
    still, spec = PhysicsResidual(Still(), FiniteDifference(GRID), SPEC), SPEC
    rows = torch.zeros(2 * 5, *spec.shape, dtype=torch.float64)
    for k in range(10):
        rows[k, k // 5, k % 5] = 48**-0.5
    covariance = LowRankCovariance(rows.flatten(1), torch.ones(10, dtype=torch.float64))
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(spec.shape, dtype=torch.float64), covariance), spec)
    truth = shaken(40, together=False)
    means = truth.mean((3, 4), keepdim=True).expand_as(truth)
    got, expected = calibrated(still, truth, prior=prior).noise.std, calibrated(still, means).noise.std
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=0)
    assert float((got / calibrated(still, truth).noise.std).mean()) == pytest.approx(48**-0.5, rel=0.2)
    every = LowRankCovariance(rows.flatten(1), torch.ones(10, dtype=torch.float64), 0.1)
    free = plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(spec.shape, dtype=torch.float64), every), spec)
    torch.testing.assert_close(calibrated(still, truth, prior=free).noise.std, calibrated(still, truth).noise.std, rtol=0, atol=0)
