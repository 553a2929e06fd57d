r"""SEEDS-2 and SDE-DPM-Solver++ 2S: the reverse SDE by the exponential midpoint rule, with one noise for both stages.

With h = lam_s - lam_t, the stage q at lam_t + h/2, and z_1, z_2 independent (clean prediction; D_q is taken at x_q),

    x_q = (sigma_q/sigma_t) e^{-h/2} x_t + alpha_q (1 - e^{-h}) D_t + sigma_q sqrt(1 - e^{-h}) z_1
    x_s = (sigma_s/sigma_t) e^{-h} x_t + alpha_s (1 - e^{-2h}) D_q + sigma_s sqrt(1 - e^{-h}) (e^{-h/2} z_1 + z_2)

and with noise prediction (SEEDS-2)

    x_q = (alpha_q/alpha_t) x_t - 2 sigma_q (e^{h/2} - 1) eps_t + sigma_q sqrt(e^h - 1) z_1
    x_s = (alpha_s/alpha_t) x_t - 2 sigma_s (e^h - 1) eps_q + sigma_s (sqrt(e^{2h} - e^h) z_1 + sqrt(e^h - 1) z_2)

The stage's noise is a part of the step's: a fresh one there makes it order 1 in law. Order 2 in law, two evaluations per step; one for the step
to time 0 and for that from infinite noise, which are DDIM steps. References: Lu et al., DPM-Solver++, 2022; Gonzalez et al., SEEDS, 2023.
"""

from __future__ import annotations

import math

from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import first_order_kernel
from physdiff.diffusion.samplers.sampler import Level, Sampler, denoised, level_at, start_state, step_noise

__all__ = ["SDESolverSingle"]


class SDESolverSingle(Sampler):
    """SDE-DPM-Solver++ 2S (clean) and SEEDS-2 (noise); stochastic.

    Args:
        prediction: ``"clean"`` or ``"noise"``. The weights of the second explode at large steps: below 50 steps take the first, below 20
            it is of no use.

    Raises:
        InputError: If the prediction is unknown.
    """

    def __init__(self, prediction: str = "clean") -> None:
        self.prediction = check_one_of(prediction, ("clean", "noise"), "SDESolverSingle prediction")

    def evaluations_per_step(self) -> int:
        """Two, the last step (to time 0) left out."""
        return 2

    def least_steps(self) -> int:
        """One; 20 with noise prediction, where fewer explode."""
        return 1 if self.prediction == "clean" else 20

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`."""
        schedule = denoiser.schedule
        x, steps = start_state(x, times)
        for i, (t, s) in enumerate(steps):
            here, there = level_at(schedule, t), level_at(schedule, s)
            mean = denoised(denoiser, x, t, cond=cond, step=i, steps=len(steps))
            if not math.isfinite(float(there.lam) - float(here.lam)):
                x = first_order_kernel(schedule, x, mean, t=t, s=s, eta=0.0).mean
                continue
            inner = schedule.time_of(here.lam + (there.lam - here.lam) / 2)
            middle, first = level_at(schedule, inner), step_noise(rng, i, x)
            state = self._flow(x, self._output(x, mean, here), here=here, there=middle) + self._spread(here, middle) * first
            again = self._output(state, denoised(denoiser, state, inner, cond=cond, step=i, steps=len(steps)), middle)
            # the noise of the first half, carried to the end by the linear part, and that of the second
            kept = self._factor(middle, there) * self._spread(here, middle) * first
            fresh = self._spread(middle, there) * step_noise(rng.child("second"), i, x)
            x = self._flow(x, again, here=here, there=there) + kept + fresh
        return x

    def _output(self, x: Tensor, mean: Tensor, level: Level) -> Tensor:
        return mean if self.prediction == "clean" else (x - float(level.alpha) * mean) / float(level.sigma)

    def _factor(self, here: Level, there: Level) -> float:
        """What the linear part makes of a state."""
        if self.prediction == "noise":
            return float(there.alpha / here.alpha)
        return float(there.sigma / here.sigma) * math.exp(float(here.lam) - float(there.lam))

    def _flow(self, x: Tensor, output: Tensor, *, here: Level, there: Level) -> Tensor:
        h = float(there.lam) - float(here.lam)
        weight = -2 * float(there.sigma) * math.expm1(h) if self.prediction == "noise" else -float(there.alpha) * math.expm1(-2 * h)
        return self._factor(here, there) * x + weight * output

    def _spread(self, here: Level, there: Level) -> float:
        """Standard deviation of the noise between two levels, at the second."""
        h = float(there.lam) - float(here.lam)
        return float(there.sigma) * math.sqrt(math.expm1(2 * h) if self.prediction == "noise" else -math.expm1(-2 * h))
