r"""First-order samplers: one Gaussian kernel with a free share of fresh noise.

    x_s = (sigma_s/sigma_t) rho x_t + alpha_s (1 - r) D + sigma_s sqrt(1 - rho^2) z,    r = rho u_s/u_t,   0
    <= rho <= 1

rho = 1 is DDIM, the Euler method of the probability flow in u = sigma/alpha; rho = u_s/u_t is DDPM ancestral
sampling; between them rho = sqrt(1 - eta^2 (1 - u_s^2/u_t^2)). In this form nothing is divided by alpha, so
that it starts at infinite u as well. Every rho keeps the marginal if D is the true x_0. References: Ho et
al., 2020; Song, Meng and Ermon, Denoising diffusion implicit models, 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.gaussian import Gaussian
from physdiff.diffusion.samplers.sampler import KernelSampler, Level, level_at
from physdiff.diffusion.schedule import Schedule, per_sample

__all__ = ["DDIM", "DDPM", "first_order_kernel", "kernel_with"]


def first_order_kernel(schedule: Schedule, x_t: Tensor, mean: Tensor, *, t: Tensor | float, s: Tensor | float, eta: float) -> Gaussian:
    """The kernel of the module's formula from t to s.

    Args:
        schedule: The schedule.
        x_t: State at t, (B, ...).
        mean: Posterior mean at t, shape of x_t.
        t: Time () or (B,).
        s: Time () or (B,), cleaner (for eta = 0 also noisier: the inverse).
        eta: Share of fresh noise in [0, 1].
    """
    here, there = level_at(schedule, t), level_at(schedule, s)
    h = there.lam - here.lam
    # 1 - (u_s/u_t)^2 and 1 - r without cancellation at small steps; h may be infinite at either end
    gap = -torch.expm1(-2 * h)
    rho = torch.sqrt(1 - eta**2 * gap) if eta < 1 else torch.exp(-h)
    if eta == 0:
        rest = -torch.expm1(-h)
    else:
        rest = gap * (1 + eta**2 * torch.exp(-2 * h)) / (1 + rho * torch.exp(-h))
    std = there.sigma * eta * torch.sqrt(gap) if eta > 0 else torch.zeros_like(there.sigma)
    new = per_sample(there.sigma / here.sigma * rho, x_t) * x_t + per_sample(there.alpha * rest, x_t) * mean
    return Gaussian(new, per_sample(std, x_t))


def kernel_with(x_t: Tensor, mean: Tensor, *, here: Level, there: Level, rho: Tensor) -> Gaussian:
    """The kernel of the module's formula for any rho () or (B,) in [0, 1]; 1 - rho^2 is formed from rho, which need not be close to 1."""
    r = rho * torch.exp(here.lam - there.lam)
    new = per_sample(there.sigma / here.sigma * rho, x_t) * x_t + per_sample(there.alpha * (1 - r), x_t) * mean
    return Gaussian(new, per_sample(there.sigma * torch.sqrt((1 - rho) * (1 + rho)), x_t))


class DDIM(KernelSampler):
    """DDIM: deterministic at eta = 0, DDPM ancestral sampling at eta = 1. Order 1, one evaluation per step.

    Args:
        eta: Share of fresh noise, in [0, 1].

    Raises:
        InputError: If eta is outside [0, 1].
    """

    def __init__(self, eta: float = 0.0) -> None:
        if not 0 <= eta <= 1:
            raise InputError(f"DDIM: expected eta in [0, 1], got {eta}; beyond 1 the kernel no longer exists")
        self.eta = eta

    def kernel(self, schedule: Schedule, x_t: Tensor, mean: Tensor, t: Tensor | float, s: Tensor | float) -> Gaussian:
        """The transition q(x_s given x_t), see `KernelSampler.kernel`."""
        return first_order_kernel(schedule, x_t, mean, t=t, s=s, eta=self.eta)


class DDPM(KernelSampler):
    """DDPM ancestral sampling, the exact reverse if D were x_0. Order 1 in law, one evaluation per step."""

    def kernel(self, schedule: Schedule, x_t: Tensor, mean: Tensor, t: Tensor | float, s: Tensor | float) -> Gaussian:
        """The transition q(x_s given x_t), see `KernelSampler.kernel`."""
        return first_order_kernel(schedule, x_t, mean, t=t, s=s, eta=1.0)
