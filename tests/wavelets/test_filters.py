"""Filters: PyWavelets as oracle, and the equations of exact inversion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt

from physdiff.base.errors import InputError
from physdiff.wavelets.filters import filter_length, filters, highpass, lowpass, wavelet_names

# Two computations in float64, each with rounding of some 1e-16 per tap (the worst order differs by 2e-15).
ROUNDING = 1e-14
# What PyWavelets tabulates of the other families has 11 to 14 digits: its own taps miss orthonormality by up to 1e-11, ours by less than ROUNDING.
TABULATED = 2e-11


@pytest.mark.parametrize("name", wavelet_names())
def test_taps_equal_those_of_pywavelets(name: str) -> None:
    oracle, found = pywt.Wavelet(name), filters(name)
    tolerance = ROUNDING if name.startswith(("haar", "db")) else TABULATED
    for ours, theirs in zip(
        (found.low, found.high, found.rebuilt_low, found.rebuilt_high), (oracle.dec_lo, oracle.dec_hi, oracle.rec_lo, oracle.rec_hi), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
    assert found.orthonormal == (oracle.orthogonal or name == "bior1.1")


@pytest.mark.parametrize("name", wavelet_names())
def test_double_shifts_are_dual_to_each_other(name: str) -> None:
    bank, n = filters(name), filter_length(name)
    analysis, synthesis = np.array((bank.low, bank.high)), np.array((bank.rebuilt_low, bank.rebuilt_high))[:, ::-1]
    for shift in range(0, n, 2):
        delta = np.eye(2) * float(shift == 0)
        np.testing.assert_allclose(analysis[:, : n - shift] @ synthesis[:, shift:].T, delta, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(analysis[:, shift:] @ synthesis[:, : n - shift].T, delta, rtol=0, atol=ROUNDING)
    if bank.orthonormal:
        np.testing.assert_array_equal(analysis, synthesis)


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
        filter_length("sym21")
