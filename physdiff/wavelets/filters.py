"""Orthonormal wavelet filters of the Daubechies family.

The order-p low-pass filter is H(w) = sqrt(2) ((1 + e^{-iw}) / 2)^p Q(e^{-iw}), where |Q|^2 = P(sin^2(w/2))
and P(y) = sum_{k<p} C(p-1+k, k) y^k. Q is the minimum-phase factor, found from the causal half of the Fourier
series of log P (Kolmogorov's spectral factorisation). P is a sum of positive terms and its logarithm is
smooth on the unit circle, so the factor comes out to rounding at any order; going through the roots of P
loses six digits by order 30.

References: I. Daubechies, Orthonormal bases of compactly supported wavelets, Comm. Pure Appl. Math. 41
(1988), 909-996; A. V. Oppenheim and R. W. Schafer, Discrete-Time Signal Processing (1989), chapter 12
(cepstrum).
"""

from __future__ import annotations

from functools import cache
from math import comb

import numpy as np
from numpy.polynomial.polynomial import polyval

from physdiff.base.checks import check_one_of

__all__ = ["filter_length", "highpass", "lowpass", "wavelet_names"]

_HIGHEST_ORDER = 38
_POINTS = 4096  # of the unit circle; the roots of P for order 38 are well resolved from 1024 on


def wavelet_names() -> tuple[str, ...]:
    """Names of the wavelets known here: ``haar`` (the same as ``db1``) and ``db1`` to ``db38``."""
    return ("haar", *(f"db{order}" for order in range(1, _HIGHEST_ORDER + 1)))


def filter_length(wavelet: str) -> int:
    """Number of taps of a wavelet's filters: 2 for haar, 2 p for ``db<p>``.

    Raises:
        InputError: If the wavelet is unknown; the message names the nearest ones.
    """
    return 2 * _order(wavelet)


def lowpass(wavelet: str) -> tuple[float, ...]:
    """Analysis low-pass taps h (Daubechies, 1988): sum sqrt(2), sum_j h[j] h[j + 2m] = 1 for m = 0, else 0.

    Order and sign are those of PyWavelets' ``dec_lo``.

    Args:
        wavelet: One of `wavelet_names`.

    Raises:
        InputError: If the wavelet is unknown; the message names the nearest ones.
    """
    return _daubechies(_order(wavelet))


def highpass(wavelet: str) -> tuple[float, ...]:
    """Analysis high-pass taps g[j] = (-1)^{j+1} h[F - 1 - j]; order and sign of PyWavelets' ``dec_hi``.

    Args:
        wavelet: One of `wavelet_names`.

    Raises:
        InputError: If the wavelet is unknown; the message names the nearest ones.
    """
    return tuple(tap if j % 2 else -tap for j, tap in enumerate(reversed(lowpass(wavelet))))


def _order(wavelet: str) -> int:
    name = check_one_of(wavelet, wavelet_names(), "wavelet")
    return 1 if name == "haar" else int(name.removeprefix("db"))


@cache
def _daubechies(order: int) -> tuple[float, ...]:
    if order == 1:
        return (0.5**0.5, 0.5**0.5)
    omega = 2 * np.pi * np.arange(_POINTS) / _POINTS
    power = polyval(np.sin(omega / 2) ** 2, [float(comb(order - 1 + k, k)) for k in range(order)])
    cepstrum = np.fft.ifft(np.log(power)).real
    cepstrum[[0, _POINTS // 2]] /= 2
    cepstrum[_POINTS // 2 + 1 :] = 0
    factor = np.exp(np.fft.fft(cepstrum))
    response = np.sqrt(2) * ((1 + np.exp(-1j * omega)) / 2) ** order * factor
    synthesis = np.fft.ifft(response).real[: 2 * order]
    return tuple(float(tap) for tap in synthesis[::-1])
