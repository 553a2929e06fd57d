"""State and diffusivity together where all is known: a law beside a prior of windows, in closed form, and `Guided` on the true denoiser.

Waves on a ring are carried and damped, first frames are Gaussian; given the diffusivity k windows, readings and the residual of the law are linear
and Gaussian, and k is left to sums over a grid of its logarithm. So is the denoiser, a mixture over k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.diffusion.schedule import EDMSchedule, Schedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.guided import Guided
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.physics import PhysicsResidual, calibrated
from physdiff.inference.posterior import Posterior
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.scores.coverage import coverage
from physdiff.scores.crps import crps
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.parameters import ParameterChannels

NX, T, DT, NOISE, READ = 24, 5, 0.03, 0.05, 12
GRID = CartesianGrid((NX,), (1.0,), periodic=True)
SPEC = FieldSpec(("c", "diffusivity"), ("1", "1"), GRID, DT, T, time_unit="1")
LAW = AdvectionDiffusion(1.0, (1.0,))
LOGS = torch.linspace(math.log(0.02), math.log(0.2), 33, dtype=torch.float64)
MIDDLE, SPREAD, SIZE = float(LOGS.mean()), math.log(10) / 12**0.5, 2.0
UNIT = 1 / math.sqrt(T * NX)
WAVES = 2 * math.pi * torch.fft.fftfreq(NX, 1 / NX, dtype=torch.float64)


def step(k: float, time: float) -> Tensor:
    """The exact solution as a matrix (NX, NX)."""
    turned = torch.fft.fft(torch.eye(NX, dtype=torch.complex128), dim=0) * torch.exp((-1j * WAVES - k * WAVES**2) * time)[:, None]
    return torch.fft.ifft(turned, dim=0).real


def root() -> Tensor:
    """Square root of the covariance of first frames: length 0.15, variance 1, (NX, r)."""
    power = torch.where(WAVES != 0, torch.exp(-(WAVES**2) * 0.15**2 / 2), 0.0)
    matrix = torch.fft.ifft(torch.fft.fft(torch.eye(NX, dtype=torch.complex128), dim=0) * (power / power.mean())[:, None].sqrt(), dim=0).real
    u, s, _ = torch.linalg.svd(matrix)
    keep = s > 1e-4 * s[0]
    return u[:, keep] * s[keep]


@cache
def windows() -> Tensor:
    """Square roots of the covariances of windows given each k, (k, T NX, r)."""
    return torch.stack([torch.cat([step(float(k.exp()), t * DT) for t in range(T)]) @ root() for k in LOGS])


@cache
def marginal() -> LowRankCovariance:
    """Covariance of the coefficients: of windows over all k, and of log k along its coordinate; nothing between both."""
    values, vectors = torch.linalg.eigh((windows() @ windows().mT).mean(0))
    keep = values > 1e-6 * values[-1]
    rows = torch.zeros(int(keep.sum()) + 1, 2, T * NX, dtype=torch.float64)
    rows[:-1, 0], rows[-1, 1] = vectors[:, keep].T, UNIT
    return LowRankCovariance(rows.flatten(1), torch.cat([values[keep], torch.tensor([SIZE**2]).double()]))


class TrueDenoiser(Denoiser):
    """E[z | z + u noise] of the law of windows and log k, a mixture over k."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule = EDMSchedule()
        self.register_buffer("anchor", torch.zeros(1, dtype=torch.float64))

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        u, roots = float(self.schedule(torch.as_tensor(t).reshape(-1)[0])[1]), windows()
        x, place = x_t[:, 0].flatten(1), x_t[:, 1].flatten(1).sum(1) * UNIT
        lower = torch.linalg.cholesky(roots.mT @ roots + u**2 * torch.eye(roots.shape[2], dtype=torch.float64))
        seen = torch.einsum("kdr,nd->krn", roots, x)
        white, at = torch.linalg.solve_triangular(lower, seen, upper=False), (SIZE / SPREAD * (LOGS - MIDDLE))[:, None]
        logs = 0.5 * (white**2).sum(1) / u**2 - lower.diagonal(dim1=1, dim2=2).log().sum(1)[:, None] - 0.5 * ((place - at) / u) ** 2
        share = torch.softmax(logs, 0)
        field = torch.einsum("kn,kdr,krn->nd", share, roots, torch.cholesky_solve(seen, lower))
        number = ((share * at).sum(0)[:, None] * UNIT).expand_as(field)
        return torch.stack([field, number], 1).reshape(x_t.shape)


