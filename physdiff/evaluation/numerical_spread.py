r"""What a sampler's steps alone do to the spread of an ensemble, wavenumber by wavenumber, on the data's own spectrum.

The encoded windows are taken for Gaussian and homogeneous along the axes of space: per wavenumber the covariance of the coefficients over
channels and frames is diagonalised (for a periodic wavelet on a periodic axis that is exact), every mode's gain is known from its variance
(`sampler_gain`), and the windows' departures are multiplied by their gains and decoded. The ratio of the variances by wavenumber, decoded
with and without gains, is the sampler's own doing: no network, no Monte Carlo. Reference: methods/diffusion 2.4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.schedule import Schedule
from physdiff.evaluation.sampler_gain import sampler_gain

__all__ = ["apply_gains", "gain_curve", "largest_variance"]

_POINTS = 96
_SMALLEST = 1e-9  # of the largest variance: what is smaller shows in no spectrum


def gain_curve(sampler: Sampler, schedule: Schedule, times: Tensor, *, largest: float, start: str) -> Callable[[Tensor], Tensor]:
    """The gain of a mode as a function of its variance, up to `largest`; between 96 exact points linear in the logarithm."""
    nodes = torch.logspace(0, 1, _POINTS, base=_SMALLEST, dtype=torch.float64).flip(0) * largest
    gains = sampler_gain(sampler, schedule, times, variances=nodes, start=start)
    step = (nodes[-1] / nodes[0]).log() / (_POINTS - 1)

    def gain(variance: Tensor) -> Tensor:
        place = ((variance.clamp_min(float(nodes[0])) / nodes[0]).log() / step).clamp(0, _POINTS - 1.001)
        below = place.floor().long()
        share = place - below
        return (1 - share) * gains[below] + share * gains[below + 1]

    return gain


def apply_gains(z: Tensor, gains: list[Callable[[Tensor], Tensor]]) -> list[Tensor]:
    """Departures of coefficients from their mean with every mode multiplied by its gain.

    Args:
        z: Departures (n, C, T, *S).
        gains: Functions of the variances; variance one is that of white noise of variance one.

    Returns:
        For each function the departures after it, shape of z.
    """
    axes = tuple(range(3, z.ndim))
    waves = torch.fft.rfftn(z.double(), dim=axes, norm="ortho")
    shape = waves.shape
    rows = waves.reshape(shape[0], shape[1] * shape[2], -1).permute(2, 0, 1)  # (K, n, modes)
    variance, modes = torch.linalg.eigh(rows.mH @ rows / shape[0])
    along = rows @ modes
    out = []
    for gain in gains:
        changed = (along * gain(variance.clamp_min(0))[:, None]) @ modes.mH
        back = changed.permute(1, 2, 0).reshape(shape)
        out.append(torch.fft.irfftn(back, s=z.shape[3:], dim=axes, norm="ortho").to(z.dtype))
    return out


def largest_variance(z: Tensor) -> float:
    """Largest variance of a mode of the departures z (n, C, T, *S)."""
    axes = tuple(range(3, z.ndim))
    rows = torch.fft.rfftn(z.double(), dim=axes, norm="ortho").reshape(z.shape[0], z.shape[1] * z.shape[2], -1).permute(2, 0, 1)
    return float(torch.linalg.eigvalsh(rows.mH @ rows / z.shape[0]).max())
