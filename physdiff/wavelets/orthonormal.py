"""Low-pass filters of the orthonormal families, computed from the equations that define them.

With s = sin^2(w/2), c = cos^2(w/2) and P_p(y) = sum_{k<p} C(p-1+k, k) y^k, the identity c^p P_p(s) + s^p P_p(c) = 1 holds.

- Daubechies (order p): |H|^2 = 2 c^p P_p(s), the minimum-phase factor. It is found from the causal half of the Fourier series of log P
  (Kolmogorov's spectral factorisation): P is a sum of positive terms, its logarithm is smooth on the unit circle, and the factor comes out to
  rounding at any order, where the roots of P lose six digits by order 30.
- Symlets: the same |H|^2; of each set of roots the one inside or those outside the circle are taken, so that the phase is nearest to that of
  a filter symmetric about a sample or about the middle of two. Newton steps on orthonormality and moments then bring the taps to rounding.
- Coiflets (order K): H / sqrt(2) = c^K P_K(s) + (c s)^K f(w), f a sum of 2K harmonics; orthonormality, divided by (c s)^K, is a system for f that
  keeps its digits at any order. 2K moments of wavelet and scaling function vanish by construction.

References: I. Daubechies, Orthonormal bases of compactly supported wavelets, Comm. Pure Appl. Math. 41 (1988), 909-996; the same, Orthonormal
bases of compactly supported wavelets II, SIAM J. Math. Anal. 24 (1993), 499-519; A. V. Oppenheim and R. W. Schafer, Discrete-Time Signal
Processing (1989), chapter 12 (cepstrum).
"""

from __future__ import annotations

from functools import cache
from itertools import product
from math import comb

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.polynomial.polynomial import polyder, polyroots, polyval
from numpy.typing import NDArray

__all__ = ["coiflet", "daubechies", "product_roots", "product_series", "symlet"]

Array = NDArray[np.float64]
_POINTS = 4096  # of the unit circle; the roots of P for order 38 are well resolved from 1024 on

# The mirror image of a symlet is one too. We take the one with the heavier second half, except where the published tables have the other.
_SYMLET_MIRRORED = frozenset((4, 5, 6, 8, 9, 10, 13, 18))

# Where the search for f starts: from zero it ends in another solution or in none for these orders (ours, one part in a hundred suffices).
_COIFLET_START = {
    4: (41.35, 4.49, -9.62, -3.45, 1.68, 0.79, -0.15, -0.08),
    5: (157.25, 14.13, -42.62, -14.75, 9.75, 4.4, -1.54, -0.82, 0.12, 0.07),
}


def product_series(order: int) -> list[float]:
    """Coefficients C(p-1+k, k) of P_p."""
    return [float(comb(order - 1 + k, k)) for k in range(order)]


def product_roots(order: int) -> list[tuple[complex, ...]]:
    """Roots y of P_p, real ones alone and complex ones in pairs, sorted by modulus (polished to some 1e-15)."""
    series = product_series(order)
    roots = polyroots(series).astype(np.clongdouble)
    wide = np.array(series, np.longdouble)
    for _ in range(8):
        roots = roots - polyval(roots, wide) / polyval(roots, polyder(wide))
    found: list[tuple[complex, ...]] = []
    for root in sorted((complex(r) for r in roots), key=abs):
        if abs(root.imag) < 1e-9 * abs(root):
            found.append((complex(root.real),))
        elif root.imag > 0:
            found.append((root, root.conjugate()))
    return found


