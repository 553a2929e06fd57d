r"""Langevin corrections between the steps of another sampler (predictor-corrector sampling), in the form without norms.

After each step, at the noise level reached, n times

    x <- alpha D + sqrt(1 - d) (x - alpha D) + sqrt(d) sigma z

To first order in d a step of Langevin dynamics of size d sigma^2/2 on the density of x_t; exact for a single point as data. It pulls a state that
the steps have left off the marginal back to it, and has a bias of its own: for data N(m, c^2) its stationary variance is, with k = alpha^2
c^2/(alpha^2 c^2 + sigma^2),

    d sigma^2/(1 - (k + sqrt(1 - d)(1 - k))^2) = (alpha^2 c^2 + sigma^2)(1 + O(d))

References: Song et al., Score-based generative modeling through stochastic differential equations, 2021
(section 4.2); Rozet and Louppe, Score-based data assimilation, 2023.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.exponential import Multistep
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.sampler import Sampler, denoised, level_at, start_state, step_noise
from physdiff.diffusion.schedule import Schedule

__all__ = ["LangevinCorrected"]


class LangevinCorrected(Sampler):
    """Another sampler with Langevin corrections after each step but that to time 0.

    Args:
        sampler: The sampler between the corrections. Each of its steps is a run of its own, so it must need nothing but the state.
        corrections: Corrections n after each step, one evaluation each; 0 is the other sampler.
        size: Share d of the noise that a correction renews, in (0, 1).

    Raises:
        InputError: If a number is out of range, or the sampler remembers earlier steps (multistep) or counts them (churn).
    """

    def __init__(self, sampler: Sampler, corrections: int = 1, *, size: float = 0.01) -> None:
        if isinstance(sampler, Multistep | DPMSolver2M | ExactLinear) or (isinstance(sampler, Heun) and sampler.churn > 0):
            raise InputError(
                f"LangevinCorrected: expected a sampler that needs nothing but the state, got {type(sampler).__name__}; a correction between its "
                "steps would break its memory: take DDIM, DDPM, Heun() without churn or DPMSolverSingle"
            )
        if corrections < 0:
            raise InputError(f"LangevinCorrected: expected corrections >= 0, got {corrections}; give 0 for none")
        if not 0 < size < 1:
            raise InputError(f"LangevinCorrected: expected size in (0, 1), got {size}; the bias grows with it, 0.01 is usual")
        self.sampler, self.corrections, self.size = sampler, corrections, size

    def grid(self, denoiser: Denoiser, steps: int) -> Tensor:
        """The other sampler's grid."""
        return self.sampler.grid(denoiser, steps)

    def evaluations_per_step(self) -> int:
        """The other sampler's, and one for each correction."""
        return self.sampler.evaluations_per_step() + self.corrections

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`."""
        x, steps = start_state(x, times)
        for i, (t, s) in enumerate(steps):
            try:
                x = self.sampler.run(denoiser, x, torch.stack([t, s]), cond=cond, rng=rng.child("predict", i))
            except Diverged as error:
                raise Diverged(error.field, error.time, f"in step {i + 1} of {len(steps)}, of which the sampler saw: {error}") from error
            for n in range(self.corrections if s > 0 else 0):
                mean = denoised(denoiser, x, s, cond=cond, step=i, steps=len(steps))
                x = self._corrected(denoiser.schedule, x, mean, s=s, noise=step_noise(rng.child("correct", i), n, x))
        return x

    def _corrected(self, schedule: Schedule, x: Tensor, mean: Tensor, *, s: Tensor, noise: Tensor) -> Tensor:
        level = level_at(schedule, s)
        centre = float(level.alpha) * mean
        return centre + math.sqrt(1 - self.size) * (x - centre) + math.sqrt(self.size) * float(level.sigma) * noise
