r"""ER-SDE: samplers whose share of fresh noise follows a function of the noise level.

With phi(u) = u psi(u), phi(0) = 0 and psi non-decreasing, the kernel of `ddim` with rho = psi(u_s)/psi(u_t):

    x_s = (sigma_s/sigma_t) rho x_t + alpha_s (1 - r) D + sigma_s sqrt(1 - rho^2) z,    r = phi(u_s)/phi(u_t)

psi = 1 is DDIM, psi = u is DDPM; here psi = e^{u^0.3} + 10, nearly the flow where noise is low, and nearly free of memory where it is high.
Orders 2 and 3 replace D by the polynomial in u through its last two or three values, D = sum_j l_j D_j, so that (1 - r) D becomes sum_j w_j D_j with

    w_j = phi(u_s) int_{u_s}^{u_t} phi'(u)/phi(u)^2 l_j(u) du

The published form, Taylor's with derivatives by divided differences, is the same for order 2; of order 3 it lacks a term (the slope belongs to the
middle of the last interval) and is of order 2. Reference: Cui et al., Elucidating the solution space of extended reverse-time SDE for diffusion
models, 2023.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.gaussian import Gaussian
from physdiff.diffusion.samplers.ddim import kernel_with
from physdiff.diffusion.samplers.exponential import Multistep, Node, gauss_legendre, lagrange
from physdiff.diffusion.samplers.sampler import KernelSampler, Level, level_at
from physdiff.diffusion.schedule import Schedule

__all__ = ["ERSDE", "ERSDEMultistep"]

# e^{u^0.3} overflows at u = 3e9, far beyond any use; there rho is zero anyway
_MOST = 1e9


class ERSDE(KernelSampler):
    """ER-SDE-1 with the published noise function. Order 1 in law, one evaluation per step."""

    def kernel(self, schedule: Schedule, x_t: Tensor, mean: Tensor, t: Tensor | float, s: Tensor | float) -> Gaussian:
        """The transition q(x_s given x_t), see `KernelSampler.kernel`."""
        here, there = level_at(schedule, t), level_at(schedule, s)
        rho = _psi(there.lam) / _psi(here.lam)
        return kernel_with(x_t, mean, here=here, there=there, rho=rho)


class ERSDEMultistep(Multistep):
    """ER-SDE-2 and -3 with the published noise function: order 2 in law, the smaller error at 3; one evaluation per step.

    Args:
        order: Number of means in the polynomial, 2 or 3.

    Raises:
        InputError: If the order is neither.
    """

    corrector = False

    def __init__(self, order: int = 2) -> None:
        if order not in (2, 3):
            raise InputError(f"ERSDEMultistep: expected order 2 or 3, got {order}; ERSDE is order 1, and none higher is of use in law")
        self.order = order

    def place(self, schedule: Schedule, level: Level) -> float:
        """The noise-to-signal ratio u, see `Multistep.place`."""
        return math.exp(-float(level.lam))

    def output(self, x: Tensor, mean: Tensor, level: Level) -> Tensor:
        """The mean."""
        return mean

    def stochastic(self) -> bool:
        """It takes noise."""
        return True

    def psi(self, lam: Tensor) -> Tensor:
        """The noise function phi(u)/u at lam = -log u, positive; float64."""
        return _psi(lam)

    def growth(self, lam: Tensor) -> Tensor:
        """D log phi/d log u = 1 + d log psi/d log u."""
        root = torch.exp(-lam).clamp_max(_MOST) ** 0.3
        return 1 + 0.3 * root / (1 + 10 * torch.exp(-root))

    def advance(self, schedule: Schedule, x: Tensor, nodes: list[Node], *, t: Level, s: Level, z: Tensor | None) -> Tensor:
        """One step, see `Multistep.advance`."""
        rho = float(self.psi(s.lam) / self.psi(t.lam))
        weights = self._weights([n.place for n in nodes], t=t, s=s)
        x = float(s.sigma / t.sigma) * rho * x
        for weight, node in zip(weights, nodes, strict=True):
            x = x + float(s.alpha) * weight * node.output
        return x if z is None else x + float(s.sigma) * math.sqrt((1 - rho) * (1 + rho)) * z

    def _weights(self, places: list[float], *, t: Level, s: Level) -> list[float]:
        """The w_j by Gauss-Legendre sums in lam, where the integrand falls no faster than e^{-8} over a piece."""
        low, high = float(t.lam), float(s.lam)
        pieces = max(1, math.ceil(float(self.growth(t.lam)) * (high - low) / 8))
        points, weights = gauss_legendre()
        step = (high - low) / pieces
        lam = (low + step * torch.arange(pieces, dtype=torch.float64)[:, None] + step * (points + 1) / 2).flatten()
        density = torch.exp(lam - high) * self.psi(s.lam) / self.psi(lam) * self.growth(lam)  # phi_s/phi and d log phi
        return list((lagrange(torch.exp(-lam), places) @ (density * weights.repeat(pieces) * step / 2)).tolist())


def _psi(lam: Tensor) -> Tensor:
    return torch.exp(torch.exp(-lam).clamp_max(_MOST) ** 0.3) + 10
