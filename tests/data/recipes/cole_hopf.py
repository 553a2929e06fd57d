"""Burgers' equation on a periodic line, exactly: Cole and Hopf's substitution (1950, 1951) by Fourier sums on a fine line."""

from __future__ import annotations

import numpy as np

__all__ = ["cole_hopf"]


def cole_hopf(u0: np.ndarray, viscosity: float, t: float, extent: float = 1.0) -> np.ndarray:
    """The solution at time t from values u0 (N,), whose waves the line must resolve; the mean carries everything along."""
    n = u0.size
    k = 2 * np.pi * np.fft.fftfreq(n, extent / n)
    mean = u0.mean()
    inverse = np.divide(1, 1j * k, where=k != 0, out=np.zeros(n, dtype=complex))
    potential = np.fft.ifft(np.fft.fft(u0 - mean) * inverse).real
    theta = np.exp(-(potential - potential.min()) / (2 * viscosity))
    hat = np.fft.fft(theta) * np.exp(-viscosity * k**2 * t)
    u = -2 * viscosity * np.fft.ifft(1j * k * hat).real / np.fft.ifft(hat).real
    return np.fft.ifft(np.fft.fft(u) * np.exp(-1j * k * mean * t)).real + mean
