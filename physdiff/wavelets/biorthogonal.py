"""Filters of the biorthogonal spline family of Cohen, Daubechies and Feauveau, ``bior<Nr>.<Nd>``.

Both low-pass filters are symmetric. With s = sin^2(w/2), c = cos^2(w/2), half the numbers of zeros at pi p and P_p(y) = sum_{k<p} C(p-1+k, k) y^k,

    H(w) R(w) = 2 c^p P_p(s),

which is the condition of exact inversion. A spline filter R holds zeros at pi only, and H all roots of P_p; in bior4.4 (the 9/7
filters of JPEG 2000), bior5.5 and bior6.8 the roots are shared out, so that both are of about the same length. Both filters sum to sqrt(2).

Reference: A. Cohen, I. Daubechies and J.-C. Feauveau, Biorthogonal bases of compactly supported wavelets, Comm. Pure Appl. Math. 45 (1992), 485-560.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from physdiff.wavelets.orthonormal import product_roots, product_series

__all__ = ["BIORTHOGONAL", "biorthogonal"]

# Zeros at pi of the synthesis and the analysis filter, and which sets of roots (by modulus) go to the synthesis filter.
BIORTHOGONAL: dict[str, tuple[int, int, tuple[int, ...]]] = {
    **{f"{r}.{d}": (r, d, ()) for r, d in ((1, 1), (1, 3), (1, 5), (2, 2), (2, 4), (2, 6), (2, 8), (3, 1), (3, 3), (3, 5), (3, 7), (3, 9))},
    "4.4": (4, 4, (0,)),
    "5.5": (6, 4, (0,)),
    "6.8": (6, 8, (1,)),
}


@cache
def biorthogonal(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Low-pass taps of analysis and synthesis of ``bior<name>``, padded by zeros to one even length as PyWavelets does."""
    zeros_synthesis, zeros_analysis, chosen = BIORTHOGONAL[name]
    order = (zeros_synthesis + zeros_analysis) // 2
    if chosen:
        sets = product_roots(order)
        factors = [_roots(sum((s for i, s in enumerate(sets) if (i in chosen) == mine), ())) for mine in (False, True)]
    else:
        factors = [product_series(order), [1.0]]
    analysis, synthesis = _symmetric(zeros_analysis, factors[0]), _symmetric(zeros_synthesis, factors[1])
    odd = len(analysis) % 2
    length = max(len(analysis), len(synthesis)) + odd
    middle = (length - 1) / 2
    shift = 0.5 if odd else 0.0  # filters about a sample lie half a step to the right and to the left of the middle
    return _placed(analysis, length, middle + shift), _placed(synthesis, length, middle - shift)


def _roots(roots: tuple[complex, ...]) -> list[float]:
    """Coefficients in y of prod (1 - y / root)."""
    series = np.array([1.0 + 0j])
    for root in roots:
        series = np.convolve(series, [1, -1 / root])
    return [float(value) for value in series.real]


def _symmetric(zeros: int, series: list[float]) -> NDArray[np.float64]:
    """Taps of sqrt(2) ((1 + z) / 2)^zeros sum_k series[k] y^k, y = (2 - z - 1/z) / 4."""
    total = np.zeros(2 * len(series) - 1)
    power = np.ones(1)
    for value in series:
        start = (len(total) - len(power)) // 2
        total[start : start + len(power)] += value * power
        power = np.convolve(power, [-0.25, 0.5, -0.25])
    for _ in range(zeros):
        total = np.convolve(total, [0.5, 0.5])
    return np.asarray(total * np.sqrt(2))


def _placed(taps: NDArray[np.float64], length: int, centre: float) -> tuple[float, ...]:
    start = round(centre - (len(taps) - 1) / 2)
    placed = np.zeros(length)
    placed[start : start + len(taps)] = taps
    return tuple(float(tap) for tap in placed)
