r"""Twisted diffusion: particles that look through the denoiser at the readings, and weights that correct the look.

The twist is the likelihood of the denoised state with the spread that is left, $\psi_t(x) = p(y | D(x), \Sigma_t)$. The proposal is the prior's
kernel with the mean it would have if the posterior mean were

$$ D_y = D + \mathrm{Cov}\, \nabla_D \log \psi_t, \qquad \mathrm{Cov} = (\sigma^2/\alpha) J^\top \text{ (through the network) or } \Sigma_t. $$

With linear readings and few of them $\psi_t = N(y; A D, R + A \Sigma_t A^\top)$, exact for a Gaussian prior of covariance C, where
$\Sigma_t = (C^{-1} + u^{-2})^{-1}$. Else every reading's own variance grows by that of A over draws from N(D, Sigma_t), taken once per level. Any
twist is exact as the particles grow in number; a good one needs few. Reference: Wu, Trippe, Naesseth, Blei and Cunningham, Practical and
asymptotically exact conditional sampling in diffusion models, 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import Covariance
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.sampler import KernelSampler, check_kernel
from physdiff.inference.diffusion_path import DEFAULT_STEPS, DiffusionPath, count_of, drawn, to_ensemble
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.guided import GuidedDenoiser, prior_covariance
from physdiff.inference.noise import NormalNoise
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.sharding import Sharded
from physdiff.inference.smc import Particles, Weighed, run_smc

__all__ = ["TwistedSMC"]

_DRAWS = 64


class TwistedSMC(PosteriorSampler):
    """Draw from a posterior by twisted diffusion.

    Args:
        sampler: A `KernelSampler`; DDPM if none is given.
        steps: Number of levels; 100 if None. The prior is the one that these steps draw: DDPM in 100 loses a tenth of the variance.
        covariance: C of the coefficients for the twist; `prior_covariance` if None.
        through_network: Whether the gradient goes through the network (as published, about three times the work) or takes Sigma_t for it.
        particles: Number of particles; as many as members, at least 64, if None; `Sharded`: so many on several processes.
        scheme: Resampling scheme, see `run_smc`.
        threshold: Share of the particles below which the effective number makes for resampling.
        max_batch: Number of particles that go through the network at once.

    Raises:
        InputError: If the sampler's steps have no density.
    """

    def __init__(
        self,
        sampler: KernelSampler | None = None,
        steps: int | None = None,
        covariance: Covariance | None = None,
        *,
        through_network: bool = True,
        particles: int | Sharded | None = None,
        scheme: str = "systematic",
        threshold: float = 0.5,
        max_batch: int = 64,
    ) -> None:
        self.sampler = check_kernel(sampler or DDPM(), "TwistedSMC")
        self.steps, self.covariance, self.through_network, self.particles = steps, covariance, through_network, particles
        self.scheme, self.threshold, self.max_batch = scheme, threshold, max_batch

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members; `info` as `diffusion_path.to_ensemble` says.

        Raises:
            InputError: If an operator cannot be differentiated.
            CollapsedWeights: If all particles lose their weight.
            Diverged: If the denoiser gives a number that is not finite.
        """
        posterior.check_differentiable("TwistedSMC")
        begun = posterior.begin()
        path = _Twisted(posterior, self, rng.child("twist"))
        run = run_smc(path, count_of(self.particles, n, "TwistedSMC"), rng=rng, scheme=self.scheme, threshold=self.threshold)
        return to_ensemble(posterior, run, n, nfe=path.evaluations, begun=begun, own=path.own, rng=rng)


