"""HMC on coefficients of laws, through solvers: one coefficient, two, and one with the initial state, against quadrature on a grid.

The prior is normal in the logarithms of the coefficients, and `ExactLinear` in one step is the exact map from noise to it, so that the density of
quadrature is that of the chains and nothing but Monte Carlo is allowed for. Standard errors come from the means of the chains, which are independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.exact import GaussianTarget, plain_prior
from physdiff.inference.hmc import HMC, NUTS
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.solved import Solved
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.pdes.pde import PDE
from physdiff.solvers.etdrk import ETDRK2

N = 16
GRID = CartesianGrid((N,), extent=(2 * math.pi,), periodic=True)
PLACE = torch.arange(N, dtype=torch.float64) * 2 * math.pi / N
TIMES = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
SEEN = torch.arange(0, N, 4)


def reading() -> MatrixOperator:
    """Every fourth point at both later times, (8 readings)."""
    matrix = torch.zeros(8, 1, 3, N, dtype=torch.float64)
    matrix[torch.arange(8), 0, torch.tensor([1, 2]).repeat(4), SEEN.repeat_interleave(2)] = 1
    return MatrixOperator(matrix)


@dataclass(frozen=True)
class Law:
    """A law with unknown coefficients and a known first state.

    Args:
        pde: Of unit coefficients.
        names: Of the coefficients.
        start: First state (N,).
        mean: Of the logarithms, (k,).
        std: Of them, (k,).
        noise: Standard deviation of the readings.
        points: Number of points of quadrature along each.
    """

    pde: PDE
    names: tuple[str, ...]
    start: Tensor
    mean: Tensor
    std: Tensor
    noise: float
    points: int

    def operator(self) -> Solved:
        """Readings of the solver's trajectory."""
        spec = self.spec
        links = {name: (f"log_{name}", torch.exp) for name in self.names}
        return Solved(
            self.pde, lambda law: ETDRK2(law, Spectral(GRID)), spec, times=TIMES, reading=reading(), parameters=links, substeps=2
        )

    @property
    def spec(self) -> FieldSpec:
        """The state, and the logarithms as channels constant in space."""
        return FieldSpec((*self.pde.fields, *(f"log_{n}" for n in self.names)), ("1",) * (1 + len(self.names)), GRID, 1.0, 1)

    def windows(self, logs: Tensor) -> Tensor:
        """(B, k) to windows."""
        constant = logs[:, :, None, None].expand(-1, -1, 1, N)
        return torch.cat([self.start.expand(len(logs), 1, 1, N), constant], 1)

    def posterior(self, y: Tensor) -> Posterior:
        """The target."""
        k = len(self.names)
        rows = torch.zeros(k, 1 + k, N, dtype=torch.float64)
        rows[torch.arange(k), 1 + torch.arange(k)] = 1 / math.sqrt(N)
        covariance = LowRankCovariance(rows.flatten(1), self.std**2 * N)
        denoiser = GaussianDenoiser(EDMSchedule(), self.windows(self.mean[None])[0], covariance)
        prior = plain_prior(denoiser, self.spec, sampler=ExactLinear(), steps=1)
        return Posterior(prior, Observation(self.operator(), y, std=self.noise))

    def quadrature(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Places (points^k, k), five and a half prior standard deviations each way, and the posterior's weights there."""
        axis = torch.linspace(-5.5, 5.5, self.points, dtype=torch.float64)
        z = torch.cartesian_prod(*[axis] * len(self.names)).reshape(-1, len(self.names))
        logs, operator = self.mean + self.std * z, self.operator()
        with torch.no_grad():
            off = torch.cat([operator(self.windows(part)) for part in logs.split(4096)]) - y
        return logs, torch.softmax(-0.5 * (off / self.noise).square().sum(1) - 0.5 * z.square().sum(1), 0)

    def draw(self, seed: int) -> tuple[Tensor, Tensor]:
        """A truth of the prior (k,) and its readings."""
        truth = self.mean + self.std * Rng(seed).child("truth").normal(self.mean.shape, like=self.mean)
        clean = self.operator()(self.windows(truth[None]))[0]
        return truth, clean + self.noise * Rng(seed).child("noise").normal(clean.shape, like=clean)


def viscosity() -> Law:
    """A sine that steepens."""
    wave = torch.sin(PLACE)
    return Law(Burgers(1.0), ("viscosity",), wave, torch.tensor([-2.0]).double(), torch.tensor([0.6]).double(), 0.03, 1101)


def growth() -> Law:
    """A hump that spreads and grows; both coefficients are told by few readings, so that the posterior bends."""
    hump = 0.3 + 0.25 * torch.cos(PLACE)
    mean, std = torch.tensor([-1.0, 0.0]).double(), torch.tensor([0.7, 0.5]).double()
    return Law(FisherKPP(1.0, 1.0), ("diffusivity", "rate"), hump, mean, std, 0.05, 141)


def statistics(logs: Tensor, edges: Tensor) -> Tensor:
    """Each logarithm, its square, all products, and whether it lies below each of the edges (q, k); (n, columns)."""
    pairs = torch.einsum("ni,nj->nij", logs, logs).flatten(1)
    return torch.cat([logs, pairs, (logs[:, None] < edges).flatten(1).double()], 1)


def quantiles(logs: Tensor, weights: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Marginal quantiles (levels, k), linear between the points of quadrature."""
    out = []
    for column in logs.T:
        places, index = column.unique(return_inverse=True)
        below = torch.zeros(len(places), dtype=torch.float64).index_add(0, index, weights).cumsum(0)
        step = places[1] - places[0]  # mass of a point sits on the cell around it
        at = torch.searchsorted(below, torch.tensor(levels, dtype=torch.float64))
        before = torch.where(at > 0, below[at - 1], 0.0)
        out.append(places[at] - step / 2 + step * (torch.tensor(levels, dtype=torch.float64) - before) / (below[at] - before))
    return torch.stack(out, 1)


def log_coefficients(run: Ensemble) -> Tensor:
    """(n, k); they are constant in space."""
    logs = run.members[:, 1:, 0]
    assert float(logs.std(2).max()) < 1e-12
    return logs[..., 0]


def hmc(chains: int, warmup: int, draws: int) -> HMC:
    return HMC(None, None, 6, chains=chains, warmup=warmup, draws=draws, max_batch=chains)


def check(law: Law, chains_of: HMC | NUTS, *, mixed: float) -> None:
    """Moments and quantiles of all chains within 4 standard errors of quadrature; the errors are small enough to say something."""
    _, y = law.draw(3)
    logs, weights = law.quadrature(y)
    edges = quantiles(logs, weights, (0.05, 0.25, 0.5, 0.75, 0.95))
    exact = weights @ statistics(logs, edges)
    k = len(law.names)
    # indicators are smoothed by neither side; quadrature's own are off by half a cell, so they are replaced by the levels they stand for
    exact[k + k * k :] = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]).double().repeat_interleave(k)
    chains, draws = chains_of.chains, chains_of.draws or 0
    run = chains_of.sample(law.posterior(y), chains * draws, rng=Rng(0))
    each = statistics(log_coefficients(run), edges).reshape(draws, chains, -1).mean(0)
    error = each.std(0) / math.sqrt(chains)
    off = (each.mean(0) - exact) / error
    assert bool((off.abs() < 4).all()), off
    sd = (exact[k : k + k * k].reshape(k, k).diagonal() - exact[:k] ** 2).sqrt()
    assert bool((error[:k] < 0.08 * sd).all()), error[:k] / sd
    assert float(run.info["rhat"]) < mixed and int(run.info["divergences"]) == 0, run.info


@pytest.mark.slow
@pytest.mark.parametrize(("law", "mixed"), [(viscosity, 1.05), (growth, 1.06)])
def test_coefficients_against_quadrature(law: Callable[[], Law], mixed: float) -> None:
    """R-hat of two coefficients was 1.051 after 60 draws of 60 chains."""
    check(law(), hmc(60, 40, 60), mixed=mixed)


@pytest.mark.slow
@pytest.mark.parametrize("law", [viscosity, growth])
def test_no_u_turns_on_coefficients(law: Callable[[], Law]) -> None:
    """Trajectories that choose their own length find the same posterior.

    R-hat compares halves of chains: some four of the 15 in each are effective, and sqrt(1 + 1/4) = 1.12 is what that gives (1.084, 1.061 seen).
    """
    check(law(), NUTS(None, None, 5, chains=60, warmup=30, draws=30, max_batch=60), mixed=1.12)


@pytest.mark.slow
def test_coverage_over_truths() -> None:
    """Six truths of the prior: where each lies in the chains' draws is where it lies by quadrature, and these places are uniform.

    Of the six places the sum of squared normal scores is below its 99.9 % point, 22.5 (chi-squared of six).
    """
    law, scores = viscosity(), []
    for seed in range(10, 16):
        truth, y = law.draw(seed)
        logs, weights = law.quadrature(y)
        exact = float(weights[logs[:, 0] < truth].sum())
        run = hmc(40, 25, 15).sample(law.posterior(y), 600, rng=Rng(seed))
        each = (log_coefficients(run)[:, 0] < truth).double().reshape(15, 40).mean(0)
        # a place near 0 or 1 that few draws reach has no spread of its own: that of independent draws is added
        error = math.sqrt(float(each.var()) / 40 + exact * (1 - exact) / 600)
        assert abs(float(each.mean()) - exact) < 4 * error, (seed, exact)
        scores.append(math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * exact - 1, dtype=torch.float64))))
    assert sum(score**2 for score in scores) < 22.5, scores


ORDERS = torch.tensor([1.0, 1, 2, 2, 3, 3], dtype=torch.float64)
SHIFTS = torch.tensor([0.0, math.pi / 2] * 3, dtype=torch.float64)
RATES = torch.linspace(-6, 3, 901, dtype=torch.float64)  # of log k


def waves(points: Tensor, t: Tensor | float) -> Tensor:
    return torch.sin(ORDERS[:, None] * (points - t) + SHIFTS[:, None])


def unknown_state() -> tuple[Posterior, Tensor, Tensor]:
    """Waves 1 to 3 of unknown amplitudes (6, standard deviations 1/k), carried and damped with log k ~ N(-2, 0.8^2); 8 readings, noise 0.1.

    Given k the readings are linear in the amplitudes, so that p(k | y) and E[amplitudes | y] follow from quadrature over log k. Returns the
    posterior, the density of log k on `RATES` and the mean amplitudes.
    """
    basis, std = waves(PLACE, 0.0), 1 / ORDERS
    rows = torch.zeros(7, 2 * N, dtype=torch.float64)
    rows[:6, :N], rows[6, N:] = basis * math.sqrt(2 / N), 1 / math.sqrt(N)
    mean = torch.zeros(2, 1, N, dtype=torch.float64)
    mean[1] = -2.0
    spec = FieldSpec(("c", "log_k"), ("1", "1"), GRID, 1.0, 1)
    covariance = LowRankCovariance(rows, torch.cat([std**2 * N / 2, torch.tensor([0.64 * N]).double()]))
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), mean, covariance), spec, sampler=ExactLinear(), steps=1)
    moments, spots = TIMES[1:].repeat(4), PLACE[SEEN].repeat_interleave(2)
    phases = torch.sin(ORDERS * (spots - moments)[:, None] + SHIFTS)
    truth = Rng(3).normal((6,), like=std) * std

    def design(log_k: Tensor) -> Tensor:
        return phases * torch.exp(-log_k.exp() * ORDERS**2 * moments[:, None])

    y = design(torch.tensor(-1.5)) @ truth + 0.1 * Rng(4).normal((8,), like=std)
    logs, means = [], []
    for log_k in RATES:
        given = GaussianTarget(torch.zeros(6).double(), torch.diag(std**2), design(log_k), y, torch.full((8,), 0.1).double())
        logs.append(given.log_evidence - 0.5 * ((float(log_k) + 2) / 0.8) ** 2)
        means.append(given.posterior_mean)
    weights = torch.softmax(torch.tensor(logs, dtype=torch.float64), 0)
    # the integrator is exact here, whatever its step
    operator = Solved(
        AdvectionDiffusion(0.1, (1.0,)),
        lambda law: ETDRK2(law, Spectral(GRID)),
        spec,
        times=TIMES,
        reading=reading(),
        parameters={"diffusivity": ("log_k", torch.exp)},
    )
    return Posterior(prior, Observation(operator, y, std=0.1)), weights, weights @ torch.stack(means)


@pytest.mark.slow
def test_coefficient_and_state_together() -> None:
    """Mean of log k, its square and the six amplitudes by HMC against quadrature."""
    posterior, weights, amplitudes = unknown_state()
    chains, draws = 100, 50
    run = HMC(None, None, 6, chains=chains, warmup=100, draws=draws, max_batch=chains).sample(posterior, chains * draws, rng=Rng(0))
    log_k = log_coefficients(run)
    found = torch.cat([log_k, log_k**2, run.members[:, 0, 0] @ waves(PLACE, 0.0).T * 2 / N], 1).reshape(draws, chains, 8).mean(0)
    exact = torch.cat([torch.stack([weights @ RATES, weights @ RATES**2]), amplitudes])
    error = found.std(0) / math.sqrt(chains)
    off = (found.mean(0) - exact) / error
    assert bool((off.abs() < 4).all()), off
    # within a chain the seven numbers mix slowly (R-hat 1.23), which its standard errors, taken between chains, allow for
    assert float(error[0]) < 0.05 and int(run.info["divergences"]) == 0 and float(run.info["rhat"]) < 1.4, run.info
