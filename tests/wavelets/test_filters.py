"""Filters: PyWavelets as oracle, and the equations that define a Daubechies filter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt

from physdiff.base.errors import InputError
from physdiff.wavelets.filters import filter_length, highpass, lowpass, wavelet_names

# Two computations in float64, each with rounding of some 1e-16 per tap (the worst order differs by 2e-15).
ROUNDING = 1e-14


@pytest.mark.parametrize("name", wavelet_names())
def test_taps_equal_those_of_pywavelets(name: str) -> None:
    oracle = pywt.Wavelet(name)
    np.testing.assert_allclose(lowpass(name), oracle.dec_lo, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(highpass(name), oracle.dec_hi, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", wavelet_names())
def test_double_shifts_are_orthonormal(name: str) -> None:
    h, g, n = np.array(lowpass(name)), np.array(highpass(name)), filter_length(name)
    for shift in range(0, n, 2):
        delta = float(shift == 0)
        assert np.dot(h[: n - shift], h[shift:]) == pytest.approx(delta, abs=ROUNDING)
        assert np.dot(g[: n - shift], g[shift:]) == pytest.approx(delta, abs=ROUNDING)
        assert np.dot(h[: n - shift], g[shift:]) == pytest.approx(0, abs=ROUNDING)
        assert np.dot(g[: n - shift], h[shift:]) == pytest.approx(0, abs=ROUNDING)


@pytest.mark.parametrize("order", range(1, 9))
def test_high_pass_kills_polynomials_below_the_order(order: int) -> None:
    g = np.array(highpass(f"db{order}"))
    u = np.linspace(-1, 1, 2 * order)  # centred, so that powers stay below one and rounding stays small
    for power in range(order):
        assert np.dot(g, u**power) == pytest.approx(0, abs=ROUNDING)
    assert abs(np.dot(g, u**order)) > 1e-6  # and no further


def test_closed_form_of_db2() -> None:
    root3 = math.sqrt(3)
    expected = np.array([1 - root3, 3 - root3, 3 + root3, 1 + root3]) / (4 * math.sqrt(2))
    np.testing.assert_allclose(lowpass("db2"), expected, rtol=0, atol=ROUNDING)


def test_haar_is_db1() -> None:
    assert lowpass("haar") == lowpass("db1")
    assert highpass("haar") == highpass("db1")


def test_unknown_wavelet_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean.*db4"):
        lowpass("dB4")
    with pytest.raises(InputError, match="expected one of"):
        filter_length("sym4")
