r"""Hamiltonian Monte Carlo on the noise from which a prior makes its draws.

A deterministic sampler G carries $z \sim N(0, I)$ to a draw $x = G(z)$ of the prior, so that the posterior is a law of z with a known density,

$$ \log \pi(z) = -\tfrac12 |z|^2 + \log p(y | G(z)), $$

whose gradient comes from automatic differentiation through the sampler and the decoding. Only what the denoiser is told is kept for it; its inside
is computed again on the way back. No density of the prior is asked for. Exact, as chains get long, for the prior as this sampler draws it; unknown
parameters of a law are channels of the windows and are sampled with them. References: see `hamiltonian`; Cotter, Roberts, Stuart and White, MCMC
methods for functions, 2013 (moves of the noise).
"""

from __future__ import annotations

import copy
import logging
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from physdiff.base.errors import InputError, PhysdiffError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.inference.chains import Chains, run_chains
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.hamiltonian import Point, hmc_move, nuts_move
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.pushed import Pushed

__all__ = ["HMC", "NUTS", "NoiseTarget"]

log = logging.getLogger(__name__)


class HMC(PosteriorSampler):
    """Draw from a posterior by Hamiltonian Monte Carlo on the starting noise, with trajectories of a given mean length.

    Args:
        sampler: A deterministic sampler; the prior's own if None (DPMSolver2M where that adds noise).
        steps: Number of its steps; the prior's own if None.
        length: Mean number of leapfrog steps of a trajectory.
        chains: Chains side by side; each starts with a draw of the prior.
        warmup: Moves of each chain that find the step size and the mass and are dropped.
        draws: Moves of each chain after that; members are taken from them evenly. 100, or as many as members need, if None.
        acceptance: Acceptance aimed at; closer to one takes shorter steps, against divergences.
        max_batch: Number of chains that go through the network at once.

    Raises:
        InputError: If a number makes no sense.
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        steps: int | None = None,
        length: int = 8,
        *,
        chains: int = 4,
        warmup: int = 100,
        draws: int | None = None,
        acceptance: float = 0.8,
        max_batch: int = 64,
    ) -> None:
        if length < 1:
            raise InputError(f"HMC: expected trajectories of one step or more, got {length}")
        _check("HMC", chains, warmup, draws, acceptance)
        self.sampler, self.steps, self.chains, self.warmup, self.draws = sampler, steps, chains, warmup, draws
        self.length, self.acceptance, self.max_batch = length, acceptance, max_batch

    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members, equally weighted.

        `info`: ``acceptance``, ``step_size``, ``divergences``; ``rhat``, ``ess_bulk``, ``ess_tail`` (worst over log density and entries of the
        fields, see `Chains.quality`), ``ess`` (1,): the smaller of the two or n; ``nfe``: network evaluations forward per chain, those computed again
        left out, ``gradient_calls`` per chain; and what all report.

        Raises:
            InputError: If the sampler is not deterministic, or an operator cannot be differentiated.
            CollapsedWeights: If a chain starts where the likelihood is zero.
        """
        return _sampled(self, partial(hmc_move, length=self.length), posterior, n, rng=rng)


class NUTS(PosteriorSampler):
    """Draw from a posterior by the no-U-turn sampler on the starting noise, which finds the length of its trajectories itself.

    Args:
        sampler: A deterministic sampler; the prior's own if None (DPMSolver2M where that adds noise).
        steps: Number of its steps; the prior's own if None.
        depth: Most doublings of a trajectory, which then has 2^depth - 1 steps.
        chains: Chains side by side; each starts with a draw of the prior.
        warmup: Moves of each chain that find the step size and the mass and are dropped.
        draws: Moves of each chain after that; members are taken from them evenly. 100, or as many as members need, if None.
        acceptance: Acceptance aimed at; closer to one takes shorter steps, against divergences.
        max_batch: Number of chains that go through the network at once.

    Raises:
        InputError: If a number makes no sense.
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        steps: int | None = None,
        depth: int = 8,
        *,
        chains: int = 4,
        warmup: int = 100,
        draws: int | None = None,
        acceptance: float = 0.8,
        max_batch: int = 64,
    ) -> None:
        if not 1 <= depth <= 20:
            raise InputError(f"NUTS: expected 1 to 20 doublings, got {depth}")
        _check("NUTS", chains, warmup, draws, acceptance)
        self.sampler, self.steps, self.chains, self.warmup, self.draws = sampler, steps, chains, warmup, draws
        self.depth, self.acceptance, self.max_batch = depth, acceptance, max_batch

    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members, equally weighted; `info` and errors as of `HMC.sample`."""
        return _sampled(self, partial(nuts_move, depth=self.depth), posterior, n, rng=rng)


