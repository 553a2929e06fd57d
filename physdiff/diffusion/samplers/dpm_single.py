r"""DPM-Solver and DPM-Solver++ of orders 2 and 3 in one step: nothing is remembered from the step before.

A stage over d = r h (h = lam_s - lam_t) integrates the linear part exactly and lets the output G (eps or D) change linearly in lam, with the
slope from the stage before; with z = d for noise and -d for clean prediction,

    x_r = A x_t + B [ (e^z - 1) G_t + (d/h) ((e^z - 1)/z - 1) slope ],    slope = (G_r' - G_t)/r'

with A = alpha_r/alpha_t, B = -sigma_r (noise) or A = sigma_r/sigma_t, B = -alpha_r (clean). Stages at r = 1/3 and 2/3, then 1: order 3. Order 2
takes the output of the stage r = 1/2 for the whole step (midpoint rule). Two or three evaluations per step; one for the step to time 0 and for the
step from infinite noise, which are DDIM steps. References: Lu et al., DPM-Solver, 2022; DPM-Solver++, 2022.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import first_order_kernel
from physdiff.diffusion.samplers.sampler import Level, Sampler, denoised, level_at, start_state

__all__ = ["DPMSolverSingle"]


class DPMSolverSingle(Sampler):
    """DPM-Solver-2, -3 (noise) and DPM-Solver++ 2S, 3S (clean); deterministic.

    Args:
        order: 2 or 3, also the evaluations per step.
        prediction: ``"clean"`` or ``"noise"``.

    Raises:
        InputError: If the order is neither, or the prediction unknown.
    """

    def __init__(self, order: int = 2, prediction: str = "clean") -> None:
        if order not in (2, 3):
            raise InputError(f"DPMSolverSingle: expected order 2 or 3, got {order}; take UniPC for others")
        self.order, self.prediction = order, check_one_of(prediction, ("clean", "noise"), "DPMSolverSingle prediction")

    def evaluations_per_step(self) -> int:
        """Evaluations of one step, the last one (to time 0) left out."""
        return self.order

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`; `rng` is not used."""
        schedule = denoiser.schedule
        x, steps = start_state(x, times)

        def output(state: Tensor, time: Tensor, i: int) -> Tensor:
            mean = denoised(denoiser, state, time, cond=cond, step=i, steps=len(steps))
            level = level_at(schedule, time)
            return mean if self.prediction == "clean" else (state - level.alpha.to(state) * mean) / level.sigma.to(state)

        for i, (t, s) in enumerate(steps):
            here, there = level_at(schedule, t), level_at(schedule, s)
            if not math.isfinite(float(there.lam) - float(here.lam)):
                mean = denoised(denoiser, x, t, cond=cond, step=i, steps=len(steps))
                x = first_order_kernel(schedule, x, mean, t=t, s=s, eta=0.0).mean
                continue
            first = output(x, t, i)
            slope = torch.zeros_like(first)
            for r in (1 / 2,) if self.order == 2 else (1 / 3, 2 / 3):
                inner = schedule.time_of(here.lam + r * (there.lam - here.lam))
                state = self._stage(x, first, slope, here=here, there=level_at(schedule, inner), step=r)
                slope = (output(state, inner, i) - first) / r
            if self.order == 2:  # midpoint rule
                first, slope = first + slope / 2, torch.zeros_like(first)
            x = self._stage(x, first, slope, here=here, there=there, step=1.0)
        return x

    def _stage(self, x: Tensor, first: Tensor, slope: Tensor, *, here: Level, there: Level, step: float) -> Tensor:
        d = float(there.lam) - float(here.lam)
        if self.prediction == "clean":
            scale, factor, z = float(there.sigma / here.sigma), -float(there.alpha), -d
        else:
            scale, factor, z = float(there.alpha / here.alpha), -float(there.sigma), d
        growth = math.expm1(z)
        # (e^z - 1)/z - 1 loses digits at small steps, where its series does not; here the sixth term is below rounding
        bend = growth / z - 1 if abs(z) > 0.02 else z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6))))
        return scale * x + factor * (growth * first + step * bend * slope)
