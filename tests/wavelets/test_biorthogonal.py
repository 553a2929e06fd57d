"""Biorthogonal splines: symmetry, zeros at pi, closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.wavelets.biorthogonal import BIORTHOGONAL, biorthogonal

ROUNDING = 1e-14


@pytest.mark.parametrize("name", BIORTHOGONAL)
def test_both_filters_are_symmetric_and_kill_polynomials(name: str) -> None:
    zeros = dict(zip((1, 0), BIORTHOGONAL[name][:2], strict=True))  # synthesis, analysis
    for which, taps in enumerate(biorthogonal(name)):
        inner = np.trim_zeros(np.array(taps))
        np.testing.assert_allclose(inner, inner[::-1], rtol=0, atol=ROUNDING)
        assert inner.sum() == pytest.approx(2**0.5, abs=ROUNDING)
        place = np.linspace(-1, 1, len(taps))
        for power in range(zeros[which]):
            assert (-1.0) ** np.arange(len(taps)) * place**power @ np.array(taps) == pytest.approx(0, abs=ROUNDING)


def test_closed_form_of_bior13() -> None:
    low, rebuilt = biorthogonal("1.3")
    np.testing.assert_allclose(np.array(low) / 2**0.5, np.array([-1, 1, 8, 8, 1, -1]) / 16, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(np.array(rebuilt) / 2**0.5, np.array([0, 0, 1, 1, 0, 0]) / 2, rtol=0, atol=ROUNDING)
