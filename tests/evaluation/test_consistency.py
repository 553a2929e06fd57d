"""Fokker-Planck residual and asymmetry: zero for posterior means, known for denoisers that are none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, Schedule, VPSchedule, per_sample
from physdiff.evaluation.consistency import ConsistencyTerm, circulation, fokker_planck_terms, jacobian_products

LIKE = torch.zeros((), dtype=torch.float64)
products = torch.no_grad()(jacobian_products)
SCHEDULES = [VPSchedule(), CosineSchedule(), EDMSchedule(), RectifiedSchedule()]


def mixture(schedule: Schedule, entries: int = 1) -> MixtureDenoiser:
    """The card's mixture in one entry; more entries are correlated by the choice of the component."""
    means = torch.tensor([-1.5, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1).expand(2, 1, 1, entries)
    return MixtureDenoiser(schedule, torch.tensor([0.4, 0.6], dtype=torch.float64), means.clone(), stds=torch.tensor([0.35, 0.5]).double())


class Changed(Denoiser):
    """A denoiser plus a constant b and, in the score, an antisymmetric field: D + b + u^2 R y."""

    def __init__(self, inner: Denoiser, b: float = 0.0, turn: float = 0.0) -> None:
        super().__init__()
        self.inner, self.schedule, self.b, self.turn = inner, inner.schedule, b, turn

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = self.schedule(t)
        rotated = torch.stack([-x_t[..., 1], x_t[..., 0]], -1) if self.turn else 0 * x_t
        # the score gains turn R x/(alpha^2 + sigma^2), a field along the level lines of N(0, alpha^2 + sigma^2)
        gain = self.turn * sigma**2 / (alpha * (alpha**2 + sigma**2))
        return self.inner(x_t, t) + self.b + per_sample(gain, x_t) * rotated


def noisy(denoiser: Denoiser, n: int, entries: int = 1, u: tuple[float, float] = (0.1, 5.0)) -> tuple[Tensor, Tensor]:
    lam = -torch.linspace(math.log(u[0]), math.log(u[1]), n, dtype=torch.float64)
    t = denoiser.schedule.time_of(lam)
    alpha, sigma = denoiser.schedule(t)
    x, eps = (Rng(3).child(k).normal((n, 1, 1, entries), like=LIKE) for k in ("x", "eps"))
    return per_sample(alpha, x) * (x + 0.2) + per_sample(sigma, x) * eps, t


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_residual_vanishes_for_the_exact_mixture_on_every_schedule(schedule: Schedule) -> None:
    denoiser = mixture(schedule)
    x_t, t = noisy(denoiser, 200)
    probes = torch.ones(2, *x_t.shape, dtype=torch.float64)  # in one dimension one sign gives the Laplacian itself
    terms = fokker_planck_terms(denoiser, x_t, t, probes=probes)
    assert float(terms.scale().mean().sqrt()) > 0.1
    # fourth-order differences of a function whose narrowest feature is 0.35 wide at u = 0.1
    assert float(terms.residual.abs().max()) < 1e-5


def test_square_is_unbiased_over_probes_in_many_dimensions() -> None:
    denoiser = mixture(EDMSchedule(), 6)
    x_t, t = noisy(denoiser, 1, 6, (0.7, 0.8))
    x_t, t = x_t.expand(4000, 1, 1, 6), t.expand(4000)
    probes = Rng(1).normal((2, *x_t.shape), like=LIKE).sign()
    terms = fokker_planck_terms(denoiser, x_t, t, probes=probes)
    square, single = terms.square(), terms.residual[0].square().flatten(1).mean(1)
    # its expectation is zero; a single probe squared is not
    assert abs(float(square.mean())) < 4 * float(square.std()) / math.sqrt(4000)
    assert float(single.mean()) > 10 * abs(float(square.mean()))


def test_a_constant_error_shows_as_its_image_under_the_jacobian() -> None:
    inner = mixture(VPSchedule(), 2)
    denoiser = Changed(inner, b=0.3)
    x_t, t = noisy(denoiser, 50, 2, (0.5, 5.0))
    probes = Rng(1).normal((2, *x_t.shape), like=LIKE).sign()
    found = fokker_planck_terms(denoiser, x_t, t, probes=probes).residual
    plain = fokker_planck_terms(inner, x_t, t, probes=probes).residual
    image, _ = products(inner, x_t, t, probe=torch.full_like(x_t, 0.3))
    assert torch.allclose(found, plain - 2 * image, rtol=0, atol=1e-6)  # differences, see above


def test_posterior_means_are_gradients() -> None:
    denoiser = mixture(RectifiedSchedule(), 3)
    x_t, t = noisy(denoiser, 60, 3, (0.5, 5.0))
    forward, backward = products(denoiser, x_t, t, probe=Rng(2).normal(x_t.shape, like=LIKE).sign())
    # the difference has a step of 0.03 u: fourth power over 30 of a derivative of up to 100
    assert float((forward - backward).abs().max()) < 1e-5 * float(forward.abs().max())
    sides = tuple(Rng(4).child(k).normal(x_t.shape, like=LIKE) * 0.3 for k in ("a", "b"))
    # three Gauss points a side: exact to degree five, and the loop is a third of the noise wide
    assert float(circulation(denoiser, x_t, t, sides=sides).abs().max()) < 1e-3


def test_a_rotation_in_the_score_shows_and_leaves_the_samples_alone() -> None:
    schedule = EDMSchedule(0.01, 20.0)
    zero, one = torch.zeros(1, 1, 1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    inner = MixtureDenoiser(schedule, one, zero, stds=one)
    turned = Changed(inner, turn=0.8)
    x_t, t = noisy(turned, 100, 2)
    probe = Rng(2).normal(x_t.shape, like=LIKE).sign()
    (jv, jtv), (jv0, jtv0) = (products(d, x_t, t, probe=probe) for d in (turned, inner))
    asymmetry = float((jv - jtv).square().sum() / (jv.square().sum() + jtv.square().sum()))
    # per level J = (1 + turn u^2 R)/(1 + u^2): |J v - J^T v|^2 = 4 (turn u^2)^2 |v|^2/(1+u^2)^2
    u2 = torch.exp(-2 * schedule.lam(t))
    expected = float((4 * (0.8 * u2 / (1 + u2)) ** 2).sum() / (2 * ((1 + (0.8 * u2) ** 2) / (1 + u2) ** 2).sum()))
    assert asymmetry == pytest.approx(expected, rel=1e-6) and expected > 0.3
    assert float((jv0 - jtv0).abs().max()) < 1e-8
    sides = tuple(Rng(4).child(k).normal(x_t.shape, like=LIKE) for k in ("a", "b"))
    loops = circulation(turned, x_t, t, sides=sides).abs().mean(), circulation(inner, x_t, t, sides=sides).abs().mean()
    assert float(loops[0]) > 0.02 and float(loops[1]) < 1e-12
    noise = Rng(5).normal((4000, 1, 1, 2), like=LIKE) * 20
    drawn = [Heun().run(d, noise, timesteps(schedule, 60, smallest=0.01), rng=Rng(0)) for d in (inner, turned)]
    # the rotation carries each sample elsewhere, on the same circle
    assert float((drawn[0] - drawn[1]).norm(dim=-1).mean()) > 0.3
    assert torch.allclose(drawn[0].norm(dim=-1), drawn[1].norm(dim=-1), rtol=2e-2)


def test_float32_is_good_enough_for_a_verdict() -> None:
    denoiser = mixture(EDMSchedule(), 6)
    x_t, t = noisy(denoiser, 100, 6)
    probes = Rng(1).normal((2, *x_t.shape), like=LIKE).sign()
    exact = fokker_planck_terms(denoiser, x_t, t, probes=probes)
    rough = fokker_planck_terms(denoiser, x_t.float(), t, probes=probes.float())
    # rounding of the probe's second difference: 64/12 eps/0.03^2
    assert float((rough.residual - exact.residual).abs().max()) < 5e-3


class Line(Denoiser):
    """A denoiser with weights: W y/(1 + u^2)."""

    def __init__(self, schedule: Schedule, matrix: Tensor) -> None:
        super().__init__()
        self.schedule, self.matrix = schedule, torch.nn.Parameter(matrix)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = self.schedule(t)
        return per_sample(alpha / (alpha**2 + sigma**2), x_t) * x_t @ self.matrix.to(x_t).T


def test_the_training_term_draws_an_asymmetric_matrix_to_a_symmetric_one() -> None:
    denoiser = Line(VPSchedule(), torch.tensor([[1.0, 0.6], [-0.4, 0.9]], dtype=torch.float64))
    x = Rng(7).normal((12, 1, 1, 2), like=LIKE)
    term = ConsistencyTerm(fokker_planck=1.0, symmetry=1.0, every=1)
    optimizer = torch.optim.SGD(denoiser.parameters(), lr=1.0)

    def loss(step: int) -> Tensor:
        return term.loss(denoiser, x, index=list(range(12)), rng=Rng(0).child(step)).mean()

    first = float(loss(0).detach())
    for step in range(30):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
    last = denoiser.matrix.detach()
    assert float(loss(0).detach()) < 0.02 * first
    assert abs(float(last[0, 1] - last[1, 0])) < 0.1


def test_the_term_is_keyed_by_sample_and_counts_in_one_batch_of_every() -> None:
    denoiser, x = mixture(VPSchedule()), Rng(7).normal((3, 1, 1, 1), like=LIKE)
    term = ConsistencyTerm(fokker_planck=1.0, symmetry=1.0, every=3)
    assert [term.due(k) for k in range(4)] == [True, False, False, True] and not ConsistencyTerm().due(0)
    together = term.loss(denoiser, x, index=[5, 6, 7], rng=Rng(0)).detach()
    assert torch.allclose(together[1:2], term.loss(denoiser, x[1:2], index=[6], rng=Rng(0)), rtol=1e-12, atol=1e-18)
    assert float(together.abs().max()) < 1e-9


def test_refusals() -> None:
    denoiser = mixture(RectifiedSchedule())
    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    with pytest.raises(InputError, match="stay away from the ends"):
        fokker_planck_terms(denoiser, x, torch.ones((), dtype=torch.float64), probes=x[None])
    with pytest.raises(InputError, match="two probes"):
        fokker_planck_terms(denoiser, x, torch.tensor(0.5, dtype=torch.float64), probes=x[None]).square()
    for wrong in ({"fokker_planck": -1.0}, {"every": 0}, {"band": (2.0, 1.0)}):
        with pytest.raises(InputError):
            ConsistencyTerm(**wrong)
