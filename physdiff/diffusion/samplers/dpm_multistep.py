r"""DPM-Solver++ 2M: second order with one evaluation per step.

The posterior mean is extrapolated linearly in lam to the middle of the step from its last two values,

    x_s = (sigma_s/sigma_t) x_t - alpha_s (e^{-h} - 1) [D_t + h/(2 h') (D_t - D_t')],    h = lam_s - lam_t,  h' the step before

and the first step, and the step to time 0, are DDIM steps. On a Gaussian with a spectrum k^-3 it keeps the variance of every mode to 3.5 %
in 20 steps (u from 80 to 0.002, uniform in lam), for which Heun's method needs 60 evaluations, and to 1.2 % in 40.
Reference: Lu et al., DPM-Solver++, 2022.
"""

from __future__ import annotations

from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import first_order_kernel
from physdiff.diffusion.samplers.sampler import Sampler, denoised, level_at, start_state

__all__ = ["DPMSolver2M"]


class DPMSolver2M(Sampler):
    """Two-step exponential Adams-Bashforth method in lam on the posterior mean; deterministic."""

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`; `rng` is not used."""
        schedule = denoiser.schedule
        x, steps = start_state(x, times)
        before: tuple[Tensor, Tensor] | None = None
        for i, (t, s) in enumerate(steps):
            mean = denoised(denoiser, x, t, cond=cond, step=i, steps=len(steps))
            h = level_at(schedule, s).lam - level_at(schedule, t).lam
            ahead = mean
            if before is not None and bool(h.isfinite()):
                last_mean, last_h = before
                ahead = mean + (h / (2 * last_h)).to(mean) * (mean - last_mean)
            x = first_order_kernel(schedule, x, ahead, t=t, s=s, eta=0.0).mean
            before = (mean, h) if bool(h.isfinite()) else None
        return x
