r"""Posterior sampling by a guided denoiser.

If the prior of the coefficients given a noisy state is taken as $N(D, \Sigma_t)$ and the readings are $y = A(z) + $ noise with covariance
$R$, the posterior mean is

$$ D_y = D + \Sigma_t H^\top (H \Sigma_t H^\top + R)^{-1} (y - A(D)), \qquad \Sigma_t = (C^{-1} + u^{-2} I)^{-1},\; u = \sigma/\alpha, $$

with $H$ the derivative of $A$. For a Gaussian prior with covariance $C$ this is exact. $C = I$ is the pseudo-inverse guidance (PiGDM, Song et
al., 2023) on normalised data; $C$ from the training data spreads a reading as far as the fields are correlated, needs no gradient through the
network, and on sparse sensors halves the error. A denoiser that wraps a denoiser: every sampler works with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.linalg import cg
from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import Covariance, DiagonalCovariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.noise import GaussianNoise
from physdiff.inference.observation import LinearOperator
from physdiff.inference.posterior import Posterior, PosteriorSampler

__all__ = ["Guided", "GuidedDenoiser", "prior_covariance"]


def prior_covariance(posterior: Posterior) -> Covariance:
    """Covariance of the prior's coefficients: the one of its Gaussian part if it has one, else the identity."""
    denoiser = posterior.prior.denoiser
    base = denoiser.base if isinstance(denoiser, PreconditionedDenoiser) else denoiser
    found = getattr(base, "covariance", None)
    return found if isinstance(found, Covariance) else DiagonalCovariance(torch.ones(posterior.prior.latent_shape))


