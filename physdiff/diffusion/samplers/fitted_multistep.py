r"""A multistep method whose coefficients are numbers fitted to a model, step by step.

    x_s = (sigma_s/sigma_t) x_t + alpha_s sum_j w_j D_j,    sum_j w_j = 1 - e^{-h},    h = lam_s - lam_t

over the last posterior means D_j, newest first. The sum is kept whatever is fitted, so that a constant D is integrated exactly and the method
converges; in the last step, to time 0, where classical methods take x <- D, the rest is free as everywhere. `fit_multistep` finds the weights.
References: Zhang et al., Distilling ODE solvers of diffusion models into smaller steps, 2023; Zhang et al., On accelerating diffusion-based
sampling process via improved integration approximation, 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.sampler import Level, Sampler, denoised, level_at, start_state

__all__ = ["FittedMultistep", "linear_step"]


class FittedMultistep(Sampler):
    """Given times with given weights; deterministic, one evaluation per step. It has no other number of steps.

    Args:
        times: Strictly decreasing times (N + 1,).
        weights: Share w_j / (1 - e^{-h}) of each mean in each step, newest first, (N, p), each row of sum one; zero where there is no mean yet.

    Raises:
        InputError: If the shapes do not fit or a row's sum is not one.
    """

    def __init__(self, times: Tensor, weights: Tensor) -> None:
        self.times, self.weights = (torch.as_tensor(v).detach().to(device="cpu", dtype=torch.float64) for v in (times, weights))
        start_state(self.times, self.times)
        if self.weights.ndim != 2 or len(self.weights) != len(self.times) - 1:
            shapes = f"{tuple(self.times.shape)} and {tuple(self.weights.shape)}"
            raise InputError(f"FittedMultistep: expected times (N + 1,) and weights (N, p), got {shapes}; take fit_multistep")
        # sums of a few numbers of size ten in float64
        if not bool(((self.weights.sum(1) - 1).abs() < 1e-9).all()) or bool((self.weights.triu(1) != 0).any()):
            raise InputError(f"FittedMultistep: expected rows of sum one over the means there are, got {self.weights.tolist()}; take fit_multistep")

    def least_steps(self) -> int:
        """Those of its times."""
        return len(self.times) - 1

    def grid(self, denoiser: Denoiser, steps: int) -> Tensor:
        """Its times.

        Raises:
            InputError: If they are not so many steps.
        """
        if steps != len(self.times) - 1:
            raise InputError(f"FittedMultistep: expected the {len(self.times) - 1} steps it is fitted for, got {steps}; fit it again for others")
        return self.times.clone()

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`; `rng` is not used.

        Raises:
            InputError: If the times are not its own.
        """
        if times.shape != self.times.shape or not torch.allclose(times.to(self.times), self.times, rtol=1e-9, atol=0):
            raise InputError("FittedMultistep: expected the times its weights are fitted for, got others; give sampler.grid(denoiser, steps)")
        x, steps = start_state(x, times)
        means = list[Tensor]()
        for i, (t, s) in enumerate(steps):
            mean = denoised(denoiser, x, t, cond=cond, step=i, steps=len(steps))
            means = [mean, *means][: self.weights.shape[1]]
            mixed = torch.stack([float(w) * m for w, m in zip(self.weights[i], means, strict=False)]).sum(0)
            x = linear_step(x, mixed, here=level_at(denoiser.schedule, t), there=level_at(denoiser.schedule, s))
        return x


def linear_step(x: Tensor, mean: Tensor, *, here: Level, there: Level) -> Tensor:
    """(sigma_s/sigma_t) x + alpha_s (1 - e^{-h}) mean: the step of `ddim`, finite at both ends."""
    return float(there.sigma / here.sigma) * x + float(there.alpha * -torch.expm1(here.lam - there.lam)) * mean