@cache
def daubechies(order: int) -> tuple[float, ...]:
    """Analysis low-pass of ``db<order>``: 2 p taps."""
    if order == 1:
        return (0.5**0.5, 0.5**0.5)
    omega = 2 * np.pi * np.arange(_POINTS) / _POINTS
    power = polyval(np.sin(omega / 2) ** 2, product_series(order))
    cepstrum = np.fft.ifft(np.log(power)).real
    cepstrum[[0, _POINTS // 2]] /= 2
    cepstrum[_POINTS // 2 + 1 :] = 0
    factor = np.exp(np.fft.fft(cepstrum))
    response = np.sqrt(2) * ((1 + np.exp(-1j * omega)) / 2) ** order * factor
    synthesis = np.fft.ifft(response).real[: 2 * order]
    return tuple(float(tap) for tap in synthesis[::-1])


@cache
def symlet(order: int) -> tuple[float, ...]:
    """Analysis low-pass of ``sym<order>``: 2 p taps, the least asymmetric."""
    sets = [tuple(_inside(y) for y in roots) for roots in product_roots(order)]
    omega = np.linspace(0, np.pi, 257)[1:-1]
    phases = [[_phase(z, omega) for z in (roots, tuple(1 / r for r in roots))] for roots in sets]
    flips = min(
        ((0, *rest) for rest in product((0, 1), repeat=len(sets) - 1)),
        key=lambda choice: _asymmetry(np.sum([pair[flip] for pair, flip in zip(phases, choice, strict=True)], axis=0), omega),
    )
    taps = np.array([1.0 + 0j])
    for roots, flip in zip(sets, flips, strict=True):
        for root in roots:
            taps = np.convolve(taps, [1, -1 / root if flip else -root])
    for _ in range(order):
        taps = np.convolve(taps, [0.5, 0.5])
    real = taps.real * (np.sqrt(2) / taps.real.sum())
    heavier = np.abs(real[: order // 2]).sum() < np.abs(real[-(order // 2) :]).sum()
    real = real if heavier != (order in _SYMLET_MIRRORED) else real[::-1]
    return tuple(float(tap) for tap in _orthonormalised(real, order))


@cache
def coiflet(order: int) -> tuple[float, ...]:
    """Analysis low-pass of ``coif<order>``: 6 K taps, 2 K vanishing moments."""
    n, centre = 6 * order, 2 * order
    omega = np.pi * (np.arange(8 * order) + 0.5) / (16 * order)
    harmonics = np.array(_COIFLET_START.get(order, np.zeros(2 * order)), dtype=float)
    value, slope = _coiflet_residual(harmonics, order, omega)
    damping = 1e-3
    for _ in range(400):
        scale = np.sqrt(damping * np.square(slope).sum(0))
        step = np.linalg.lstsq(np.vstack([slope, np.diag(scale)]), np.concatenate([value, 0 * harmonics]), rcond=None)[0]
        trial = _coiflet_residual(harmonics - step, order, omega)
        if trial[0] @ trial[0] < value @ value:
            harmonics, (value, slope), damping = harmonics - step, trial, damping / 8
        else:
            damping = 4 * damping + 1e-30
        if damping > 1e8:  # no step lowers the residual further: rounding
            break
    omega = 2 * np.pi * np.arange(_POINTS) / _POINTS
    s, c = np.sin(omega / 2) ** 2, np.cos(omega / 2) ** 2
    response = c**order * polyval(s, product_series(order))
    response = response + (c * s) ** order * (np.exp(-1j * np.outer(omega, np.arange(2 * order))) @ harmonics)
    synthesis = np.fft.ifft(response * np.exp(-1j * omega * centre)).real[:n] * np.sqrt(2)
    return tuple(float(tap) for tap in synthesis[::-1])


def _coiflet_residual(harmonics: Array, order: int, omega: Array) -> tuple[Array, Array]:
    """Orthonormality of the coiflet at `omega`, divided by (c s)^K, and its slope in the harmonics of f."""
    s, c = np.sin(omega / 2) ** 2, np.cos(omega / 2) ** 2
    here, there = polyval(s, product_series(order)), polyval(c, product_series(order))
    waves = np.exp(-1j * np.outer(omega, np.arange(2 * order)))
    shifted = waves * (-1.0) ** np.arange(2 * order)
    f, g = waves @ harmonics, shifted @ harmonics
    both = (c * s) ** order
    low, high = 2 * c**order * here, 2 * s**order * there
    value = both * (abs(f) ** 2 + abs(g) ** 2) + low * f.real + high * g.real - 2 * here * there
    slope = 2 * both[:, None] * ((f.conj()[:, None] * waves).real + (g.conj()[:, None] * shifted).real)
    slope = slope + low[:, None] * waves.real + high[:, None] * shifted.real
    scale = abs(here * there).max()
    return value / scale, slope / scale


def _inside(y: complex) -> complex:
    """The root z within the unit circle of y = (2 - z - 1/z) / 4."""
    b = 1 - 2 * y
    z = b + np.sqrt(complex(b * b - 1))
    return complex(z if abs(z) < 1 else 1 / z)


def _phase(roots: tuple[complex, ...], omega: Array) -> Array:
    """Phase of prod (1 - z e^{-iw}), delayed by half its degree."""
    response = np.prod([1 - z * np.exp(-1j * omega) for z in roots], axis=0)
    return np.asarray(np.unwrap(np.angle(response * np.exp(0.5j * omega * len(roots)))))


def _asymmetry(phase: Array, omega: Array) -> float:
    """Square deviation of a phase from the nearest line of a filter symmetric about a sample or between two."""
    phase = phase - np.round(phase[0] / np.pi) * np.pi
    slope = np.round(phase[-1] / np.pi * 2) / 2 * np.pi / omega[-1]
    return float(np.square(phase - slope * omega).sum())


def _orthonormalised(h: Array, order: int) -> Array:
    """Newton steps on double-shift orthonormality and vanishing moments (in Legendre polynomials, which keep their digits)."""
    n = len(h)
    moments = ((-1.0) ** np.arange(n))[:, None] * legvander(np.linspace(-1, 1, n), order - 1)
    for _ in range(4):
        values, slopes = list(moments.T @ h), list(moments.T)
        for shift in range(0, n, 2):
            slope = np.zeros(n)
            slope[: n - shift] += h[shift:]
            slope[shift:] += h[: n - shift]
            values.append(h[: n - shift] @ h[shift:] - (shift == 0))
            slopes.append(slope)
        h = h - np.linalg.lstsq(np.array(slopes), np.array(values), rcond=None)[0]
    return h
