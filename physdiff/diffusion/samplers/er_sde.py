r"""ER-SDE: the first-order kernel whose share of fresh noise follows a function of the noise level.

With phi(u) = u psi(u), phi(0) = 0 and psi non-decreasing, the kernel of `ddim` with rho = psi(u_s)/psi(u_t):

    x_s = (sigma_s/sigma_t) rho x_t + alpha_s (1 - r) D + sigma_s sqrt(1 - rho^2) z,    r = phi(u_s)/phi(u_t)

psi = 1 is DDIM, psi = u is DDPM; here psi = e^{u^0.3} + 10, nearly the flow where noise is low, and nearly free of memory where it is high.
Reference: Cui et al., Elucidating the solution space of extended reverse-time SDE for diffusion models, 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.gaussian import Gaussian
from physdiff.diffusion.samplers.ddim import kernel_with
from physdiff.diffusion.samplers.sampler import KernelSampler, level_at
from physdiff.diffusion.schedule import Schedule

__all__ = ["ERSDE"]

# e^{u^0.3} overflows at u = 3e9, far beyond any use; there rho is zero anyway
_MOST = 1e9


class ERSDE(KernelSampler):
    """ER-SDE-1 with the published noise function. Order 1 in law, one evaluation per step."""

    def kernel(self, schedule: Schedule, x_t: Tensor, mean: Tensor, t: Tensor | float, s: Tensor | float) -> Gaussian:
        """The transition q(x_s given x_t), see `KernelSampler.kernel`."""
        here, there = level_at(schedule, t), level_at(schedule, s)
        rho = _psi(there.lam) / _psi(here.lam)
        return kernel_with(x_t, mean, here=here, there=there, rho=rho)


def _psi(lam: Tensor) -> Tensor:
    return torch.exp(torch.exp(-lam).clamp_max(_MOST) ** 0.3) + 10
