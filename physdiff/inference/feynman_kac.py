r"""Posterior draws by weighted diffusion: the likelihood is annealed in while the noise goes, and weights correct what guidance does.

Particles follow the tilted laws $p_t(x) \, e^{\beta_t r(x)}$ with $r(x) = \log p(y | x)$ and $\beta$ from 0 to 1. With the prior's kernel
$N(m, s^2)$ the proposal is $N(m + \delta, s^2)$,

$$ \delta = \frac{c \, \beta s^2 g}{1 + c \, \beta s^2 \kappa}, \qquad g = \nabla r(m), \quad \kappa = -\frac{g^\top \nabla^2 r \, g}{g^\top g}, $$

and the weights are the ratio of the two kernels times the change of the tilt. $c = 1$ is AFDPS, $c = 1/2$ the reward-tilted Feynman-Kac corrector,
$c = 0$ the bootstrap, which asks for no gradient. The denominator, one more likelihood along $g$, keeps sharp readings from throwing particles out
(explicit guidance needs $c \beta s^2 \kappa < 2$). Kernel ratios have no error of time steps and no Laplacian; any $c$ is exact as the particles grow
in number. The amount of noise is the sampler's: DDIM(eta) has $\kappa = \eta^2$ times the variance of the reverse diffusion, and eta = 0 is the ODE
form, in which weights do all. References: Chen and others, Solving inverse problems via diffusion-based priors: an approximation-free ensemble
sampling approach, 2025 (AFDPS); Skreta and others, Feynman-Kac correctors in diffusion, 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.sampler import KernelSampler, check_kernel
from physdiff.diffusion.schedule import per_sample
from physdiff.inference.diffusion_path import DEFAULT_STEPS, DiffusionPath, count_of, drawn, to_ensemble
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.guided import prior_covariance
from physdiff.inference.posterior import Posterior, PosteriorSampler
from physdiff.inference.sharding import Sharded
from physdiff.inference.smc import Particles, Weighed, run_smc

__all__ = ["AnnealedSMC", "annealing"]


def annealing(u: Tensor, signal: float = 0.0) -> Tensor:
    """Default exponent of the likelihood at noise-to-signal ratio u: (1 + u^2)^-2 / (1 + signal u^2/(1 + u^2)).

    A noisy state, its data of unit variance, tells of the clean one with variance u^2/(1 + u^2) and shrunk by 1/(1 + u^2): the likelihood of the
    state itself must enter with the square of the latter, and with the readings' variance grown by the former, to be as flat as that of what it
    will become. Without the signal sharp readings collapse the weights long before the end.

    Args:
        u: Noise-to-signal ratios.
        signal: Variance of the readings under the prior over that of their noise.
    """
    spread = u**2 / (1 + u**2)
    return (1 + u**2) ** -2 / (1 + signal * spread.nan_to_num(1.0))


class AnnealedSMC(PosteriorSampler):
    """Draw from a posterior by annealed, weighted diffusion.

    Args:
        sampler: A `KernelSampler`; DDPM if none is given.
        steps: Number of levels; 100 if None. The prior is the one that these steps draw: DDPM in 100 loses a tenth of the variance.
        guidance: c, see above.
        beta: Exponent of the likelihood by noise-to-signal ratio u, float64 to float64; 1 at u = 0, small at large u. `annealing`, with the
            signal measured on 64 draws of a Gaussian prior, if None.
        particles: Number of particles; as many as members, at least 64, if None; `Sharded`: so many on several processes.
        scheme: Resampling scheme, see `run_smc`.
        threshold: Share of the particles below which the effective number makes for resampling.
        max_batch: Number of particles that go through the network at once.

    Raises:
        InputError: If the sampler's steps have no density, or the guidance is negative.
    """

    def __init__(
        self,
        sampler: KernelSampler | None = None,
        steps: int | None = None,
        guidance: float = 0.5,
        *,
        beta: Callable[[Tensor], Tensor] | None = None,
        particles: int | Sharded | None = None,
        scheme: str = "systematic",
        threshold: float = 0.5,
        max_batch: int = 64,
    ) -> None:
        self.sampler = check_kernel(sampler or DDPM(), "AnnealedSMC")
        self.guidance = check_positive(guidance, "AnnealedSMC guidance", zero=True)
        self.steps, self.beta, self.particles = steps, beta, particles
        self.scheme, self.threshold, self.max_batch = scheme, threshold, max_batch

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members; `info` as `diffusion_path.to_ensemble` says.

        Raises:
            InputError: If an operator cannot be differentiated and guidance is not zero, or beta is no exponent.
            CollapsedWeights: If all particles lose their weight.
            Diverged: If the denoiser gives a number that is not finite.
        """
        if self.guidance > 0:
            posterior.check_differentiable("AnnealedSMC with guidance")
        begun = posterior.begin()
        path = _Tilted(posterior, self)
        run = run_smc(path, count_of(self.particles, n, "AnnealedSMC"), rng=rng, scheme=self.scheme, threshold=self.threshold)
        return to_ensemble(posterior, run, n, nfe=path.evaluations, begun=begun, own=path.own, rng=rng)


