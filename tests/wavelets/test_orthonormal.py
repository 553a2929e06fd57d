"""Daubechies filters, symlets and coiflets: the equations that define each family."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.wavelets.orthonormal import coiflet, daubechies, product_roots, product_series, symlet

ROUNDING = 1e-14


@pytest.mark.parametrize("order", [2, 4, 8, 13, 20])
def test_a_symlet_has_the_spectrum_of_the_daubechies_filter_and_less_asymmetry(order: int) -> None:
    ours, extremal = np.array(symlet(order)), np.array(daubechies(order))
    spectra = np.abs(np.fft.fft(ours, 256)), np.abs(np.fft.fft(extremal, 256))
    np.testing.assert_allclose(*spectra, rtol=0, atol=1e-13)  # sums of 40 taps
    if order > 3:  # below, the two are one filter or its mirror image
        assert _asymmetry(ours) < 0.7 * _asymmetry(extremal)


def _asymmetry(h: np.ndarray) -> float:
    return min(float(np.abs(h - np.roll(h[::-1], shift)).sum()) for shift in range(len(h)))


@pytest.mark.parametrize("order", range(1, 6))
def test_moments_of_a_coiflet(order: int) -> None:
    synthesis = np.array(coiflet(order))[::-1]
    place = (np.arange(6 * order) - 2 * order) / (2 * order)  # about its centre, so that powers stay near one
    sign = (-1.0) ** np.arange(6 * order)
    assert synthesis.sum() == pytest.approx(2**0.5, abs=ROUNDING)
    for power in range(2 * order):
        tolerance = ROUNDING * 2.0**power  # places reach 2, and so their powers
        assert sign * place**power @ synthesis == pytest.approx(0, abs=tolerance)  # wavelet
        if power:
            assert place**power @ synthesis == pytest.approx(0, abs=tolerance)  # scaling function


@pytest.mark.parametrize("order", [2, 5, 12, 20])
def test_roots_give_the_series_back(order: int) -> None:
    roots = [y for group in product_roots(order) for y in group]
    assert len(roots) == order - 1
    at = np.linspace(0, 1, 7)
    product = np.prod([1 - at / y for y in roots], axis=0).real
    np.testing.assert_allclose(product, np.polynomial.polynomial.polyval(at, product_series(order)), rtol=1e-12)
