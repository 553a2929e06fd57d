r"""Periodic noise whose amplitude falls with a power of the wave number, as published flows begin with it.

$$\hat f(\kappa) \propto \frac{1}{(s|\kappa|)^{2m}}\,\hat\xi(\kappa) \text{ where } (s|\kappa|)^2 > 0.1, \text{ else } 0,$$

with $\kappa$ in waves per length, the scale s, the smoothness m and white noise $\xi$; mean zero and standard deviation one in each sample. It is
what the flow library PhiFlow calls noise: the lowest waves that the bound lets through dominate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid

__all__ = ["smooth_noise"]

_LOWEST = 0.1


def smooth_noise(grid: CartesianGrid, indices: range, rng: Rng, *, scale: float, smoothness: float, like: Tensor) -> Tensor:
    """Samples (count, *S) of the noise with the given indices.

    Args:
        grid: Its shape and extent are used; the field closes whether the axes do or not.
        indices: Of the samples: each depends on the source and its own index alone.
        rng: Source of randomness.
        scale: s, a length.
        smoothness: m.
        like: Gives dtype and device.

    Raises:
        InputError: If no wave of the grid is short enough to be let through.
    """
    lines = [torch.fft.fftfreq(n, h, dtype=torch.float64) for n, h in zip(grid.shape, grid.spacing, strict=True)]
    square = torch.zeros((), dtype=torch.float64)
    for k, line in enumerate(lines):
        square = square + (scale * line).square().reshape([-1 if a == k else 1 for a in range(grid.ndim)])
    if not bool((square > _LOWEST).any()):
        raise InputError(f"smooth_noise: expected a scale that lets some wave of the grid through, got {scale!r}; take a larger one or more points")
    weight = torch.where(square > _LOWEST, torch.where(square > 0, square, 1.0) ** -smoothness, 0.0)
    axes = tuple(range(1, grid.ndim + 1))
    waves = torch.fft.fftn(rng.normal_each(indices, grid.shape, like=like), dim=axes)
    field: Tensor = torch.fft.ifftn(waves * (weight / weight.max()).to(like), dim=axes).real
    return field / field.square().mean(axes, keepdim=True).sqrt()
