r"""How noise is turned into a sample: the abstract samplers.

A sampler walks down a grid of times and asks the denoiser at each. Coefficients are float64 numbers from
(alpha, sigma, lam) at the two ends of a step, so that every schedule is served alike; the state keeps its
dtype, float32 at least. Time 0 is clean: there alpha = 1 and sigma = 0 for every schedule, also for those
whose own noise ends above zero, hence the step to time 0 is x <- D.

Noise is keyed by step and by index of the sample: sample i of a batch is the same in a batch of any size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.gaussian import Gaussian
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import Schedule

__all__ = ["KernelSampler", "Level", "Sampler", "check_kernel", "denoised", "level_at", "start_state", "step_noise"]


@dataclass(frozen=True)
class Level:
    """The noise level at one time, as float64 tensors () or (B,)."""

    alpha: Tensor
    sigma: Tensor
    lam: Tensor


def level_at(schedule: Schedule, t: Tensor | float) -> Level:
    """The level at time t; at t = 0 clean (1, 0, inf) for every schedule."""
    time = torch.as_tensor(t, dtype=torch.float64)
    (alpha, sigma), lam, clean = schedule(time), schedule.lam(time), time == 0
    return Level(
        torch.where(clean, torch.ones_like(alpha), alpha),
        torch.where(clean, torch.zeros_like(sigma), sigma),
        torch.where(clean, torch.full_like(lam, torch.inf), lam),
    )


class Sampler(Saved, ABC):
    """Anything that turns noise into a sample."""

    @abstractmethod
    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1].

        Gradients flow through; the caller decides whether they are recorded.

        Args:
            denoiser: The denoiser.
            x: State at times[0], (B, C, T, *S).
            times: Strictly decreasing times (N + 1,), in [0, 1]; 0 is clean.
            cond: Encoded condition (B or 1, C'', T, *S).
            rng: Source of the noise; not used by a deterministic sampler.

        Returns:
            State at times[-1], shape of x, float32 at least.

        Raises:
            Diverged: If the denoiser gives a number that is not finite; it names the step and the entry.
            InputError: If the times do not decrease.
        """

    def grid(self, denoiser: Denoiser, steps: int) -> Tensor:
        """The times that suit this sampler, (steps + 1,) from 1 to 0, float64: equal steps of lam unless a class knows better."""
        return timesteps(denoiser.schedule, steps)

    def evaluations_per_step(self) -> int:
        """Evaluations of one step, the last one (to time 0, which takes one) left out."""
        return 1

    def evaluations_besides(self) -> int:
        """Evaluations that do not grow with the number of steps."""
        return 0

    def least_steps(self) -> int:
        """The fewest steps with which the method is itself."""
        return 1

    @final
    def evaluations(self, steps: int) -> int:
        """Evaluations of so many steps to time 0."""
        return self.evaluations_per_step() * (steps - 1) + 1 + self.evaluations_besides()

    @final
    def steps_for(self, evaluations: int) -> int:
        """The most steps to time 0 that cost at most so many evaluations of the denoiser.

        Raises:
            InputError: If there are too few for the method.
        """
        least = self.evaluations(self.least_steps())
        if evaluations < least:
            raise InputError(
                f"{type(self).__name__}: expected at least {least} evaluations, got {evaluations}; give more, or take a sampler of lower order"
            )
        return (evaluations - self.evaluations_besides() - 1) // self.evaluations_per_step() + 1


class KernelSampler(Sampler):
    """A sampler whose step is one Gaussian transition of known density, as particle methods need it."""

    @abstractmethod
    def kernel(self, schedule: Schedule, x_t: Tensor, mean: Tensor, t: Tensor | float, s: Tensor | float) -> Gaussian:
        """The transition q(x_s given x_t), s < t.

        Args:
            schedule: The schedule.
            x_t: State at t, (B, ...).
            mean: Posterior mean D(x_t, t), shape of x_t.
            t: Time () or (B,).
            s: Cleaner time () or (B,); at 0 the transition is to `mean`, without spread.

        Returns:
            Gaussian with mean (B, ...) and std (1 or B, 1, ..., 1).
        """

    @final
    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`."""
        x, steps = start_state(x, times)
        for i, (t, s) in enumerate(steps):
            mean = denoised(denoiser, x, t, cond=cond, step=i, steps=len(steps))
            transition = self.kernel(denoiser.schedule, x, mean, t, s)
            x = transition.mean
            if bool((transition.std > 0).any()):
                x = x + transition.std * step_noise(rng, i, x)
        return x


def check_kernel(sampler: Sampler, what: str) -> KernelSampler:
    """Return the sampler if its transition has a density, as particle methods need it.

    Raises:
        InputError: If it has none.
    """
    if not isinstance(sampler, KernelSampler):
        raise InputError(f"{what}: expected a sampler with a kernel, got {type(sampler).__name__}; take DDPM(), DDIM(eta) or ERSDE()")
    return sampler


def start_state(x: Tensor, times: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The state in float32 at least, and the pairs (t, s) of all steps, float64 on the CPU.

    Raises:
        InputError: If the times are not strictly decreasing within [0, 1].
    """
    grid = times.detach().to(device="cpu", dtype=torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()) or not 0 <= float(grid[-1]) < float(grid[0]) <= 1:
        raise InputError(f"times: expected two or more, strictly decreasing, in [0, 1], got {grid.tolist()}; use timesteps")
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    return wide, list(zip(grid[:-1], grid[1:], strict=True))


def denoised(denoiser: Denoiser, x: Tensor, t: Tensor, *, cond: Tensor | None, step: int, steps: int) -> Tensor:
    """The posterior mean at step `step` (from 0) of `steps`, in the dtype of the state.

    Raises:
        Diverged: If it is not finite.
    """
    mean = denoiser(x, t.to(x.device), cond).to(x.dtype)
    # a sum is finite only if its parts are, and ten times cheaper to look at; one of finite parts may overflow, so look again
    if not math.isfinite(float(mean.detach().sum())) and not bool(mean.isfinite().all()):
        entry = tuple((~mean.isfinite()).nonzero()[0].tolist())
        raise Diverged(
            "posterior mean",
            float(t),
            f"step {step + 1} of {steps} (1 = noise), first at entry {entry} of (sample, channel, time, *space); train longer, lower the learning "
            "rate or use float32",
        )
    return mean


def step_noise(rng: Rng, step: int, x: Tensor) -> Tensor:
    """Standard normal numbers for the step, shape of x; row i depends on (rng, step, i) alone."""
    return rng.child("step", step).normal_each(range(x.shape[0]), x.shape[1:], like=x)
