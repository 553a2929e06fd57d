r"""Samplers that take prior and readings in turns: DiffPIR, DAPS, split Gibbs (PnP-DM), and RED-diff, which returns a point.

$p(z | x, y) \propto p(y | A(z)) N(z; x, \rho^2 I)$ is `coupling`'s part; the prior's is the denoiser D at noise-to-signal ratio u.

    DiffPIR      z = mode given D(x) with rho^2 = u^2/weight;  x' = z + u' (sqrt(share) eps + sqrt(1 - share) (x - z)/u)
    DAPS         z ~ given the end of the probability flow from x, rho = u;  x' = z + u' eps
    SplitGibbs   z ~ given x;  x ~ prior given z = x + rho noise (the reverse diffusion from ratio rho); rho falls to its last value and stays
    REDDiff      minimise -log p(y | z) + weight * sum of z . (eps_D - eps)/u over levels u by Adam: a mode, not a draw

SplitGibbs is exact for the law whose readings carry the variance rho^2 more, in the units of the coefficients (T1 of the cards: for a prior N(0,
t^2) and A = 1 it is N(v y/(s^2 + rho^2), v), 1/v = 1/t^2 + 1/(s^2 + rho^2)): no weights, bias by rho alone. The others are heuristics. References:
Zhu and others, Denoising diffusion models for plug-and-play image restoration, 2023; Zhang and others, Improving diffusion inverse problem solving
with decoupled noise annealing, 2024; Wu and others, Principled probabilistic imaging using diffusion models as plug-and-play priors, 2024; Mardani
and others, A variational perspective on solving inverse problems with diffusion models, 2023.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.diffusion.schedule import per_sample
from physdiff.inference.clean_scale import CleanScale
from physdiff.inference.coupling import Coupling
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.posterior import Posterior, PosteriorSampler

__all__ = ["DAPS", "DiffPIR", "REDDiff", "SplitGibbs"]

# Levels of REDDiff: a prior smoothed by less than this share of its coefficients' size has modes of its own noise.
_LAST_LEVEL = 0.02


class DiffPIR(PosteriorSampler):
    """Half-quadratic splitting; a heuristic.

    Args:
        steps: Number of levels; 100 if None.
        weight: lambda, how much the denoised state counts against the readings.
        share: Share of fresh noise, zeta in the paper, in [0, 1].
        max_batch: Number of members that go through the network at once.
    """

    def __init__(self, steps: int | None = None, weight: float = 1.0, share: float = 1.0, *, max_batch: int = 64) -> None:
        if not 0 <= share <= 1:
            raise InputError(f"DiffPIR: expected a share in [0, 1], got {share}")
        self.steps, self.share, self.max_batch = steps, share, max_batch
        self.weight = check_positive(weight, "DiffPIR weight")

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members; `info` as `CleanScale.ensemble` says."""
        coupling = Coupling(posterior)
        scale = CleanScale(coupling, self.steps or 100)

        def walk(x: Tensor, rng: Rng) -> Tensor:
            for k, (u, v) in enumerate(zip(scale.ratios, scale.ratios[1:], strict=False)):
                z = coupling.mode(scale.mean(x, u), u / self.weight**0.5)
                noise = rng.child("step", k).normal(x.shape, like=x)
                x = z + v * (self.share**0.5 * noise + (1 - self.share) ** 0.5 * (x - z) / u)
            return x

        return scale.ensemble(n, walk, max_batch=self.max_batch, rng=rng, what="DiffPIR")