@dataclass(frozen=True, eq=False)
class Case:
    """A truth (2, T, NX) and readings of it: their places as a matrix (READ, T NX) and their values."""

    truth: Tensor
    places: Tensor
    y: Tensor

    @property
    def log_k(self) -> float:
        return float(self.truth[1, 0, 0].log())


def truths(seed: int, count: int) -> Tensor:
    logs = LOGS[0] + (LOGS[-1] - LOGS[0]) * Rng(seed).child("k").uniform((count,), like=LOGS)
    first = Rng(seed).child("first").normal((count, root().shape[1]), like=LOGS) @ root().T
    fields = torch.stack([torch.stack([step(float(k.exp()), t * DT) @ c for t in range(T)]) for k, c in zip(logs, first, strict=True)])
    return torch.stack([fields, logs.exp()[:, None, None].expand(-1, T, NX)], 1)


def cases(count: int) -> list[Case]:
    made = []
    for i, truth in enumerate(truths(2, count)):
        rng, places = Rng(4).child(i), torch.zeros(READ, T * NX, dtype=torch.float64)
        places[torch.arange(READ), torch.as_tensor(rng.child("where").permutation(T * NX)[:READ])] = 1
        made.append(Case(truth, places, places @ truth[0].flatten() + NOISE * rng.child("noise").normal((READ,), like=LOGS)))
    return made


def residual() -> PhysicsResidual:
    return PhysicsResidual(LAW, Spectral(GRID), SPEC, parameters={"diffusivity": "diffusivity"})


def differenced(k: Tensor) -> Tensor:
    """The residual of windows given k as a matrix."""
    unit = torch.eye(T * NX, dtype=torch.float64).reshape(-1, 1, T, NX)
    return residual()(torch.cat([unit, k.exp().expand_as(unit)], 1)).flatten(1).T


def stepped(k: Tensor) -> Tensor:
    """Frames less the solver's step from the frames before, over the time step, as a matrix ((T - 1) NX, T NX)."""
    rows = torch.zeros(T - 1, NX, T, NX, dtype=torch.float64)
    for t in range(T - 1):
        rows[t, :, t + 1], rows[t, :, t] = torch.eye(NX).double(), -step(float(k.exp()), DT)
    return rows.reshape(-1, T * NX) / DT


def posterior_of(case: Case, roots: Tensor, laws: Tensor | None = None, std: Tensor | float = 1.0) -> Tensor:
    """p(k | readings and the law taken as readings of zero) on `LOGS`, windows being N(0, root root^T) given k."""
    white = case.places @ roots / NOISE
    goal = (case.y / NOISE).expand(len(LOGS), -1)
    if laws is not None:
        law = laws @ roots / torch.as_tensor(std).reshape(-1, 1)
        white, goal = torch.cat([white, law], 1), torch.cat([goal, goal.new_zeros(law.shape[:2])], 1)
    lower = torch.linalg.cholesky(torch.eye(white.shape[2]).double() + white.mT @ white)
    found = torch.linalg.solve_triangular(lower, white.mT @ goal[..., None], upper=False)
    return torch.softmax(0.5 * (found**2).sum((1, 2)) - lower.diagonal(dim1=1, dim2=2).log().sum(1), 0)


def judged(found: list[tuple[Case, Tensor]]) -> tuple[float, float]:
    """Coverage of central 90 % intervals of log k, and bias of its mean."""
    inside, bias = [], []
    for case, weights in found:
        below = float(weights[LOGS < case.log_k].sum())
        inside.append(0.05 < below < 0.95)
        bias.append(float(weights @ LOGS) - case.log_k)
    return sum(inside) / len(inside), sum(bias) / len(bias)