class GuidedDenoiser(Denoiser):
    """Posterior mean of the coefficients given a noisy state and readings.

    Args:
        posterior: Prior and observations with Gaussian noise.
        covariance: C, of coefficients.

    Raises:
        InputError: If an observation's noise is not Gaussian.
    """

    def __init__(self, posterior: Posterior, covariance: Covariance) -> None:
        super().__init__()
        if not all(isinstance(o.noise, GaussianNoise) for o in posterior.observations):
            raise InputError("Guided: expected Gaussian noise on every observation; use a weighted sampler for other noise laws")
        self.prior = posterior.prior
        self.schedule = posterior.prior.denoiser.schedule
        self.posterior, self.covariance = posterior, covariance
        self.linear = all(isinstance(o.operator, LinearOperator) for o in posterior.observations)
        self._matrix: Tensor | None = None

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[z_0 | z_t, y] for a noisy state (B, C', T', *S')."""
        mean = self.prior.denoiser(x_t, t, cond)
        alpha, sigma = self.schedule(t)
        u2 = ((sigma / alpha) ** 2).double().reshape(-1)[0]
        return mean + (self._linear_step(mean, u2) if self.linear else self._newton_step(mean, u2)).to(mean)

    def _spread(self, u2: Tensor) -> Callable[[Tensor], Tensor]:
        """The map v -> Sigma_t v."""

        def shrink(eigenvalues: Tensor) -> Tensor:
            return eigenvalues * u2 / (eigenvalues + u2)

        return lambda v: self.covariance.apply_function(shrink, v)

    def _misfit(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Residual of the observed readings and their noise variances, (B, m) and (m,)."""
        x = self.posterior.decode(z)
        residuals, variances = [], []
        for o in self.posterior.observations:
            r = o.residual(x)
            seen = (o.y.isfinite() & torch.ones(r.shape[1:], dtype=torch.bool)).flatten().to(r.device)
            residuals.append(r.flatten(1)[:, seen])
            variances.append(o.noise.variance(r[0]).flatten()[seen])
        return torch.cat(residuals, 1), torch.cat(variances)

    def _linear_step(self, mean: Tensor, u2: Tensor) -> Tensor:
        misfit, variance = self._misfit(mean.detach())
        if self._matrix is None:
            self._matrix = _jacobian(lambda z: -self._misfit(z)[0], mean[:1].detach())
        h = self._matrix.to(mean)  # (m, *latent)
        spread = self._spread(u2)(h)  # Sigma H^T, row by row
        system = (spread.flatten(1) @ h.flatten(1).T).double() + torch.diag(variance.double())
        lower = torch.linalg.cholesky((system + system.T) / 2)
        weights = torch.cholesky_solve(misfit.double().T, lower).T.to(mean)
        return torch.einsum("bm,m...->b...", weights, spread)

    def _newton_step(self, mean: Tensor, u2: Tensor) -> Tensor:
        """One Gauss-Newton step with H at the mean, the system solved matrix-free."""
        z = mean.detach()
        spread = self._spread(u2)
        (misfit, variance), pull = torch.func.vjp(lambda v: self._misfit(v), z)
        zero = torch.zeros_like(variance)

        def transpose(w: Tensor) -> Tensor:
            return -pull((w, zero))[0]

        def forward_map(w: Tensor) -> Tensor:
            ahead = torch.func.jvp(lambda v: self._misfit(v)[0], (z,), (spread(transpose(w)),))[1]
            return -ahead + w * variance.to(w)

        # unit diagonal noise keeps the iteration count independent of the units of the readings
        root = variance.sqrt().to(z)
        scaled = cg(lambda w: forward_map(w / root) / root, misfit / root, rtol=1e-4, max_iter=40)
        return spread(transpose(scaled / root))


def _jacobian(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Rows of the derivative of (1, *latent) -> (1, m), as (m, *latent)."""
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        out = function(z)[0]
        rows = [torch.autograd.grad(value, z, retain_graph=True)[0][0] for value in out]
    return torch.stack(rows)


class Guided(PosteriorSampler):
    """Run a sampler on the guided denoiser.

    Exact for Gaussian priors and linear observations with the prior's own covariance (up to the sampler's steps); else a good
    approximation whose spread should be checked (coverage, ranks).

    Args:
        sampler: How to sample; the prior's own if None.
        steps: Number of steps; the prior's own if None.
        covariance: C of the coefficients; `prior_covariance` if None.
        max_batch: Number of members that go through the network at once.
    """

    def __init__(
        self, sampler: Sampler | None = None, steps: int | None = None, covariance: Covariance | None = None, *, max_batch: int = 64
    ) -> None:
        self.sampler, self.steps, self.covariance, self.max_batch = sampler, steps, covariance, max_batch

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members.

        `info` holds ``nfe`` (network evaluations per member), ``seconds`` and ``misfit``: mean squared residual over noise variance, about 1
        where the draw fits the readings as well as their noise allows.

        Raises:
            Diverged: If a member is not finite.
        """
        start = time.monotonic()
        prior = posterior.prior
        guided = GuidedDenoiser(posterior, self.covariance or prior_covariance(posterior))
        sampler, steps = self.sampler or prior.sampler, self.steps or prior.steps
        times = timesteps(guided.schedule, steps)
        _, sigma = guided.schedule(times[0])
        like = next(prior.denoiser.parameters(), torch.zeros(()))
        cond = prior.encode_cond(posterior.completed)
        counter = _Counter(prior.denoiser)
        draws, misfits = [], []
        for first in range(0, n, self.max_batch):
            rows = range(first, min(first + self.max_batch, n))
            noise = rng.child("start").normal_each(rows, prior.latent_shape, like=like.float()) * sigma.to(like)
            z = sampler.run(guided, noise, times, cond=cond, rng=rng.child("path", first))
            r, variance = guided._misfit(z)
            misfits.append((r**2 / variance).mean(1))
            draws.append(posterior.decode(z))
        counter.remove()
        members = torch.cat(draws)
        if not bool(members.isfinite().all()):
            raise Diverged(", ".join(prior.spec.names), 0.0, "take more steps, a larger noise std, or check that the readings are in the field's unit")
        chunks = -(-n // self.max_batch)
        info = {
            "nfe": torch.tensor(counter.calls // chunks),
            "seconds": torch.tensor(time.monotonic() - start),
            "misfit": torch.cat(misfits),
        }
        return Ensemble.equal(prior.masked(members), info)


class _Counter:
    """Counts forward calls of a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.calls = 0
        self._handle = module.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.calls += 1

    def remove(self) -> None:
        self._handle.remove()
