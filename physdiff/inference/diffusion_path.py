r"""What the particle methods on diffusion priors share: the way from noise to clean coefficients, and the ensemble at its end.

Particle $x_k$ lives at time $t_k$ of a grid from 1 to 0; the prior moves it by the sampler's kernel $p(x_{k+1} | x_k) = N(m, s^2)$. A method chooses
a proposal $q$ and a function $\psi_k$ with $\psi_K = p(y | x)$, and weights by

$$ G_{k+1} = \frac{p(x_{k+1} | x_k)}{q(x_{k+1} | x_k)} \, \frac{\psi_{k+1}(x_{k+1})}{\psi_k(x_k)}, $$

whose product leaves the prior's path times the likelihood, whatever $q$ and the other $\psi$: exact as the particles grow in number, for the prior as
this sampler draws it with these steps, and with an unbiased evidence for any number.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.gaussian import Gaussian
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.sampler import KernelSampler
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.posterior import Posterior
from physdiff.inference.sharding import Sharded
from physdiff.inference.smc import FeynmanKac, SMCRun

__all__ = ["DEFAULT_STEPS", "DiffusionPath", "count_of", "drawn", "to_ensemble"]

DEFAULT_STEPS = 100
_LEAST = 64


def count_of(particles: int | Sharded | None, n: int, what: str) -> int | Sharded:
    """How many particles run where n members are asked for: as many, but at least 64, unless a number is given.

    Raises:
        InputError: If a number is below one.
    """
    if n < 1 or (isinstance(particles, int) and particles < 1):
        raise InputError(f"{what}: expected one member and one particle or more, got {n} and {particles}")
    return max(n, _LEAST) if particles is None else particles


class DiffusionPath(FeynmanKac):
    """Abstract way of particles through the levels of a diffusion prior.

    Args:
        posterior: The target.
        sampler: Gives the kernel.
        steps: Number of levels.
        max_batch: Number of particles that go through the network at once.

    Attributes:
        evaluations: Network evaluations per particle so far.
        own: Number of particles that run here.
    """

    def __init__(self, posterior: Posterior, sampler: KernelSampler, steps: int, *, max_batch: int) -> None:
        self.posterior, self.sampler, self.steps, self.max_batch = posterior, sampler, steps, max_batch
        self.denoiser = posterior.prior.denoiser
        self.times = sampler.grid(self.denoiser, steps)
        self.cond = posterior.prior.encode_cond(posterior.completed)
        self.evaluations, self.own = 0, 1

    @abstractmethod
    def move(self, k: int, particles: tuple[Tensor, ...], rng: Rng) -> tuple[tuple[Tensor, ...], Tensor]:
        """See FeynmanKac."""

    def noise(self, shape: Sequence[int], rng: Rng) -> Tensor:
        """Coefficients at the noisiest level, where the prior's own draws start, (N, *latent)."""
        prior, self.own = self.posterior.prior, torch.Size(shape).numel()
        return prior.noisiest(rng.normal((*shape, *prior.latent_shape), like=self.posterior.state), self.times[0], self.cond)

    def mean(self, x: Tensor, k: int) -> Tensor:
        """E[x_0 | x_t] at level k.

        Raises:
            Diverged: If it is not finite.
        """
        t = self.times[k].to(x.device)
        with torch.set_grad_enabled(x.requires_grad):
            mean = torch.cat([self.denoiser(part, t, self.cond).to(x.dtype) for part in x.split(self.max_batch)])
        self.evaluations += 1
        if not bool(mean.isfinite().all()):
            raise Diverged("posterior mean", float(t), f"level {k + 1} of {self.steps} (1 = noise); train longer or take more steps")
        return mean

    def kernel(self, x: Tensor, mean: Tensor, k: int) -> Gaussian:
        """The transition from level k to the next, towards `mean`."""
        return self.sampler.kernel(self.denoiser.schedule, x, mean, self.times[k], self.times[k + 1])

    def log_likelihood(self, z: Tensor, *, on_the_way: bool = False) -> Tensor:
        """Log likelihood of clean coefficients (N, *latent), (N,), float64; of noisy ones see Posterior.log_likelihood."""
        return self.posterior.log_likelihood(self.posterior.decode(z), on_the_way=on_the_way)

    def likelihood_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log likelihood of coefficients on their way (N,) and its gradient, shape of z.

        Raises:
            InputError: If an operator cannot be differentiated.
        """
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = self.log_likelihood(z, on_the_way=True)
            if not value.requires_grad:
                names = ", ".join(type(o.operator).__name__ for o in self.posterior.observations)
                raise InputError(f"guidance: expected operators that torch can differentiate, got {names}; use guidance=0 or TemperedSMC")
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), torch.where(gradient.isfinite(), gradient, 0.0)


def drawn(transition: Gaussian, rng: Rng) -> Tensor:
    """A draw; the mean where the transition has no spread."""
    return transition.sample(rng) if bool((transition.std > 0).any()) else transition.mean


def to_ensemble(posterior: Posterior, run: SMCRun, n: int, *, nfe: int, begun: tuple[float, int], own: int, rng: Rng) -> Ensemble:
    """The particles at the end of a run as n members: weighted if there are as many, else resampled.

    `info`: ``log_evidence``, ``ess`` (steps + 1,), ``resampled`` (steps + 1,), ``origins`` (particles,), ``survivors``, ``particles``, ``nfe`` and
    ``operator_calls`` per particle (of which `own` ran here), ``seconds``.
    """
    members = posterior.prior.masked(posterior.decode(run.particles[0]))
    assert run.origins is not None
    info = {
        "log_evidence": run.log_evidence,
        "ess": run.ess,
        "resampled": run.resampled,
        "origins": run.origins,
        "survivors": run.survivors,
        "particles": torch.tensor(run.weights.count),
        "nfe": torch.tensor(nfe),
        **posterior.cost(begun, own),
    }
    ensemble = Ensemble(members, run.weights.values, info)
    return ensemble if n == run.weights.count else ensemble.resample(rng.child("members"), n)