@pytest.mark.slow
def test_a_law_is_no_reading_beside_a_prior_of_windows() -> None:
    """Exactly solved: readings alone are covered; the residual at its tolerance pulls; a solver's step changes nothing; a Gaussian prior fails.

    240 truths: the standard error of a coverage of 0.9 is 0.02.
    """
    made, true = cases(240), windows()
    tolerance = calibrated(residual(), truths(3, 64), dependent=True).noise.variance(torch.empty(1, T, NX)).sqrt().flatten()
    law, solver = torch.stack([differenced(k) for k in LOGS]), torch.stack([stepped(k) for k in LOGS])
    low = marginal()
    fields = low.eigenvectors.reshape(-1, 2, T * NX)[:-1, 0].T * low.eigenvalues[:-1].sqrt()
    gaussian = fields.expand(len(LOGS), -1, -1)
    alone = [(c, posterior_of(c, true)) for c in made]
    assert judged(alone)[0] > 0.9 - 3 * 0.02 and abs(judged(alone)[1]) < 0.05
    found, bias = judged([(c, posterior_of(c, true, law, tolerance)) for c in made])
    assert found < 0.87 and bias < -0.08, "differences in time are taken for news of k"
    for std in (0.01, 1.0):
        for c, weights in alone[:12]:
            torch.testing.assert_close(posterior_of(c, true, solver, std), weights, rtol=0, atol=1e-9)
    found, bias = judged([(c, posterior_of(c, gaussian, law, tolerance)) for c in made])
    assert found < 0.5 and bias < -0.2, "windows that do not know the law, times the law"
    found, bias = judged([(c, posterior_of(c, gaussian, solver, 0.1)) for c in made])
    assert found < 0.6 and bias < -0.1, "not the differences' fault"


@pytest.mark.slow
def test_guidance_with_the_law_is_not_too_narrow_on_the_true_denoiser() -> None:
    """24 truths, 20 members: coverage of log k and of the first frame no less than 0.85 by three standard errors, CRPS near the exact posterior's.

    Intervals of log k are rather too wide (0.998 of these truths, 0.956 of another 24). So it is not the step of
    `Guided` that makes intervals with the law too narrow where the prior is a network.
    """
    unchanged = Normalizer((), torch.zeros(()).double(), torch.ones(()).double())
    number = {"mean": torch.tensor([MIDDLE]).double(), "std": torch.tensor([SPREAD]).double()}
    transform, multistep = ParameterChannels(unchanged, (1,), SIZE, **number), ExponentialMultistep(2, noise=1.0)
    prior = DiffusionPrior(TrueDenoiser(), transform, SPEC, sampler=multistep, steps=24)
    law = calibrated(residual(), truths(3, 64), dependent=True)
    sampler = Guided(multistep, 24, marginal(), shared=True)
    scores: dict[str, list[float]] = {"number": [], "state": [], "crps": [], "exact": []}
    for i, case in enumerate(cases(24)):
        matrix = torch.stack([case.places, torch.zeros_like(case.places)], 1).reshape(READ, 2, T, NX)
        read = Observation(MatrixOperator(matrix), case.y, std=NOISE)
        drawn = sampler.sample(Posterior(prior, (read, law)), 20, rng=Rng(5).child(i)).members
        log_k, true = drawn[:, 1, 0, 0].log(), torch.tensor(case.log_k).double()
        scores["number"].append(float(coverage(log_k, true)))
        scores["state"].append(float(coverage(drawn[:, 0, 0], case.truth[0, 0]).mean()))
        scores["crps"].append(float(crps(log_k, true)))
        weights = posterior_of(case, windows())
        exact = LOGS[torch.searchsorted(weights.cumsum(0), Rng(6).child(i).uniform((200,), like=LOGS)).clamp_max(len(LOGS) - 1)]
        scores["exact"].append(float(crps(exact, true)))
    means = {name: float(np.mean(v)) for name, v in scores.items()}
    for name in ("number", "state"):
        assert means[name] > 0.85 - 3 * max(float(np.std(scores[name], ddof=1)), 0.05) / 24**0.5, means
    assert means["crps"] < 1.25 * means["exact"], means
