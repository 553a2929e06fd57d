"""A sampler that keeps to given times: how a tuned time grid is put into a prior and saved with it."""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.sampler import Sampler, start_state

__all__ = ["FixedGrid"]


class FixedGrid(Sampler):
    """Another sampler with times of its own.

    For as many steps as the times have, `grid` returns them; for other numbers it returns the sampler's own grid.

    Args:
        sampler: The sampler.
        times: Strictly decreasing times (N + 1,) from 1 to 0.

    Raises:
        InputError: If the times do not fall from 1 to 0, are fewer than the method needs, or the sampler has fixed times already.
    """

    def __init__(self, sampler: Sampler, times: Tensor) -> None:
        if isinstance(sampler, FixedGrid):
            raise InputError("FixedGrid: expected a sampler without fixed times, got a FixedGrid; give its .sampler")
        own = torch.as_tensor(times).detach().to(device="cpu", dtype=torch.float64)
        start_state(own, own)
        if float(own[0]) != 1 or float(own[-1]) != 0:
            raise InputError(f"FixedGrid: expected times from 1 to 0, got {float(own[0]):g} to {float(own[-1]):g}; draws begin at 1 and end clean")
        least, steps = sampler.least_steps(), len(own) - 1
        if steps < least:
            raise InputError(f"FixedGrid: expected at least {least} steps for {type(sampler).__name__}, got {steps}; give more times")
        self.sampler, self.times = sampler, own

    def grid(self, denoiser: Denoiser, steps: int) -> Tensor:
        """The fixed times if they are so many steps, else the sampler's own grid, see `Sampler.grid`."""
        return self.times.clone() if steps == len(self.times) - 1 else self.sampler.grid(denoiser, steps)

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`."""
        return self.sampler.run(denoiser, x, times, cond=cond, rng=rng)

    def evaluations_per_step(self) -> int:
        """Those of the sampler."""
        return self.sampler.evaluations_per_step()

    def evaluations_besides(self) -> int:
        """Those of the sampler."""
        return self.sampler.evaluations_besides()

    def least_steps(self) -> int:
        """Those of the sampler."""
        return self.sampler.least_steps()
