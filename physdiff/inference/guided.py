r"""Posterior sampling by a guided denoiser.

If the prior of the coefficients given a noisy state is taken as $N(D, \Sigma_t)$ and the readings are $y = A(z) + $ noise with covariance
$R$, the posterior mean is

$$ D_y = D + \Sigma_t H^\top (H \Sigma_t H^\top + R)^{-1} (y - A(D)), \qquad \Sigma_t = (C^{-1} + u^{-2} I)^{-1},\; u = \sigma/\alpha, $$

with $H$ the derivative of $A$. For a Gaussian prior with covariance $C$ and a linear $A$ this is exact. $C = I$ is the pseudo-inverse guidance
(PiGDM: Song et al., Pseudoinverse-guided diffusion models for inverse problems, 2023) without its gradient through the network; on a prior
that is correlated it is biased. $C$ from the training data spreads a reading as far as the fields are correlated. A denoiser that wraps a
denoiser: every sampler works with it. Choices of the covariance that look through the network are in `network_guided`.

An affine $A$ with few readings gets its matrix $H$ once, and one factorisation for each noise level; otherwise the system is solved by
conjugate gradients, with products by $H$ and $H^\top$ from automatic differentiation at $D$ (one Gauss-Newton step per level). Where C has few
patterns and no variance beyond them, the system is solved in these.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.linalg import cg
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import Covariance, DiagonalCovariance, LowRankCovariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.fitted_multistep import FittedMultistep
from physdiff.diffusion.samplers.fixed_grid import FixedGrid
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.linearised import BLACK_BOX, Linearised
from physdiff.inference.network_guided import NetworkGuidedDenoiser, check_spread
from physdiff.inference.noise import NormalNoise
from physdiff.inference.pattern_step import pattern_step
from physdiff.inference.posterior import Posterior, PosteriorSampler

__all__ = ["Guided", "GuidedDenoiser", "in_batches", "prior_covariance", "shrinkage"]

# Beyond this many readings a factorisation per level costs more than conjugate gradients; beyond this many entries the matrix is too large.
_MOST_READINGS = 1024
_MOST_ENTRIES = 2**25
_ROWS = 128
# Patterns up to which a system in them is solved at once.
_MOST_PATTERNS = 256
# Readings this many prior standard deviations off (root mean square) are in another unit.
_IMPLAUSIBLE = 30.0


def prior_covariance(posterior: Posterior) -> Covariance:
    """Covariance of the prior's coefficients: that of its Gaussian part or mixture if it has one, else sigma_data^2 times the identity."""
    denoiser = posterior.prior.denoiser
    base, scale = denoiser, 1.0
    if isinstance(denoiser, PreconditionedDenoiser):
        if denoiser.base is None:
            scale = denoiser.sigma_data
        else:
            base = denoiser.base
    if isinstance(base, GaussianDenoiser):
        return base.covariance
    if isinstance(base, MixtureDenoiser):
        return base.covariance()
    return DiagonalCovariance(torch.full(posterior.prior.latent_shape, float(scale) ** 2))