class DAPS(PosteriorSampler):
    """Decoupled annealing; a heuristic: the clean state given a noisy one is taken as N(end of the flow, u^2 I).

    Args:
        steps: Number of levels; 50 if None.
        inner: Steps of the flow at each level.
        moves: Langevin moves at each level, where the readings are not affine with Gaussian noise.
        max_batch: Number of members that go through the network at once.
    """

    def __init__(self, steps: int | None = None, inner: int = 5, moves: int = 20, *, max_batch: int = 64) -> None:
        if inner < 1:
            raise InputError(f"DAPS: expected one inner step or more, got {inner}")
        self.steps, self.inner, self.moves, self.max_batch = steps, inner, moves, max_batch

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members; `info` as `CleanScale.ensemble` says, and ``acceptance`` of the last moves where there are any."""
        coupling = Coupling(posterior, moves=self.moves)
        scale = CleanScale(coupling, self.steps or 50)

        def walk(x: Tensor, rng: Rng) -> Tensor:
            z = x
            for k, (u, v) in enumerate(zip(scale.ratios, scale.ratios[1:], strict=False)):
                z = coupling.draw(scale.flow(x, u, self.inner), u, rng.child("draw", k))
                x = z + v * rng.child("step", k).normal(x.shape, like=x)
            return z

        return _with_acceptance(scale.ensemble(n, walk, max_batch=self.max_batch, rng=rng, what="DAPS"), coupling)


class SplitGibbs(PosteriorSampler):
    """Gibbs sampling of a split posterior; exact as rho goes to 0 and the rounds, inner steps and moves grow.

    Args:
        steps: Number of rounds; 60 if None.
        rho: First and last coupling, in units of the coefficients.
        decay: Factor of the coupling from round to round.
        inner: Steps of the reverse diffusion in each round.
        moves: Langevin moves in each round, where the readings are not affine with Gaussian noise.
        max_batch: Number of members, each a chain of its own, that go through the network at once.

    Raises:
        InputError: If a number makes no sense.
    """

    def __init__(
        self,
        steps: int | None = None,
        rho: tuple[float, float] = (2.0, 0.1),
        decay: float = 0.9,
        *,
        inner: int = 20,
        moves: int = 20,
        max_batch: int = 64,
    ) -> None:
        if not 0 < rho[1] <= rho[0] or not 0 < decay < 1 or inner < 2:
            raise InputError(
                f"SplitGibbs: expected rho falling from the first to the last, a decay in (0, 1) and inner >= 2, got {rho}, {decay}, {inner}"
            )
        self.steps, self.rho, self.decay, self.inner, self.moves, self.max_batch = steps, rho, decay, inner, moves, max_batch
        self._sampler = ExponentialMultistep(2, noise=1.0)

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members; `info` as `CleanScale.ensemble` says, ``rho`` of the last round, and ``acceptance`` of the last moves if any."""
        coupling, rounds = Coupling(posterior, moves=self.moves), self.steps or 60
        scale = CleanScale(coupling, 1)
        if not scale.least < self.rho[1] or self.rho[0] > scale.ratios[0]:
            least, most = scale.least, scale.ratios[0]
            raise InputError(f"SplitGibbs: expected rho within the schedule's noise-to-signal ratios, {least:.3g} to {most:.3g}, got {self.rho}")
        rhos = [max(self.rho[1], self.rho[0] * self.decay**k) for k in range(rounds)]

        def walk(x: Tensor, rng: Rng) -> Tensor:
            # begin with draws of the prior: from noise at the first ratio
            x = self._clean(scale, x, scale.ratios[0], rng.child("prior"))
            for k, rho in enumerate(rhos):
                x = self._clean(scale, coupling.draw(x, rho, rng.child("draw", k)), rho, rng.child("clean", k))
            return x

        ensemble = _with_acceptance(scale.ensemble(n, walk, max_batch=self.max_batch, rng=rng, what="SplitGibbs"), coupling)
        return Ensemble(ensemble.members, ensemble.log_weights, {**ensemble.info, "rho": torch.tensor(rhos[-1])})

    def _clean(self, scale: CleanScale, z: Tensor, u: float, rng: Rng) -> Tensor:
        """A draw of the prior's coefficients given z = x + u noise."""
        last = max(min(u / 50, 0.05), scale.least)
        ratios = torch.logspace(math.log10(u), math.log10(last), self.inner, dtype=torch.float64)
        times = torch.cat([scale.schedule.time_of(-torch.log(ratios)), torch.zeros(1, dtype=torch.float64)])
        scale.evaluations += self.inner
        state = per_sample(scale.schedule.alpha(times[0]), z) * z
        return self._sampler.run(scale.denoiser, state, times, cond=scale.cond, rng=rng)


class REDDiff(PosteriorSampler):
    """A mode of the posterior by regularisation with the denoiser; a POINT: the spread of members is no posterior spread.

    The noise of each level is used with both signs, which takes it out of the gradient to leading order (two evaluations a step).

    Args:
        steps: Number of Adam steps, from large noise to a fiftieth of the coefficients' size; 300 if None.
        weight: lambda; with 1 the last step's stationary point is a mode of the posterior with a prior smoothed by that noise.
        rate: Learning rate at the start, in units of the coefficients; it falls as a cosine.
        max_batch: Number of members that go through the network at once.
    """

    def __init__(self, steps: int | None = None, weight: float = 1.0, rate: float = 0.1, *, max_batch: int = 64) -> None:
        self.steps, self.max_batch = steps, max_batch
        self.weight, self.rate = check_positive(weight, "REDDiff weight"), check_positive(rate, "REDDiff rate")

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Run n times from different starts; `info` as `CleanScale.ensemble` says, and ``point``: True."""
        coupling, steps = Coupling(posterior), self.steps or 300
        scale = CleanScale(coupling, 1)
        first = min(scale.ratios[0], 5.0)
        levels = [first * (_LAST_LEVEL / first) ** (k / max(steps - 1, 1)) for k in range(steps)]

        def walk(x: Tensor, rng: Rng) -> Tensor:
            # from one unit of noise, not from the first ratio: Adam moves by its rate
            z = (x / scale.ratios[0]).requires_grad_()
            adam = torch.optim.Adam([z], lr=self.rate, betas=(0.9, 0.99))
            decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
            for k, u in enumerate(levels):
                noise = u * rng.child("step", k).normal(z.shape, like=z)
                # the two signs' (eps_D - eps)/u add up to z less the mean of both denoised states
                pull = (z - 0.5 * (scale.mean(z + noise, u) + scale.mean(z - noise, u))) / u**2
                z.grad = self.weight * pull - coupling.likelihood(z)[1]
                adam.step()
                decay.step()
            return z.detach()

        ensemble = scale.ensemble(n, walk, max_batch=self.max_batch, rng=rng, what="REDDiff")
        return Ensemble(ensemble.members, ensemble.log_weights, {**ensemble.info, "point": torch.tensor(True)})


def _with_acceptance(ensemble: Ensemble, coupling: Coupling) -> Ensemble:
    if math.isnan(coupling.acceptance):
        return ensemble
    return Ensemble(ensemble.members, ensemble.log_weights, {**ensemble.info, "acceptance": torch.tensor(coupling.acceptance)})
