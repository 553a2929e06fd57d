"""Maps of one axis: dense, windowed, haar and tap by tap are the same map, and the transpose is the transpose."""

from __future__ import annotations

import pytest
import torch

from physdiff.wavelets import axis_map
from physdiff.wavelets.axis_map import MODES, analysis, apply, apply_by_taps, apply_transpose, apply_transpose_by_taps, matrix, synthesis

EXACT = 1e-12  # sums of at most 40 products of numbers near one, in float64


@pytest.mark.parametrize("made", [analysis, synthesis])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize(("wavelet", "length"), [("haar", 6), ("haar", 7), ("db4", 5), ("bior2.4", 41), ("db12", 90)])
def test_all_ways_to_apply_a_map_agree(
    made, mode: str, wavelet: str, length: int, columns: int, monkeypatch: pytest.MonkeyPatch  # noqa: ANN001
) -> None:
    one = made(wavelet, mode, length)
    dense = torch.from_numpy(matrix(one).copy())
    x = torch.randn(2, length, columns, dtype=torch.float64)
    c = torch.randn(2, 2 * one.halves, columns, dtype=torch.float64)
    factor = 0.5**0.5 if one.is_haar else 1.0
    for is_short in (False, True):  # windows, dense
        monkeypatch.setattr(axis_map, "_is_short", lambda *_, short=is_short: short)
        torch.testing.assert_close(factor * apply(one, x), dense @ x, rtol=0, atol=EXACT)
        torch.testing.assert_close(factor * apply_transpose(one, c), dense.T @ c, rtol=0, atol=EXACT)
    torch.testing.assert_close(apply_by_taps(one, x), dense @ x, rtol=0, atol=EXACT)
    torch.testing.assert_close(apply_transpose_by_taps(one, c), dense.T @ c, rtol=0, atol=EXACT)
