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

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.schedule import Schedule, per_sample

__all__ = ["LogNormalNoise", "ModeNoise", "NoiseLaw", "TimeNoise", "UniformNoise", "denoising_loss", "level_weight"]

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

    On the linear path this is the logit-normal law of the time (Esser et al., 2024), since log u = logit t there: mean 0 and std 1 are its m and s.

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
        return self.low + (self.high - self.low) * _uniform(z)


class TimeNoise(NoiseLaw):
    """The time of the schedule uniform in [0, 1] (DDPM, flow matching): a law of u that differs from schedule to schedule."""

    def lam_of(self, z: Tensor) -> Tensor:
        """Not a law of lam alone: `times` is overridden."""
        raise InputError("TimeNoise: expected times(schedule, ...), got lam_of; a law of the time has a lam for each schedule only")

    def times(self, schedule: Schedule, indices: Iterable[int], rng: Rng) -> Tensor:
        """Times in (0, 1), float64 (B,)."""
        return _uniform(rng.normal_each(indices, (), like=torch.empty((), dtype=torch.float64))).clamp_min(_FIRST_TIME)


class ModeNoise(NoiseLaw):
    r"""The law with heavy middle on the linear path, $t = 1 - r - s(\cos^2(\pi r/2) - 1 + r)$ with r uniform (Esser et al., 2024).

    Args:
        spread: The constant s in [-1, 2/(pi - 2)]; 0 is uniform in t of the linear path, above 0 favours the middle.
    """

    def __init__(self, spread: float = 1.29) -> None:
        if not -1 <= spread <= 2 / (math.pi - 2):
            raise InputError(f"ModeNoise: expected spread in [-1, {2 / (math.pi - 2):.3f}], got {spread}; beyond, t is not monotone in r")
        self.spread = spread

    def lam_of(self, z: Tensor) -> Tensor:
        """Lam = log((1 - t)/t)."""
        r = _uniform(z)
        t = (1 - r - self.spread * (torch.cos(0.5 * math.pi * r) ** 2 - 1 + r)).clamp(_FIRST_TIME, 1 - _FIRST_TIME)
        return torch.log1p(-t) - torch.log(t)


def level_weight(scheme: str, lam: Tensor, gamma: float = 5.0) -> Tensor:
    r"""Weight of the squared error of the posterior mean at half log-SNR `lam`, for data of variance one; S = e^{2 lam} is the SNR.

    Args:
        scheme: ``"noise"`` (S: the simple loss of DDPM, and the ELBO with lam uniform), ``"v"`` (S + 1), ``"velocity"`` ((1 + e^{lam})^2: the
            linear path's flow matching, 1/t^2), ``"edm"`` (S + 1, times a law of u of its own), ``"min_snr"`` (min(S, gamma)), ``"p2"``
            (S/(1 + S)^gamma).
        lam: Half log-SNR, any shape.
        gamma: Constant of the last two.

    Returns:
        Weights, shape of `lam`, float64.

    Raises:
        InputError: If the scheme is unknown.

    References: Ho et al., 2020; Kingma et al., Variational diffusion models, 2021; Hang et al., Efficient diffusion training via min-SNR weighting,
    2023; Choi et al., Perception prioritized training of diffusion models, 2022.
    """
    check_one_of(scheme, ("noise", "v", "velocity", "edm", "min_snr", "p2"), "level_weight.scheme")
    snr = torch.exp(2 * lam.double())
    if scheme in ("v", "edm"):
        return snr + 1
    if scheme == "velocity":
        return (1 + torch.exp(lam.double())) ** 2
    if scheme == "min_snr":
        return snr.clamp_max(check_positive(gamma, "level_weight.gamma"))
    return snr / (1 + snr) ** gamma if scheme == "p2" else snr


def _uniform(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z / math.sqrt(2))


def denoising_loss(
    denoiser: Denoiser,
    x: Tensor,
    t: Tensor,
    *,
    noise: Tensor,
    cond: Tensor | None = None,
    weights: Tensor | None = None,
    level: Tensor | None = None,
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
        level: Weight of each sample's noise level (B,) or (), see `level_weight`; None: the denoiser's own.

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
    return (denoiser.weight(t) if level is None else level).to(device=x.device, dtype=x.dtype) * error
