r"""Tempered particles: draws of the prior, the likelihood raised step by step, and moves of the noise they were made from.

A deterministic sampler G makes the prior's draw x = G(z) from standard normal noise z, so that the posterior is a law of z with a known density,
$N(z; 0, I) \, p(y | G(z))$. Exponents $0 = \beta_0 < \dots < \beta_K = 1$ are chosen as far apart as keeps the conditional effective sample size at a
share of the particles; then particles are resampled and moved by the preconditioned Crank-Nicolson walk

$$ z' = \sqrt{1 - b^2}\, z + b \xi, \qquad \text{accepted with probability } \min(1, e^{\beta (r(x') - r(x))}), $$

which leaves each tempered law as it is, in any dimension; b follows the acceptance. No gradients: any operator and any noise law will do. Exact for
the prior as this sampler draws it. References: Del Moral, Doucet and Jasra, Sequential Monte Carlo samplers, 2006; Zhou, Johansen and Aston, 2016;
Cotter, Roberts, Stuart and White, MCMC methods for functions, 2013.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import CollapsedWeights, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.inference.diffusion_path import count_of, to_ensemble
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.pushed import Pushed
from physdiff.inference.resampling import SCHEMES
from physdiff.inference.sharding import Alone, Sharded
from physdiff.inference.smc import Particles, SMCRun
from physdiff.inference.weights import LogWeights

__all__ = ["TemperedSMC", "next_exponent"]

# Acceptance the walk aims at; flat between 0.2 and 0.4.
_ACCEPTANCE = 0.3


def next_exponent(weights: LogWeights, log_likelihood: Tensor, beta: float, *, share: float) -> float:
    """The largest exponent up to 1 at which the conditional effective sample size is still `share` of the particles.

    Args:
        weights: Of one population, (N,).
        log_likelihood: r of every particle, (N,); -inf allowed.
        beta: Exponent reached.
        share: In (0, 1).
    """

    def size(step: float) -> float:
        return float(weights.cess(step * log_likelihood)) / weights.count

    if size(1 - beta) >= share:
        return 1.0
    low, high = 0.0, 1 - beta
    # CESS falls from N as the step grows; 60 halvings reach the last digit
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if size(middle) >= share else (low, middle)
    # a likelihood so sharp that no step keeps the share still has to move on
    return beta + max(high, 1e-12)


class TemperedSMC(PosteriorSampler):
    """Draw from a posterior by tempering and moves of the starting noise.

    Args:
        sampler: A deterministic sampler (Heun, DPMSolver2M, DDIM with eta 0); the prior's own if None (DPMSolver2M where that adds noise).
        steps: Number of its steps; the prior's own if None.
        moves: Moves of every particle at each exponent; each costs a run of the sampler.
        particles: Number of particles; as many as members, at least 64, if None; `Sharded`: so many on several processes.
        share: Share of the particles at which the conditional effective sample size is kept.
        scheme: Resampling scheme, see `run_smc`.
        max_batch: Number of particles that go through the network at once.

    Raises:
        InputError: If a number makes no sense.
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        steps: int | None = None,
        moves: int = 5,
        *,
        particles: int | Sharded | None = None,
        share: float = 0.5,
        scheme: str = "systematic",
        max_batch: int = 64,
    ) -> None:
        check_one_of(scheme, SCHEMES, "TemperedSMC scheme")
        if moves < 1 or not 0 < share < 1:
            raise InputError(f"TemperedSMC: expected one move or more and a share in (0, 1), got {moves} and {share}")
        self.sampler, self.steps, self.moves, self.particles = sampler, steps, moves, particles
        self.share, self.scheme, self.max_batch = share, scheme, max_batch

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members.

        `info` as `diffusion_path.to_ensemble` says, an entry of ``ess`` for each exponent, and ``exponents``, ``acceptance`` (one for each).

        Raises:
            InputError: If a sampler was given that is not deterministic.
            CollapsedWeights: If all particles lose their weight.
        """
        begun = posterior.begin()
        count = count_of(self.particles, n, "TemperedSMC")
        crew = Alone(count) if isinstance(count, int) else count
        draw = _Weighed(posterior, self, crew)
        (z, x), r = draw.start(rng.child("start"))
        weights, width, beta = LogWeights.equal((crew.count,), r.device), 1.0, 0.0
        evidence = torch.zeros((), dtype=torch.float64, device=r.device)
        origins = torch.arange(crew.count, device=r.device)
        sizes, accepted, exponents = [], [], list[float]()
        while beta < 1:
            level = len(exponents)
            new = next_exponent(weights, r, beta, share=self.share)
            weights = weights.times((new - beta) * r)
            beta = new
            evidence = evidence + weights.log_mean
            sizes.append(weights.ess)
            exponents.append(beta)
            chosen = SCHEMES[self.scheme](weights.normalised, rng.child("resample", level))
            z, x, r, origins = crew.taken(z, chosen), crew.taken(x, chosen), r[chosen], origins[chosen]
            weights = LogWeights.equal((crew.count,), r.device)
            shares = []
            for move in range(self.moves):
                (z, x, took), r = draw.move((z, x), r, beta=beta, width=width, rng=rng.child("move", level, move))
                shares.append(crew.gathered(took).mean())
                width = min(1.0, max(1e-3, width * float(torch.exp(2 * (shares[-1] - _ACCEPTANCE)))))
            accepted.append(torch.stack(shares).mean())
        ess = torch.stack(sizes)
        run = SMCRun((crew.gathered(x),), weights, evidence, ess, torch.ones_like(ess, dtype=torch.bool), origins)
        ensemble = to_ensemble(posterior, run, n, nfe=draw.evaluations, begun=begun, own=len(x), rng=rng)
        info = {**ensemble.info, "exponents": torch.tensor(exponents, dtype=torch.float64), "acceptance": torch.stack(accepted)}
        return Ensemble(ensemble.members, ensemble.log_weights, info)


class _Weighed:
    """From starting noise to clean coefficients and their log likelihood, and moves of the noise; the likelihoods are those of all processes."""

    def __init__(self, posterior: Posterior, method: TemperedSMC, crew: Alone | Sharded) -> None:
        self.posterior, self.max_batch, self.crew = posterior, method.max_batch, crew
        self.push = Pushed(posterior, method.sampler, method.steps, what="TemperedSMC")
        self.evaluations = 0

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([self.push(part) for part in z.split(self.max_batch)])
        self.evaluations += self.push.evaluations
        return x, self.posterior.log_likelihood(self.posterior.decode(x))

    def start(self, rng: Rng) -> tuple[Particles, Tensor]:
        first, last = self.crew.bounds()

        def drawn() -> tuple[Particles, Tensor]:
            z = self.crew.rows(rng).normal((last - first, *self.posterior.prior.latent_shape), like=self.posterior.state)
            x, r = self(z)
            return (z, x), r

        return self._known(drawn)

    def move(self, state: Particles, r: Tensor, *, beta: float, width: float, rng: Rng) -> tuple[Particles, Tensor]:
        """Noise, coefficients and whether they moved (0 or 1), and log likelihoods."""
        z, x = state
        first, last = self.crew.bounds()
        key, here = self.crew.rows(rng), r[first:last]

        def walked() -> tuple[Particles, Tensor]:
            proposal = (1 - width**2) ** 0.5 * z + width * key.child("step").normal(z.shape, like=z)
            moved, risen = self(proposal)
            odds = beta * (risen - here)
            # two impossible states, -inf against -inf, stay where they are
            take = torch.log(key.child("accept").uniform((last - first,), like=here)) < odds.nan_to_num(-torch.inf)
            keep = take.reshape(-1, *[1] * (z.ndim - 1))
            return (torch.where(keep, proposal, z), torch.where(keep, moved, x), take.double()), torch.where(take, risen, here)

        return self._known(walked)

    def _known(self, make: Callable[[], tuple[Particles, Tensor]]) -> tuple[Particles, Tensor]:
        particles, r = self.crew.weighed(make)
        # what another process that failed has sent
        if bool(r.isnan().any()):
            raise CollapsedWeights("TemperedSMC: expected log likelihoods, got NaN; an operator gives NaN, or another process has failed")
        return particles, r