class _Tilted(DiffusionPath):
    """Particles: state, and its tilt beta r."""

    def __init__(self, posterior: Posterior, method: AnnealedSMC) -> None:
        super().__init__(posterior, method.sampler, method.steps or DEFAULT_STEPS, max_batch=method.max_batch)
        self.guidance = method.guidance
        u = self.denoiser.schedule.noise_ratio(self.times)
        # the last level is clean, whatever the schedule ends with
        beta = method.beta or partial(annealing, signal=_signal(posterior))
        self.beta = beta(torch.cat([u[:-1], u.new_zeros(1)]))
        if self.beta.shape != u.shape or not bool(self.beta.isfinite().all()) or float(self.beta[-1]) != 1 or float(self.beta.min()) < 0:
            raise InputError("AnnealedSMC: expected beta(u) >= 0 of the shape of u, and 1 at u = 0; else the posterior is not the target")

    def start(self, shape: Sequence[int], rng: Rng) -> Weighed:
        x = self.noise(shape, rng)
        tilt = self._tilt(x, 0)
        return (x, tilt), tilt

    def move(self, k: int, particles: Particles, rng: Rng) -> Weighed:
        x, before = particles
        p = self.kernel(x, self.mean(x, k - 1), k - 1)
        beta, noisy = float(self.beta[k]), bool((p.std > 0).all())
        if self.guidance == 0 or beta < 1e-12 or not noisy:
            new, ratio = drawn(p, rng), torch.zeros_like(before)
        else:
            q = p.shift(self._shift(p.mean, p.std**2, k))
            new = q.sample(rng)
            ratio = p.log_prob(new) - q.log_prob(new)
        tilt = self._tilt(new, k)
        return (new, tilt), ratio + tilt - before

    def _clean(self, k: int) -> Tensor:
        """1/alpha: states are seen on the scale of clean ones."""
        return 1 / self.denoiser.schedule.alpha(self.times[k]) if k < self.steps else torch.ones((), dtype=torch.float64)

    def _tilt(self, x: Tensor, k: int) -> Tensor:
        beta = float(self.beta[k])
        if beta < 1e-12:
            return torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return beta * self.log_likelihood(x * per_sample(self._clean(k), x), on_the_way=k < self.steps)

    def _shift(self, mean: Tensor, variance: Tensor, k: int) -> Tensor:
        scale = per_sample(self._clean(k), mean)
        value, gradient = self.likelihood_gradient(mean * scale)
        gradient = gradient * scale
        full = self.guidance * float(self.beta[k]) * variance * gradient
        # curvature along the step, from one more likelihood: exact where r is quadratic
        rise = (gradient.double() * full.double()).flatten(1).sum(1)
        bend = 2 * (value + rise - self.log_likelihood((mean + full) * scale, on_the_way=True))
        # c beta s^2 kappa = |full|^2 kappa / rise
        damping = 1 + (bend / rise.clamp_min(torch.finfo(torch.float64).tiny)).nan_to_num(0.0, posinf=1e12).clamp_min(0)
        return full / per_sample(damping, full)


def _signal(posterior: Posterior) -> float:
    """Mean over the readings of their variance under N(0, prior covariance) over that of their noise."""
    noise = Rng(0).child("signal").normal((64, *posterior.prior.latent_shape), like=posterior.state.cpu())
    covariance = prior_covariance(posterior)
    held = next(covariance.buffers(), None)
    draws = covariance.apply_function(torch.sqrt, noise if held is None else noise.to(held.device)).to(posterior.state)
    x, ratios = posterior.decode(draws), []
    posterior.calls += len(x)
    for o in posterior.observations:
        readings = o.operator(x).double()
        ratio = readings.var(0) / o.noise.variance(readings.mean(0))
        ratios.append(ratio[o.seen(ratio.shape).to(ratio.device) & ratio.isfinite()])
    every = torch.cat(ratios)
    return float(every.mean()) if every.numel() else 0.0
