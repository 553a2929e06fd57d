"""Filters of the wavelets by name: haar, Daubechies, symlets, coiflets, biorthogonal splines.

A wavelet is four filters of F taps: analysis h (low-pass) and g (high-pass), synthesis r and q, with

    g[j] = (-1)^{j+1} r[j],      q[j] = (-1)^j h[j],

and, for the orthonormal families, r the reverse of h. Order and sign are those of PyWavelets (``dec_lo``, ``dec_hi``, ``rec_lo``, ``rec_hi``).

Reference: S. Mallat, A Wavelet Tour of Signal Processing, 3rd ed. (2009), chapter 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from physdiff.base.checks import check_one_of
from physdiff.wavelets.biorthogonal import BIORTHOGONAL, biorthogonal
from physdiff.wavelets.orthonormal import coiflet, daubechies, symlet

__all__ = ["Filters", "filter_length", "filters", "highpass", "lowpass", "wavelet_names"]

Taps = tuple[float, ...]
_HIGHEST = {"db": 38, "sym": 20, "coif": 5}


@dataclass(frozen=True)
class Filters:
    """The four filters of a wavelet, all of one even length.

    Attributes:
        low: Analysis low-pass h, sum sqrt(2).
        high: Analysis high-pass g.
        rebuilt_low: Synthesis low-pass r.
        rebuilt_high: Synthesis high-pass q.
        orthonormal: Whether synthesis is the transpose of analysis.
    """

    low: Taps
    high: Taps
    rebuilt_low: Taps
    rebuilt_high: Taps
    orthonormal: bool


@cache
def wavelet_names() -> tuple[str, ...]:
    """Names of the wavelets known here.

    ``haar`` (the same as ``db1`` and ``bior1.1``), ``db1`` to ``db38``, ``sym2`` to ``sym20``, ``coif1`` to ``coif5``, ``bior1.1`` to ``bior6.8``.
    """
    orders = {family: range(2 if family == "sym" else 1, highest + 1) for family, highest in _HIGHEST.items()}
    numbered = (f"{family}{order}" for family, span in orders.items() for order in span)
    return ("haar", *numbered, *(f"bior{name}" for name in BIORTHOGONAL))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def filters(wavelet: str) -> Filters:
    """All four filters of a wavelet.

    Args:
        wavelet: One of `wavelet_names`.

    Raises:
        InputError: If the wavelet is unknown; the message names the nearest ones.
    """
    return _filters(wavelet)


@cache
def _filters(wavelet: str) -> Filters:
    name = check_one_of(wavelet, wavelet_names(), "wavelet")
    if name.startswith("bior"):
        low, rebuilt = biorthogonal(name.removeprefix("bior"))
    else:
        family = name.rstrip("0123456789")
        order = 1 if name == "haar" else int(name.removeprefix(family))
        low = {"haar": daubechies, "db": daubechies, "sym": symlet, "coif": coiflet}[family](order)
        rebuilt = low[::-1]
    high = tuple(tap if j % 2 else -tap for j, tap in enumerate(rebuilt))
    rebuilt_high = tuple(-tap if j % 2 else tap for j, tap in enumerate(low))
    return Filters(low, high, rebuilt, rebuilt_high, name == "bior1.1" or not name.startswith("bior"))


def filter_length(wavelet: str) -> int:
    """Number of taps F of a wavelet's filters: 2 for haar, 2 p for ``db<p>`` and ``sym<p>``, 6 K for ``coif<K>``.

    Raises:
        InputError: If the wavelet is unknown; the message names the nearest ones.
    """
    return len(filters(wavelet).low)


def lowpass(wavelet: str) -> Taps:
    """Analysis low-pass taps h: sum sqrt(2); for orthonormal wavelets sum_j h[j] h[j + 2m] = 1 for m = 0, else 0.

    Raises:
        InputError: If the wavelet is unknown; the message names the nearest ones.
    """
    return _filters(wavelet).low


def highpass(wavelet: str) -> Taps:
    """Analysis high-pass taps g[j] = (-1)^{j+1} r[j], r the synthesis low-pass.

    Raises:
        InputError: If the wavelet is unknown; the message names the nearest ones.
    """
    return _filters(wavelet).high
