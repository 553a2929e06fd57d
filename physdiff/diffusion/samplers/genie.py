r"""Taylor steps of second order: the output and its derivative along the flow, by one product of the denoiser's Jacobian with a vector.

With y = x/alpha, u = sigma/alpha, lam = -log u, D(y, lam) the denoiser and D' = dD/dlam along the flow dy/dlam = -(y - D),

    noise:  y_s = y_t + du e + (du^2/2) de/du,    e = (y - D)/u,    de/du = D'/u^2,    du = u_s - u_t       (GENIE)
    clean:  x_s = (sigma_s/sigma_t) x_t - alpha_s (e^-h - 1) D + alpha_s (h + e^-h - 1) D',    h = lam_s - lam_t

The second is the same step in lam, where D bends less than e does in u; it is the default. The product is made by differentiating the backward
pass, which serves every network (group norms have no forward mode), and costs some three evaluations. Steps from infinite noise and to time 0
are DDIM's. Order 2. Reference: Dockhorn, Vahdat and Kreis, GENIE: higher-order denoising diffusion solvers, 2022.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from physdiff.base.checks import check_one_of
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import first_order_kernel
from physdiff.diffusion.samplers.sampler import Level, Sampler, denoised, level_at, start_state
from physdiff.diffusion.schedule import per_sample

__all__ = ["GENIE", "derivative_along_flow"]


class GENIE(Sampler):
    """Second-order Taylor steps; deterministic, one evaluation and one Jacobian-vector product a step.

    Args:
        prediction: ``"clean"`` (in lam) or ``"noise"`` (in u, as published).

    Raises:
        InputError: If the prediction is unknown.
    """

    def __init__(self, prediction: str = "clean") -> None:
        self.prediction = check_one_of(prediction, ("clean", "noise"), "GENIE prediction")

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`; `rng` is not used."""
        schedule = denoiser.schedule
        x, steps = start_state(x, times)
        for i, (t, s) in enumerate(steps):
            mean = denoised(denoiser, x, t, cond=cond, step=i, steps=len(steps))
            here, there = level_at(schedule, t), level_at(schedule, s)
            if math.isfinite(float(there.lam) - float(here.lam)):
                slope = derivative_along_flow(denoiser, x, mean, level=here, cond=cond)
                x = self._step(x, mean, slope, here=here, there=there)
            else:
                x = first_order_kernel(schedule, x, mean, t=t, s=s, eta=0.0).mean
        return x

    def _step(self, x: Tensor, mean: Tensor, slope: Tensor, *, here: Level, there: Level) -> Tensor:
        if self.prediction == "clean":
            h = float(there.lam) - float(here.lam)
            growth = math.expm1(-h)
            # h + e^-h - 1 loses digits at small steps, where its series does not; here the sixth term is below rounding
            bend = h + growth if h > 0.02 else h**2 / 2 * (1 - h / 3 * (1 - h / 4 * (1 - h / 5 * (1 - h / 6))))
            return float(there.sigma / here.sigma) * x + float(there.alpha) * (bend * slope - growth * mean)
        u, step = math.exp(-float(here.lam)), math.exp(-float(there.lam)) - math.exp(-float(here.lam))
        y = x / float(here.alpha)
        return float(there.alpha) * (y + step * (y - mean) / u + (step / u) ** 2 / 2 * slope)


def derivative_along_flow(denoiser: Denoiser, x: Tensor, mean: Tensor, *, level: Level, cond: Tensor | None = None) -> Tensor:
    """dD/dlam along the probability flow, exact to rounding, shape of x.

    Args:
        denoiser: The denoiser D.
        x: State (B, C, T, *S) at the level.
        mean: D there.
        level: The noise level, finite and not zero.
        cond: Encoded condition.
    """
    schedule = denoiser.schedule

    def output(y: Tensor, lam: Tensor) -> Tensor:
        time = schedule.time_of(lam)
        scale = per_sample(torch.exp(schedule.log_alpha(time)), y)
        return denoiser(scale * y, time.to(y.device), cond).to(y.dtype)

    y = x / per_sample(level.alpha, x)
    flow = (mean - y, torch.ones_like(level.lam))
    with sdpa_kernel(SDPBackend.MATH):  # the fused attentions have no second derivative
        _, product = torch.autograd.functional.jvp(output, (y, level.lam), flow, create_graph=mean.requires_grad)
    found: Tensor = product
    return found
