r"""Heun's method for the probability flow, with optional churn.

In y = x/alpha and u = sigma/alpha the flow is dy/du = (y - D)/u for every schedule. A step from u to u_s is
the Euler (DDIM) step followed by the trapezoidal correction, which in x reads

    x_s = x_s^DDIM + alpha_s (e^h - 1)/2 (D(x_s^DDIM, s) - D(x_t, t)),    h = log(u/u_s)

so that nothing large is subtracted. Churn first raises the noise, u^ = u (1 + gamma), y^ = y + sqrt(u^^2 -
u^2) z. Order 2, also in law with churn; two evaluations per step, one for the step to time 0 and for the step
from infinite u, where the correction vanishes. Reference: Karras et al., 2022, algorithm 2 (with noise
inflation fixed at 1, which keeps the marginals).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import first_order_kernel
from physdiff.diffusion.samplers.sampler import Sampler, denoised, level_at, start_state, step_noise
from physdiff.diffusion.schedule import Schedule, per_sample

__all__ = ["Heun", "add_noise"]

_MOST = math.sqrt(2) - 1  # Karras et al.: never more new noise than there is


class Heun(Sampler):
    """Heun's method with churn.

    Args:
        churn: Total relative rise of the noise over all steps (S_churn); 0 is deterministic.
        churn_from: Smallest noise-to-signal ratio u at which noise is added.
        churn_to: Largest; None: no bound.

    Raises:
        InputError: If a number is negative or the range is empty.
    """

    def __init__(self, churn: float = 0.0, *, churn_from: float = 0.0, churn_to: float | None = None) -> None:
        self.churn = check_positive(churn, "Heun.churn", zero=True)
        self.churn_from = check_positive(churn_from, "Heun.churn_from", zero=True)
        if churn_to is not None and churn_to <= churn_from:
            raise InputError(f"Heun: expected churn_from < churn_to, got {churn_from} and {churn_to}; swap them")
        self.churn_to = churn_to

    def evaluations_per_step(self) -> int:
        """Two, the last step (to time 0) left out."""
        return 2

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`."""
        schedule = denoiser.schedule
        x, steps = start_state(x, times)
        for i, (t, s) in enumerate(steps):
            raised = self._raised(schedule, t, len(steps))
            if raised > t:
                x = add_noise(schedule, x, t, raised=raised, noise=step_noise(rng, i, x))
            mean = denoised(denoiser, x, raised, cond=cond, step=i, steps=len(steps))
            x = first_order_kernel(schedule, x, mean, t=raised, s=s, eta=0.0).mean
            here, there = level_at(schedule, raised), level_at(schedule, s)
            if bool(there.sigma > 0) and bool(here.alpha > 0):
                again = denoised(denoiser, x, s, cond=cond, step=i, steps=len(steps))
                half = 0.5 * there.alpha * torch.expm1(there.lam - here.lam)
                x = x + per_sample(half, x) * (again - mean)
        return x

    def _raised(self, schedule: Schedule, t: Tensor, steps: int) -> Tensor:
        ratio = float(schedule.noise_ratio(t))
        gamma = min(self.churn / steps, _MOST)
        inside = self.churn_from <= ratio and (self.churn_to is None or ratio <= self.churn_to)
        if gamma == 0 or not inside or not math.isfinite(ratio):
            return t
        return torch.maximum(schedule.time_of(-math.log(ratio * (1 + gamma))), t)


def add_noise(schedule: Schedule, x: Tensor, t: Tensor, *, raised: Tensor, noise: Tensor) -> Tensor:
    """Noise from t up to the time `raised`, which keeps the marginals: x alpha^/alpha + alpha^ sqrt(u^^2 - u^2) z."""
    here, there = level_at(schedule, t), level_at(schedule, raised)
    fresh = there.sigma * torch.sqrt(-torch.expm1(2 * (there.lam - here.lam)))
    return per_sample(there.alpha / here.alpha, x) * x + per_sample(fresh, x) * noise
