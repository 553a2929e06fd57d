r"""Cosine and sine transforms of values at cell centres between two walls, and the second difference they make diagonal.

$$\mathrm{DCT}_k = 2\sum_n f_n \cos\frac{\pi k (2n+1)}{2N}, \qquad \mathrm{DST}_k = 2\sum_n f_n \sin\frac{\pi (k+1)(2n+1)}{2N},$$

each by one real FFT of the field mirrored (turned round) at the wall. Mirrored fields have no slope at the walls, turned ones no value, and
their second difference is $-(2-2\cos(\pi k/N))/h^2$ (sine: k + 1) on each wave. Reference: Strang, The discrete cosine transform (1999).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["cosine_transform", "inverse_cosine_transform", "inverse_sine_transform", "second_difference_symbol", "sine_transform"]


def cosine_transform(f: Tensor, axis: int) -> Tensor:
    """DCT-II of a real field along an axis, not normalised."""
    n = f.shape[axis]
    waves = torch.fft.rfft(torch.cat([f, f.flip(axis)], axis), dim=axis).narrow(axis, 0, n)
    out: Tensor = (waves * _turn(n, 0, waves, axis).conj()).real
    return out


def inverse_cosine_transform(a: Tensor, axis: int) -> Tensor:
    """The field of a DCT-II."""
    n = a.shape[axis]
    waves = a * _turn(n, 0, a.to(torch.promote_types(a.dtype, torch.complex64)), axis)
    twice: Tensor = torch.fft.irfft(torch.cat([waves, torch.zeros_like(waves.narrow(axis, 0, 1))], axis), n=2 * n, dim=axis)
    return twice.narrow(axis, 0, n)


def sine_transform(f: Tensor, axis: int) -> Tensor:
    """DST-II of a real field along an axis, not normalised."""
    n = f.shape[axis]
    waves = torch.fft.rfft(torch.cat([f, -f.flip(axis)], axis), dim=axis).narrow(axis, 1, n)
    out: Tensor = (1j * waves * _turn(n, 1, waves, axis).conj()).real
    return out


def inverse_sine_transform(a: Tensor, axis: int) -> Tensor:
    """The field of a DST-II."""
    n = a.shape[axis]
    waves = -1j * a * _turn(n, 1, a.to(torch.promote_types(a.dtype, torch.complex64)), axis)
    twice: Tensor = torch.fft.irfft(torch.cat([torch.zeros_like(waves.narrow(axis, 0, 1)), waves], axis), n=2 * n, dim=axis)
    return twice.narrow(axis, 0, n)


def second_difference_symbol(n: int, spacing: float, kind: str) -> Tensor:
    """What the second difference multiplies each wave with, (n,) float64; kind "cosine", "sine" or "periodic" (n // 2 + 1 waves)."""
    if kind == "periodic":
        angle = 2 * math.pi * torch.arange(n // 2 + 1, dtype=torch.float64, device="cpu") / n
    else:
        angle = math.pi * (torch.arange(n, dtype=torch.float64, device="cpu") + (kind == "sine")) / n
    return -(2 - 2 * torch.cos(angle)) / spacing**2


def _turn(n: int, first: int, like: Tensor, axis: int) -> Tensor:
    """exp(i pi k / 2n) for k = first, ..., along the axis."""
    k = torch.arange(first, n + first, dtype=torch.float64, device="cpu") * (math.pi / (2 * n))
    return torch.polar(torch.ones_like(k), k).to(like).reshape([-1 if a == axis % like.ndim else 1 for a in range(like.ndim)])
