r"""Sequential Monte Carlo: weighted particles that follow a path of laws.

Particles start from a law $M_0$, move by kernels $M_k$ and gain log weights $\log G_k$. Where the effective sample size of a population falls below
a share of its number, it is resampled: the evidence takes the mean weight, and the weights begin anew.

$$ \hat Z = \prod_{\text{resamplings}} \frac{1}{N} \sum_i w_i, \qquad E[\hat Z] = Z = E\Big[\prod_k G_k\Big] $$

for any number of particles. What is moved and weighted is a `FeynmanKac` model: a filter, an annealed diffusion, a tempered posterior. Reference:
Del Moral, Feynman-Kac formulae, 2004; Chopin and Papaspiliopoulos, An introduction to sequential Monte Carlo, 2020.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import CollapsedWeights, InputError
from physdiff.base.rng import Rng
from physdiff.inference.resampling import SCHEMES
from physdiff.inference.sharding import Sharded
from physdiff.inference.weights import LogWeights

__all__ = ["FeynmanKac", "Particles", "SMCRun", "Weighed", "run_smc"]

Particles = tuple[Tensor, ...]
Weighed = tuple[Particles, Tensor]


class FeynmanKac(ABC):
    """What is moved and how it is weighted. Particles are a tuple of tensors (*shape, ...): the state, and what it is worth to carry along.

    Attributes:
        steps: Number of moves.
    """

    steps: int

    @abstractmethod
    def start(self, shape: Sequence[int], rng: Rng) -> Weighed:
        """Particles of the first law, of `shape` (*batch, N), and their log weights (*batch, N)."""

    @abstractmethod
    def move(self, k: int, particles: Particles, rng: Rng) -> Weighed:
        """Move k (from 1): the new particles and the log of what their weights are multiplied by, (*batch, N)."""


@dataclass(frozen=True, eq=False)
class SMCRun:
    """What a run leaves.

    Args:
        particles: The last particles.
        weights: Their log weights since the last resampling, (*batch, N).
        log_evidence: Estimate of log Z, (*batch); its exponential is unbiased.
        ess: Effective sample sizes after every weighting, before resampling, (steps + 1, *batch).
        resampled: Whether a population was resampled after that, (steps + 1, *batch).
        origins: Index at the start of the path from which each particle descends, (*batch, N); None if not asked for.
        kept: What `keep` gave after every weighting.
    """

    particles: Particles
    weights: LogWeights
    log_evidence: Tensor
    ess: Tensor
    resampled: Tensor
    origins: Tensor | None = None
    kept: tuple[Tensor, ...] = ()

    @property
    def survivors(self) -> Tensor:
        """Number of different origins among the particles, (*batch)."""
        if self.origins is None:
            raise InputError("SMCRun.survivors: expected a run that kept its origins; pass ancestry=True to run_smc")
        ordered = self.origins.sort(-1).values
        return 1 + (ordered.diff(dim=-1) > 0).sum(-1)


def run_smc(
    model: FeynmanKac,
    particles: int | Sequence[int] | Sharded,
    *,
    rng: Rng,
    scheme: str = "systematic",
    threshold: float = 0.5,
    ancestry: bool = True,
    keep: Callable[[Particles, LogWeights], Tensor] | None = None,
) -> SMCRun:
    """Run a model from its start through all its moves.

    Args:
        model: What is moved and weighted.
        particles: Number N of particles, or (*batch, N) for populations that run side by side and do not meet; or
            N particles shared out over processes, each of which gets the whole result.
        rng: Randomness.
        scheme: Resampling scheme, one of `resampling.SCHEMES`.
        threshold: A population is resampled where its effective sample size is below this share of N; 0: never, 1: at every move.
        ancestry: Whether to keep track of where particles come from.
        keep: Called after every weighting with particles and weights.

    Raises:
        InputError: If a number makes no sense, there is no such scheme, or `keep` is asked of particles on several processes.
        CollapsedWeights: If all particles of a population lose their weight; the message names the move.
    """
    crew = particles if isinstance(particles, Sharded) else None
    shape = _checked(particles, scheme, threshold)
    if crew is not None and keep is not None:
        raise InputError("run_smc: expected no `keep` with particles on several processes, got one; keep what the run returns")
    state, log_g = _started(model, shape, rng.child("start"), crew)
    weights = _weighted(LogWeights.equal(shape, log_g.device), log_g, 0, model.steps)
    evidence = torch.zeros(shape[:-1], dtype=torch.float64, device=log_g.device)
    origins = torch.arange(shape[-1], device=log_g.device).expand(shape) if ancestry else None
    ess, resampled, kept = [], [], []
    for k in range(model.steps + 1):
        if k > 0:
            state, log_g = _moved(model, k, state, rng.child("move", k), crew)
            weights = _weighted(weights, log_g, k, model.steps)
        ess.append(weights.ess)
        if keep is not None:
            kept.append(keep(state, weights))
        # the last weights stay as they are: resampling them would only add noise
        low = (ess[-1] < threshold * shape[-1]) if k < model.steps else torch.zeros_like(ess[-1], dtype=torch.bool)
        resampled.append(low)
        if bool(low.any()):
            chosen = SCHEMES[scheme](weights.normalised, rng.child("resample", k))
            evidence = evidence + torch.where(low, weights.log_mean, 0.0)
            if bool(low.all()):
                weights = LogWeights.equal(shape, log_g.device)
            else:
                chosen = torch.where(low[..., None], chosen, torch.arange(shape[-1], device=chosen.device))
                weights = LogWeights(torch.where(low[..., None], 0.0, weights.values))
            state = tuple(_taken(part, chosen) if crew is None else crew.taken(part, chosen) for part in state)
            origins = None if origins is None else torch.gather(origins, -1, chosen)
    total = evidence + weights.log_mean
    state = state if crew is None else tuple(crew.gathered(part) for part in state)
    return SMCRun(state, weights, total, torch.stack(ess), torch.stack(resampled), origins, tuple(kept))


def _checked(particles: int | Sequence[int] | Sharded, scheme: str, threshold: float) -> tuple[int, ...]:
    """(*batch, N)."""
    check_one_of(scheme, SCHEMES, "run_smc scheme")
    shape = (particles,) if isinstance(particles, int) else (particles.count,) if isinstance(particles, Sharded) else tuple(particles)
    if not shape or min(shape) < 1:
        raise InputError(f"run_smc: expected one particle or more, got {particles}")
    if not 0 <= threshold <= 1:
        raise InputError(f"run_smc: expected a threshold in [0, 1], got {threshold}; it is a share of the particles")
    return shape


def _started(model: FeynmanKac, shape: tuple[int, ...], rng: Rng, crew: Sharded | None) -> Weighed:
    if crew is None:
        return model.start(shape, rng)
    first, last = crew.bounds()
    return crew.weighed(lambda: model.start((last - first,), crew.rows(rng)))


def _moved(model: FeynmanKac, k: int, state: Particles, rng: Rng, crew: Sharded | None) -> Weighed:
    return model.move(k, state, rng) if crew is None else crew.weighed(lambda: model.move(k, state, crew.rows(rng)))


def _weighted(weights: LogWeights, log_g: Tensor, k: int, steps: int) -> LogWeights:
    try:
        return weights.times(log_g)
    except CollapsedWeights as error:
        raise CollapsedWeights(f"move {k} of {steps}: {error}") from error


def _taken(part: Tensor, ancestors: Tensor) -> Tensor:
    """The ancestors' entries of a tensor (*batch, N, ...)."""
    if ancestors.ndim == 1:
        return torch.index_select(part, 0, ancestors)
    n = ancestors.shape[-1]
    rows = ancestors.reshape(-1, n)
    flat = (rows + n * torch.arange(len(rows), device=rows.device)[:, None]).flatten()
    inner = part.shape[ancestors.ndim :]
    return torch.index_select(part.reshape(-1, *inner), 0, flat).reshape(*ancestors.shape, *inner)
