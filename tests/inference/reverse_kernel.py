"""The reverse kernel of an independent Gaussian prior, without the error of steps: what particle methods are proved with."""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.gaussian import Gaussian
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.sampler import KernelSampler
from physdiff.diffusion.samplers.timesteps import timesteps


class ReverseKernel(KernelSampler):
    """DDPM's kernel widened by what x_0 still varies, for the prior N(0, variance I) on a schedule without scale.

    With `precision` (of one reading of the state itself) the kernel towards another mean than the prior's own is that of the posterior.
    """

    def __init__(self, variance: float, precision: float = 0.0) -> None:
        self.variance, self.precision = variance, precision

    def grid(self, denoiser, steps: int) -> Tensor:
        return timesteps(denoiser.schedule, steps)

    def kernel(self, schedule, x_t: Tensor, mean: Tensor, t, s) -> Gaussian:
        plain = DDPM().kernel(schedule, x_t, mean, t, s)
        before = float(schedule.sigma(t)) ** 2
        after = float(schedule.sigma(s)) ** 2 if float(s) > 0 else 0.0
        prior = torch.allclose(mean, self.variance / (self.variance + before) * x_t, rtol=1e-12, atol=1e-14)
        left = 1 / (1 / self.variance + 1 / before + (0.0 if prior else self.precision))
        return Gaussian(plain.mean, torch.sqrt(plain.std**2 + (1 - after / before) ** 2 * left))
