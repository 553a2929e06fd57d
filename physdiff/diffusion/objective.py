r"""What a denoiser is trained on: noise levels from a law, and the weighted error of the posterior mean.

    L = E_t [ w(t) |D(alpha x_0 + sigma eps, t) - x_0|^2 ],    mean over the entries of a sample

Noise levels are laws of u = sigma/alpha (or lam = -log u), so that they mean the same for every schedule.
Each sample draws from its own stream: a level depends on the key and the index of the sample alone.
References: Karras et al., 2022, table 1 (log-normal); Kingma and Gao, Understanding diffusion objectives as
the ELBO with simple data augmentation, 2023 (weights).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.schedule import Schedule, per_sample

__all__ = ["LogNormalNoise", "NoiseLaw", "UniformNoise", "denoising_loss"]

# At t = 0 the weight of most denoisers is infinite; below this time nothing is left to learn.
_FIRST_TIME = 1e-5


class NoiseLaw(Saved, ABC):
    """The law of the noise level in training. A final class maps standard normal numbers to lam."""

    @abstractmethod
    def lam_of(self, z: Tensor) -> Tensor:
        """Half log signal-to-noise ratio from standard normal numbers, shape of z."""

    def times(self, schedule: Schedule, indices: Iterable[int], rng: Rng) -> Tensor:
        """Diffusion times, one per sample index, float64 (B,) on the CPU; within the range of the schedule."""
        z = rng.normal_each(indices, (), like=torch.empty((), dtype=torch.float64))
        return schedule.time_of(self.lam_of(z)).clamp_min(_FIRST_TIME)


class LogNormalNoise(NoiseLaw):
    """Log u ~ N(mean, std^2); the -1.2 of Karras et al. (2022) for data of std 0.5 is -0.5 here.

    Args:
        mean: Mean of log u.
        std: Standard deviation of log u.
    """

    def __init__(self, mean: float = -0.5, std: float = 1.2) -> None:
        self.mean, self.std = mean, check_positive(std, "LogNormalNoise.std")

    def lam_of(self, z: Tensor) -> Tensor:
        """Lam = -(mean + std z)."""
        return -(self.mean + self.std * z)


class UniformNoise(NoiseLaw):
    """Lam uniform between two values.

    Args:
        low: Smallest lam (most noise).
        high: Largest lam (least noise).
    """

    def __init__(self, low: float = -4.5, high: float = 6.0) -> None:
        if not low < high:
            raise InputError(f"UniformNoise: expected low < high, got {low} and {high}; swap them")
        self.low, self.high = low, high

    def lam_of(self, z: Tensor) -> Tensor:
        """Lam by the normal distribution function of z."""
        return self.low + (self.high - self.low) * 0.5 * torch.erfc(-z / math.sqrt(2))


def denoising_loss(
    denoiser: Denoiser,
    x: Tensor,
    t: Tensor,
    *,
    noise: Tensor,
    cond: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Weighted squared error of the denoiser at given noise, one number per sample.

    Args:
        denoiser: The denoiser.
        x: Clean encoded samples (B, C, T, *S).
        t: Diffusion times (B,) or ().
        noise: Standard normal numbers, shape of x.
        cond: Encoded condition (B or 1, C'', T, *S).
        weights: Weight of each entry, zero or more, which broadcasts against x (share of known cells); None:
            all equal. The error is the weighted mean, so that a sample with few known cells counts as much as
            a complete one; a sample without any counts zero.

    Returns:
        w(t) times the mean squared error, (B,).

    Raises:
        ShapeError: If x and noise differ in shape.
    """
    if noise.shape != x.shape:
        raise ShapeError(f"denoising_loss: expected noise of shape {tuple(x.shape)}, got {tuple(noise.shape)}")
    alpha, sigma = denoiser.schedule(t)
    x_t = per_sample(alpha, x) * x + per_sample(sigma, x) * noise
    squared = (denoiser(x_t, t, cond) - x).square()
    if weights is None:
        error = squared.flatten(1).mean(1)
    else:
        share = weights.to(x.dtype).expand_as(x).flatten(1)
        # a weight of zero hides whatever stands in the data there
        seen = torch.where(share > 0, share * squared.flatten(1), torch.zeros_like(share))
        error = seen.sum(1) / share.sum(1).clamp_min(torch.finfo(x.dtype).tiny)
    return denoiser.weight(t).to(device=x.device, dtype=x.dtype) * error
