r"""Guidance through the network: which spread of the clean state is believed, and what follows.

If $x_0 | x_t$ were $N(D, S)$ and $A$ linear, the readings given the noisy state would be $N(A D, R + H S H^\top)$, and

$$ D_y = D + \frac{\sigma^2}{\alpha} J^\top H^\top (R + H S H^\top)^{-1} (y - A(D)), \qquad J = \partial D / \partial x_t . $$

Each published method is a choice of S (u = sigma/alpha; C of the coefficients):

    none      S = 0                       DPS without its normalisation: the step (sigma^2/alpha) J^T H^T R^-1 (y - A D)
    residual                              DPS as published: the step J^T H^T r / |r|, r = y - A D, times `strength`
    unit      S = u^2/(1 + u^2) I         PiGDM as published, for coefficients of unit variance
    prior     S = (C^-1 + u^-2)^-1        PiGDM with the prior's covariance; exact for Gaussian priors
    moments   S = (sigma^2/alpha) J       moment matching (MMPS): the denoiser's own covariance by Tweedie's formula; exact for Gaussian priors
    readings  H S H^T = strength u^2 I    SDA; `strength` is its gamma, the readings in units in which the field has variance 1

`none` takes no spread for what the denoiser does not know and trusts the readings too early; `residual` lets the strength be tuned, for each
operator anew (a sampler's step from u to u' takes 1 - (u'/u)^2 of it, the same on geometric levels). All but `prior` and `moments` on Gaussian
priors are heuristics. References: Chung and others, Diffusion posterior sampling, 2023; Song and others, Pseudoinverse-guided diffusion models,
2023; Rozet and Louppe, Score-based data assimilation, 2023; Rozet and others, Learning diffusion priors from observations by expectation
maximization, 2024 (moments).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.linalg import gmres
from physdiff.diffusion.covariance import Covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.schedule import Schedule
from physdiff.inference.linearised import Linearised

__all__ = ["SPREADS", "NetworkGuidedDenoiser", "check_spread"]

SPREADS = ("none", "residual", "unit", "prior", "moments", "readings")


def check_spread(spread: str | None, strength: float) -> tuple[str | None, float]:
    """Return both if there is such a spread and the strength is positive; InputError otherwise."""
    if spread is not None:
        check_one_of(spread, SPREADS, "Guided spread")
    return spread, check_positive(strength, "Guided strength")


class _Readings(Protocol):
    """What is asked of a `GuidedDenoiser`, which builds on this module."""

    prior: DiffusionPrior
    schedule: Schedule
    covariance: Covariance
    iterations: int
    tolerance: float
    evaluations: int
    operator_calls: int
    solve_error: float

    def slope(self, z: Tensor, alpha: float, sigma: float) -> Tensor:
        """See GuidedDenoiser."""

    def linearised(self, z: Tensor) -> Linearised:
        """See GuidedDenoiser."""


class NetworkGuidedDenoiser(Denoiser):
    """Posterior mean of the coefficients by a gradient through the prior's denoiser.

    Args:
        linear: A `GuidedDenoiser`: gives readings, covariance C and solves; counts evaluations and operator calls.
        spread: See the module's table.
        strength: Factor of the step of "none" and "residual", gamma of "readings"; else of no effect.
    """

    def __init__(self, linear: _Readings, spread: str = "moments", strength: float = 1.0) -> None:
        super().__init__()
        check_spread(spread, strength)
        self.linear, self.spread, self.strength = linear, spread, strength
        self.schedule = linear.schedule

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Estimate E[z_0 | z_t, y] for a noisy state (B, C', T', *S'); see Denoiser.forward."""
        t = torch.as_tensor(t)
        if t.numel() > 1 and bool((t != t[0]).any()):
            conds = [None if cond is None else cond[i % cond.shape[0]][None] for i in range(len(t))]
            return torch.cat([self(x[None], s, c) for x, s, c in zip(x_t, t, conds, strict=True)])
        self.linear.evaluations += 1
        alpha, sigma = (float(c) for c in self.schedule(t.reshape(-1)[0]))
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            mean = self.linear.prior.denoiser(x, t, cond)
        z = mean.detach()
        if sigma == 0:
            return z

        def pull(slope: Tensor) -> Tensor:
            """S slope by Tweedie's formula, S = (sigma^2/alpha) J^T; where nothing of the state is left, S is C."""
            if alpha == 0:
                return self.linear.covariance(slope)
            return torch.autograd.grad(mean, x, slope.to(mean), retain_graph=True)[0] * (sigma**2 / alpha)

        if self.spread in ("unit", "prior"):
            return z + pull(self.linear.slope(z, alpha, sigma)).to(z)
        readings = self.linear.linearised(z)
        if self.spread == "moments":
            step = self._moment_step(readings, pull)
        elif self.spread == "residual":
            size = readings.value.norm(dim=1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
            step = self.strength * torch.autograd.grad(mean, x, -readings.transpose(readings.value / size).to(mean))[0]
        else:
            factor, more = (self.strength, 0.0) if self.spread == "none" else (1.0, self.strength * (sigma / alpha) ** 2 if alpha > 0 else torch.inf)
            step = factor * pull(-readings.transpose(readings.value / (readings.aux + more).to(z)))
        self.linear.operator_calls += readings.products
        return z + step.to(z)

    def _moment_step(self, readings: Linearised, pull: Callable[[Tensor], Tensor]) -> Tensor:
        """S H^T (R + H S H^T)^-1 (y - A z); by `gmres`, for a network's Jacobian is not symmetric."""
        # readings in units of their noise: the iteration count does not depend on the units
        root = readings.aux.sqrt().to(readings.value)

        def back(w: Tensor) -> Tensor:
            return pull(-readings.transpose(w / root))

        def system(w: Tensor) -> Tensor:
            return w - readings.forward(back(w)) / root

        goal, linear = readings.value / root, self.linear
        solution = gmres(system, goal, rtol=linear.tolerance, max_iter=min(linear.iterations, goal.shape[1]))
        left = (system(solution) - goal).norm(dim=1) / goal.norm(dim=1).clamp_min(torch.finfo(goal.dtype).tiny)
        linear.solve_error = max(linear.solve_error, float(left.max()))
        return back(solution)