class GuidedDenoiser(Denoiser):
    """Posterior mean of the coefficients given a noisy state and readings.

    Args:
        posterior: Prior and observations with Gaussian noise.
        covariance: C, of coefficients; moved to the prior's device if it is elsewhere.
        matrix: Whether H is kept as a matrix; None: where A is affine (tried on random states) and H is small.
        iterations: Largest number of conjugate gradient iterations where it is not.
        tolerance: Relative residual at which they stop.
        shared: Take H at the mean of a batch where the system is solved in patterns: one derivative for all members.

    Attributes:
        evaluations: Number of calls of the prior's denoiser.
        operator_calls: Number of calls of the operators, and of products with their derivatives.
        solve_error: Largest relative residual the conjugate gradients left.

    Raises:
        InputError: If an observation's noise is not Gaussian or an operator has no gradient.
    """

    def __init__(
        self,
        posterior: Posterior,
        covariance: Covariance,
        *,
        matrix: bool | None = None,
        iterations: int = 100,
        tolerance: float = 1e-4,
        shared: bool = False,
    ) -> None:
        super().__init__()
        others = [type(o.noise).__name__ for o in posterior.observations if not isinstance(o.noise, NormalNoise)]
        if others:
            raise InputError(
                f"Guided: expected Gaussian noise on every observation, got {', '.join(others)}; "
                "use a weighted sampler (TwistedSMC, AnnealedSMC or TemperedSMC) for other noise laws"
            )
        posterior.check_differentiable("Guided")
        self.prior = posterior.prior
        self.schedule = posterior.prior.denoiser.schedule
        self.posterior, self.iterations, self.tolerance = posterior, iterations, tolerance
        self.covariance = _on(covariance, posterior.state.device)
        self.evaluations, self.operator_calls, self.solve_error, self.shared = 0, 0, 0.0, shared
        zero = posterior.state.new_zeros(1, *posterior.prior.latent_shape)
        self.covariance(zero)  # a covariance of another size is refused here, by name, rather than in the middle of a run
        if matrix is None:
            readings = self.misfit(zero)[0].shape[1]
            matrix = readings <= _MOST_READINGS and readings * zero.numel() <= _MOST_ENTRIES and self._affine(zero)
        # rows of H in float64: the system of sharp readings is ill-conditioned
        self._matrix = _jacobian(lambda z: -self.misfit(z)[0], zero).double() if matrix else None
        if self._matrix is not None and not bool(self._matrix.any()):
            probe = Rng(0).child("black box").normal(zero.shape, like=zero)
            if not torch.equal(self.misfit(zero)[0], self.misfit(probe)[0]):
                raise InputError(BLACK_BOX)
        self._gram = None if self._matrix is None else self.covariance.gram(self._matrix)
        self._factors: dict[float, Tensor] = {}
        self.operator_calls = 0
        low = self.covariance if isinstance(self.covariance, LowRankCovariance) else None
        few = low is not None and low.rest == 0 and len(low.eigenvalues) <= min(_MOST_PATTERNS, zero.numel() // 2)
        self._few = low if few else None

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """E[z_0 | z_t, y] for a noisy state (B, C', T', *S'); see Denoiser.forward."""
        t = torch.as_tensor(t)
        if t.numel() > 1 and bool((t != t[0]).any()):
            conds = [None if cond is None else cond[i % cond.shape[0]][None] for i in range(len(t))]
            return torch.cat([self(x[None], s, c) for x, s, c in zip(x_t, t, conds, strict=True)])
        self.evaluations += 1
        mean = self.prior.denoiser(x_t, t, cond)
        alpha, sigma = (float(c) for c in self.schedule(t.reshape(-1)[0]))
        if sigma == 0:
            return mean
        if self._few is not None and self._matrix is None:
            variances = shrinkage(alpha, sigma)(self._few.eigenvalues.double()[None])[0]
            step, count = pattern_step(self.misfit, mean.detach(), patterns=self._few.eigenvectors, variances=variances, shared=self.shared)
            self.operator_calls += count
        else:
            step = self.covariance.apply_function(shrinkage(alpha, sigma), self.slope(mean.detach(), alpha, sigma))
        return mean + step.to(mean)

    def slope(self, z: Tensor, alpha: float, sigma: float) -> Tensor:
        """H^T (H Sigma_t H^T + R)^-1 (y - A(z)): slope in z of the log likelihood that Sigma_t makes wide, shape of z (B, C', T', *S')."""
        return self._newton_slope(z, alpha, sigma) if self._matrix is None else self._matrix_slope(z, alpha, sigma)

    def misfit(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Misfit of coefficients (B, C', T', *S') to the m readings there are, (B, m), and the readings' noise variances (m,), float64.

        Readings of correlated noise are turned so that their noise is independent.
        """
        self.operator_calls += 1
        x = self.posterior.decode(z)
        self.posterior.calls += len(x)
        residuals, variances = [], []
        for o in self.posterior.observations:
            r = o.residual(x)
            seen = o.seen(r.shape[1:]).to(r.device)
            residual, variance = cast("NormalNoise", o.noise).decorrelated(r, seen)
            residuals.append(residual)
            variances.append(variance)
        return torch.cat(residuals, 1), torch.cat(variances)

    @property
    def matrix(self) -> Tensor | None:
        """H, (m, *latent), float64; None where it is not kept."""
        return self._matrix

    def gram(self, function: Callable[[Tensor], Tensor]) -> Tensor | None:
        """H f(C) H^T, (m, m), float64, for a function of C's eigenvalues; None where H is not kept as a matrix."""
        return None if self._gram is None else self._gram(function)

    def surprise(self) -> float | None:
        """Root mean square over the readings of (y - A m) / std of (y - A z) under the prior N(m, C); None without a matrix.

        About 1, or below, where the readings are plausible; hundreds where they are in another unit.
        """
        if self._matrix is None:
            return None
        denoiser = self.prior.denoiser
        base = denoiser.base if isinstance(denoiser, PreconditionedDenoiser) else denoiser
        centre = self.posterior.state.new_zeros(1, *self.prior.latent_shape)
        if isinstance(base, GaussianDenoiser):
            centre = base.prior_mean(centre, self.prior.encode_cond(self.posterior.completed))
        elif isinstance(base, MixtureDenoiser):
            centre = base.moments()[0][None].to(centre)
        misfit, variance = self.misfit(centre)
        spread = (self.covariance(self._matrix) * self._matrix).flatten(1).sum(1) + variance
        return float((misfit.double() ** 2 / spread).mean().sqrt())

    def _affine(self, zero: Tensor) -> bool:
        """Whether the readings depend on the coefficients by an affine map, tried on two random states of unit size."""
        one, two = Rng(0).child("affine").normal((2, *zero.shape), like=zero)
        with torch.no_grad():
            at = self.misfit(torch.cat([zero, one, two, one + two]))[0]
        error = at[1] + at[2] - at[0] - at[3]
        size = (at[1:3] - at[0]).norm() + torch.finfo(at.dtype).eps ** 0.5 * at[0].norm()
        return bool(error.norm() <= 1e-3 * size)

    def _matrix_slope(self, z: Tensor, alpha: float, sigma: float) -> Tensor:
        assert self._matrix is not None and self._gram is not None
        h, shrink, level = self._matrix, shrinkage(alpha, sigma), alpha / sigma
        misfit, variance = self.misfit(z)
        lower = self._factors.get(level)
        if lower is None:
            lower = _factor(self._gram(shrink), variance)
            if len(self._factors) * len(h) ** 2 > _MOST_ENTRIES:
                self._factors.clear()
            self._factors[level] = lower
        weights = torch.cholesky_solve(misfit.double().T, lower).T
        return torch.tensordot(weights, h, dims=1).to(z)

    def linearised(self, z: Tensor) -> Linearised:
        """`misfit` and its derivative -H at z."""
        return Linearised(self.misfit, z)

    def _newton_slope(self, z: Tensor, alpha: float, sigma: float) -> Tensor:
        """One Gauss-Newton step with H at each sample's z, the system solved by conjugate gradients."""
        shrink, linear = shrinkage(alpha, sigma), self.linearised(z)
        # readings in units of their noise: the iteration count does not depend on the units
        root = linear.aux.sqrt().to(z)

        def back(w: Tensor) -> Tensor:
            return -linear.transpose(w / root)

        def system(w: Tensor) -> Tensor:
            return w - linear.forward(self.covariance.apply_function(shrink, back(w))) / root

        goal = linear.value / root
        solution = cg(system, goal, rtol=self.tolerance, max_iter=self.iterations)
        left = (system(solution) - goal).norm(dim=1) / goal.norm(dim=1).clamp_min(torch.finfo(goal.dtype).tiny)
        self.solve_error = max(self.solve_error, float(left.max()))
        slope = back(solution)
        self.operator_calls += linear.products
        return slope


def shrinkage(alpha: float, sigma: float) -> Callable[[Tensor], Tensor]:
    """Sigma_t as a function of the eigenvalues of C; in this form it holds for u = 0 and for infinite u too."""
    return lambda c: sigma**2 * c / (alpha**2 * c + sigma**2).clamp_min(torch.finfo(torch.float64).tiny)


def _factor(gram: Tensor, variance: Tensor) -> Tensor:
    return torch.linalg.cholesky((gram + gram.T) / 2 + torch.diag(variance))


def _on(covariance: Covariance, device: torch.device) -> Covariance:
    held = next(covariance.buffers(), None)
    return covariance if held is None or held.device == device else copy.deepcopy(covariance).to(device)


def _jacobian(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Rows of the derivative at z (1, *latent) of a map (B, *latent) -> (B, m), as (m, *latent): sample i of a batch gives row i."""
    m = function(z).shape[1]
    rows = []
    with torch.enable_grad():
        for first in range(0, m, _ROWS):
            index = torch.arange(first, min(first + _ROWS, m), device=z.device)
            point = z.detach().expand(len(index), *z.shape[1:]).clone().requires_grad_()
            chosen = function(point)[torch.arange(len(index), device=z.device), index]
            # readings of nothing but known entries do not depend on z at all
            rows.append(torch.autograd.grad(chosen.sum(), point)[0] if chosen.requires_grad else torch.zeros_like(point))
    return torch.cat(rows)


def in_batches(
    guided: GuidedDenoiser, n: int, size: int, *, start: Callable[[range], Tensor], run: Callable[[int, Tensor], Tensor]
) -> tuple[Tensor, Tensor, int]:
    """Members in physical units, the misfit of each (mean square over noise variance), and how many batches there were.

    Args:
        guided: What the members are drawn by.
        n: Number of members.
        size: Largest number that goes through the network at once.
        start: Rows to noisy coefficients.
        run: Number of the first row and noisy coefficients to clean ones.

    Raises:
        Diverged: If a member is not finite.
    """
    draws, misfits = [], []
    for first in range(0, n, size):
        z = run(first, start(range(first, min(first + size, n))))
        r, variance = guided.misfit(z)
        misfits.append((r**2 / variance).mean(1))
        draws.append(guided.posterior.decode(z))
    members = torch.cat(draws)
    if not bool(members.isfinite().all()):
        names = ", ".join(guided.prior.spec.names)
        raise Diverged(names, 0.0, "take more steps or a larger noise std, or check the unit of the readings")
    return members, torch.cat(misfits), len(draws)


class Guided(PosteriorSampler):
    """Run a sampler on the guided denoiser.

    Exact for Gaussian priors and linear observations with the prior's own covariance (up to the sampler's steps); else a good approximation
    whose spread should be checked (coverage, ranks). With C = I on a correlated prior means are biased and spreads too wide (by 0.4 prior standard
    deviations and a third of the variance in tests/laws/test_posterior.py). Few steps change the spread too: on geometric levels 20 steps of Heun
    give 9 % too much variance, 24 of DDIM 20 % too little.

    Args:
        sampler: How to sample; the prior's own if None.
        steps: Number of steps; the prior's own if None.
        covariance: C of the coefficients; `prior_covariance` if None.
        spread: What takes Sigma_t's place, and the gradient through the network: see `NetworkGuidedDenoiser`; None: Sigma_t without it, as above.
        strength: The number that goes with `spread`.
        max_batch: Number of members that go through the network at once.
        iterations: Largest number of conjugate gradient iterations per level, where the readings are not linear or too many for a matrix.
        shared: Take the derivative of readings that are not linear at the mean of a batch, where C has few patterns and no variance beyond them
            (no conjugate gradients are needed then): a fraction of the work, less exact where members are far apart; a draw depends on its batch.
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        steps: int | None = None,
        covariance: Covariance | None = None,
        *,
        spread: str | None = None,
        strength: float = 1.0,
        max_batch: int = 64,
        iterations: int = 100,
        shared: bool = False,
    ) -> None:
        self.spread, self.strength = check_spread(spread, strength)
        self.shared = shared
        self.sampler, self.steps, self.covariance = sampler, steps, covariance
        self.max_batch, self.iterations = max_batch, iterations

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members.

        `info` holds ``nfe`` (network evaluations per member), ``operator_calls`` (of the operators, or products with their derivatives, per
        member), ``seconds``, ``misfit`` (n,): mean squared residual over noise variance, about 1 where the draw fits the readings as well as
        their noise allows; ``surprise`` (see GuidedDenoiser.surprise) where the readings are linear, else ``solve_error``: the largest relative
        residual the conjugate gradients left.

        Raises:
            InputError: If no member is asked for, or the readings cannot be in the field's unit: 30 prior standard deviations off on average.
            Diverged: If a member is not finite.
        """
        if n < 1:
            raise InputError(f"Guided: expected n >= 1 members, got {n}")
        begun = posterior.begin()
        prior, like = posterior.prior, posterior.state
        unit = DiagonalCovariance(torch.ones(prior.latent_shape)) if self.spread == "unit" else None
        guided = GuidedDenoiser(posterior, self.covariance or unit or prior_covariance(posterior), iterations=self.iterations, shared=self.shared)
        looking = guided if self.spread is None else NetworkGuidedDenoiser(guided, self.spread, self.strength)
        surprise = guided.surprise()
        if surprise is not None and surprise > _IMPLAUSIBLE:
            units = ", ".join(f"{n} in {u}" for n, u in zip(prior.spec.names, prior.spec.units, strict=True))
            off = f"{surprise:.0f} prior standard deviations off"
            raise InputError(f"Guided: expected readings in the prior's units ({units}), got some {off}; convert them")
        # guidance changes the linear part, which ExactLinear takes from the prior, and what coefficients are fitted to
        own = prior.sampler.sampler if isinstance(prior.sampler, FixedGrid) else prior.sampler
        sampler = self.sampler or (DPMSolver2M() if isinstance(own, ExactLinear | FittedMultistep) else prior.sampler)
        times = sampler.grid(guided, self.steps or prior.steps)
        _, sigma = guided.schedule(times[0])
        cond = prior.encode_cond(posterior.completed)

        def start(rows: range) -> Tensor:
            return rng.child("start").normal_each(rows, prior.latent_shape, like=like) * sigma.to(like)

        def run(first: int, z: Tensor) -> Tensor:
            return sampler.run(looking, z, times, cond=cond, rng=rng.child("path", first))

        members, misfit, batches = in_batches(guided, n, self.max_batch, start=start, run=run)
        info = {
            "nfe": torch.tensor(guided.evaluations // batches),
            **posterior.cost(begun, n),
            "operator_calls": torch.tensor(guided.operator_calls // batches),
            "ess": torch.full((1,), float(n), dtype=torch.float64),
            "misfit": misfit,
            **({"solve_error": torch.tensor(guided.solve_error)} if surprise is None else {"surprise": torch.tensor(surprise)}),
        }
        return Ensemble.equal(prior.masked(members), info)