class NoiseTarget:
    """Log density of starting noise given readings, its gradient, and the fields it makes (in physical units).

    Args:
        posterior: The target.
        sampler: See `HMC`.
        steps: See `HMC`.
        max_batch: Number of states that go through the network at once.

    Attributes:
        calls: Number of times that the density was asked for.
        push: The map from noise to coefficients; its `evaluations` are those of one call, forward.

    Raises:
        InputError: If the sampler is not deterministic.
    """

    def __init__(self, posterior: Posterior, sampler: Sampler | None = None, steps: int | None = None, *, max_batch: int = 64) -> None:
        posterior.check_differentiable("HMC")
        self.posterior, self.max_batch = posterior, max_batch
        self.push = Pushed(posterior, sampler, steps, what="HMC", denoiser=_recomputed(posterior.prior.denoiser))
        self.calls = 0

    def __call__(self, z: Tensor) -> Point:
        """States (chains, *latent) to the point they are."""
        self.calls += 1
        return Point(*(torch.cat(parts) for parts in zip(*(self._part(p) for p in z.split(self.max_batch)), strict=True)))

    def _part(self, z: Tensor) -> Point:
        """A batch of points; where a trajectory has left what a solver takes, one by one, those it refuses with no density."""
        try:
            return self._smooth(z)
        except PhysdiffError:
            if self.calls == 1:
                raise  # no state is to blame where chains start
            if len(z) > 1:
                return Point(*(torch.cat(parts) for parts in zip(*(self._part(p) for p in z.split(1)), strict=True)))
            with torch.no_grad():
                x = self.posterior.decode(self.push(z))
            return Point(z, torch.full((1,), -torch.inf, dtype=torch.float64, device=z.device), torch.zeros_like(z), x)

    def _smooth(self, z: Tensor) -> Point:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            x = self.posterior.decode(self.push(z))
            likelihood = self.posterior.log_likelihood(x)
            if not likelihood.requires_grad:
                names = ", ".join(type(o.operator).__name__ for o in self.posterior.observations)
                raise InputError(f"HMC: expected operators that torch can differentiate, got {names}; use TemperedSMC for a black box")
            (slope,) = torch.autograd.grad(likelihood.sum(), z)
        z, value = z.detach(), likelihood.detach() - 0.5 * (z.detach().double() ** 2).flatten(1).sum(1)
        return Point(z, value.nan_to_num(-torch.inf, posinf=-torch.inf), torch.where(slope.isfinite(), slope - z, 0.0), x.detach())


def _recomputed(denoiser: Denoiser) -> Denoiser:
    """The same denoiser, of which a backward pass keeps the inputs alone."""
    twin, forward = copy.copy(denoiser), denoiser.forward

    def again(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        if not (torch.is_grad_enabled() and x_t.requires_grad):
            return forward(x_t, t, cond)
        found: Tensor = checkpoint(forward, x_t, t, cond, use_reentrant=False)
        return found

    twin.forward = again  # type: ignore[method-assign]
    return twin


def _check(what: str, chains: int, warmup: int, draws: int | None, acceptance: float) -> None:
    if chains < 1 or warmup < 0 or (draws is not None and draws < 4) or not 0 < acceptance < 1:
        got = f"{chains}, {warmup}, {draws} and {acceptance}"
        raise InputError(f"{what}: expected one chain or more, no negative warm-up, four draws or more and an acceptance in (0, 1), got {got}")


@torch.no_grad()
def _sampled(method: HMC | NUTS, move: Any, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:  # noqa: ANN401 - a partial of a move
    what = type(method).__name__
    if n < 1:
        raise InputError(f"{what}: expected n >= 1 members, got {n}")
    begun = posterior.begin()
    target = NoiseTarget(posterior, method.sampler, method.steps, max_batch=method.max_batch)
    needed = -(-n // method.chains)
    draws = max(100, needed) if method.draws is None else method.draws
    if draws < needed:
        raise InputError(f"{what}: expected at least {needed} draws of each of {method.chains} chains for {n} members, got {draws}; raise draws")
    start = rng.child("start").normal_each(range(method.chains), posterior.prior.latent_shape, like=posterior.state)
    found = run_chains(target, start, move, draws=draws, warmup=method.warmup, acceptance=method.acceptance, rng=rng.child("chains"), what=what)
    quality = found.quality()
    if float(quality["rhat"]) > 1.1:
        log.warning("%s: chains have not mixed (R-hat %.2f, 1 is mixed); run longer: more warm-up and draws", what, float(quality["rhat"]))
    members = posterior.prior.masked(_evenly(found.images, n))
    return Ensemble.equal(members, {**_info(found, quality, target, n), **posterior.cost(begun, method.chains)})


def _info(found: Chains, quality: dict[str, Tensor], target: NoiseTarget, n: int) -> dict[str, Tensor]:
    gradients = found.gradients.mean()
    return {
        **quality,
        "ess": torch.minimum(torch.minimum(quality["ess_bulk"], quality["ess_tail"]), torch.tensor(float(n), dtype=torch.float64)).reshape(1),
        "acceptance": found.acceptance,
        "step_size": torch.tensor(found.step_size, dtype=torch.float64),
        "divergences": torch.tensor(found.divergences),
        "nfe": (gradients * target.push.evaluations).round().long(),
        "gradient_calls": gradients.round().long(),
    }


def _evenly(images: Tensor, n: int) -> Tensor:
    """Take n draws of (chains, draws, ...), evenly over the draws and in turn over the chains."""
    flat = images.transpose(0, 1).flatten(0, 1)
    which = (torch.arange(n, dtype=torch.float64) + 0.5) * len(flat) / n
    return flat[which.floor().long().to(flat.device)]