class _Twisted(DiffusionPath):
    """Particles: state, its posterior means without and with the readings, and log psi."""

    def __init__(self, posterior: Posterior, method: TwistedSMC, rng: Rng) -> None:
        super().__init__(posterior, method.sampler, method.steps or DEFAULT_STEPS, max_batch=method.max_batch)
        self.covariance = method.covariance or prior_covariance(posterior)
        self.through_network, self.rng = method.through_network, rng
        gaussian = all(isinstance(o.noise, NormalNoise) for o in posterior.observations)
        self.linear = GuidedDenoiser(posterior, self.covariance) if gaussian else None

    def start(self, shape: Sequence[int], rng: Rng) -> Weighed:
        particles = self._looked(self.noise(shape, rng), 0)
        return particles, particles[3]

    def move(self, k: int, particles: Particles, rng: Rng) -> Weighed:
        x, mean, guided, before = particles
        p = self.kernel(x, mean, k - 1)
        if bool((p.std > 0).all()):
            q = self.kernel(x, guided, k - 1)
            new = q.sample(rng)
            ratio = p.log_prob(new) - q.log_prob(new)
        else:
            new, ratio = drawn(p, rng), torch.zeros_like(before)
        if k == self.steps:
            value = self.log_likelihood(new)
            return (new, new, new, value), ratio + value - before
        after = self._looked(new, k)
        return after, ratio + after[3] - before

    def _looked(self, x: Tensor, k: int) -> Particles:
        alpha, sigma = (float(c) for c in self.denoiser.schedule(self.times[k]))
        twist = self._twist(k, alpha, sigma)
        through = self.through_network and alpha > 0
        x = x.detach()
        if through:
            with torch.enable_grad():
                state = x.requires_grad_()
                mean = self.mean(state, k)
                value, slope = _sloped(twist, mean)
                (pulled,) = torch.autograd.grad(mean, state, slope)
            step = pulled * (sigma**2 / alpha)
        else:
            mean = self.mean(x, k)
            value, slope = _sloped(twist, mean)
            step = self.covariance.apply_function(self._spread(alpha, sigma), slope)
        mean = mean.detach()
        return x.detach(), mean, mean + step.detach().to(mean), value.detach()

    def _spread(self, alpha: float, sigma: float) -> Callable[[Tensor], Tensor]:
        """Sigma_t as a function of the eigenvalues of C."""
        return lambda c: sigma**2 * c / (alpha**2 * c + sigma**2).clamp_min(torch.finfo(torch.float64).tiny)

    def _twist(self, k: int, alpha: float, sigma: float) -> Callable[[Tensor], Tensor]:
        """Log psi at level k as a function of the denoised coefficients."""
        gram = None if self.linear is None else self.linear.gram(self._spread(alpha, sigma))
        if gram is None or self.linear is None:
            return self._wide(k, alpha, sigma)
        linear = self.linear
        lower = torch.linalg.cholesky(gram + torch.diag(linear.misfit(self.posterior.state.new_zeros(1, *self.posterior.prior.latent_shape))[1]))
        constant = -float(lower.diagonal().log().sum()) - 0.5 * len(lower) * math.log(2 * math.pi)

        def value(z: Tensor) -> Tensor:
            white = torch.linalg.solve_triangular(lower, linear.misfit(z)[0].double().T, upper=False)
            return constant - 0.5 * (white**2).sum(0)

        return value

    def _wide(self, k: int, alpha: float, sigma: float) -> Callable[[Tensor], Tensor]:
        """Readings on their own, their variance widened by what A makes of draws from N(0, Sigma_t)."""
        shape = (_DRAWS, *self.posterior.prior.latent_shape)
        spread = self._spread(alpha, sigma)
        noise = self.rng.child(k).normal(shape, like=self.posterior.state)
        draws = self.posterior.decode(self.covariance.apply_function(lambda c: spread(c).sqrt(), noise))
        self.posterior.calls += _DRAWS
        extra = [o.operator(draws).double().var(0) for o in self.posterior.observations]

        def value(z: Tensor) -> Tensor:
            x = self.posterior.decode(z)
            self.posterior.calls += len(x)
            return torch.stack([o.log_prob(x, v) for o, v in zip(self.posterior.observations, extra, strict=True)]).sum(0)

        return value


def _sloped(function: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Values (N,) and their gradient at z, where nothing before z is differentiated."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = function(z)
        if not value.requires_grad:
            raise InputError("TwistedSMC: expected operators that torch can differentiate, got none; use AnnealedSMC(guidance=0) or TemperedSMC")
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), torch.where(slope.isfinite(), slope, 0.0)
