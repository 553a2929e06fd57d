"""Band-limited resampling: waves exactly, there and back, the low pass, squares without false waves."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.networks.resample import filtered, resample, resampling


def waves(n: int, *, closed: bool, highest: int) -> torch.Tensor:
    """The same random function of few waves at n points: (1, 1, n)."""
    torch.manual_seed(3)
    a, b = torch.randn(2, highest + 1, dtype=torch.float64)
    x, k = (torch.arange(n, dtype=torch.float64) + (0 if closed else 0.5)) / n, torch.arange(highest + 1, dtype=torch.float64)
    angle = (2 if closed else 1) * math.pi * x[:, None] * k
    return (angle.cos() @ a + (angle.sin() @ b if closed else 0))[None, None]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(("n", "m"), [(9, 14), (14, 9), (8, 16), (16, 8), (7, 7)])
def test_waves_that_both_hold_are_taken_exactly(closed, n, m):
    got = resample(waves(n, closed=closed, highest=3), [m], (closed,))
    torch.testing.assert_close(got, waves(m, closed=closed, highest=3), rtol=1e-12, atol=1e-12)


def test_faster_waves_are_left_out_and_constants_stay():
    x = torch.cos(2 * math.pi * 5 * torch.arange(16, dtype=torch.float64) / 16)[None, None]
    assert resample(x, [8], (True,)).abs().max() < 1e-13
    for closed in (True, False):
        rows = resampling(12, 5, periodic=closed, like=x).sum(1)
        torch.testing.assert_close(rows, torch.ones_like(rows))


@pytest.mark.parametrize("closed", [True, False])
def test_the_square_keeps_its_own_band_alone(closed):
    """Twice as many points hold all waves of a square: what comes back is its exact projection, unlike that of the plain square."""
    n, fine, highest = 9, 72, 4 if closed else 8
    exact = resample(waves(fine, closed=closed, highest=highest).square(), [n], (closed,))
    x = waves(n, closed=closed, highest=highest)
    torch.testing.assert_close(filtered(torch.square, x, (closed,)), exact, rtol=1e-12, atol=1e-12)
    assert (x.square() - exact).abs().max() > 0.1


def test_axes_are_taken_one_by_one():
    x = waves(8, closed=True, highest=3)[0, 0][:, None] * waves(6, closed=False, highest=3)[0, 0]
    expected = waves(12, closed=True, highest=3)[0, 0][:, None] * waves(9, closed=False, highest=3)[0, 0]
    torch.testing.assert_close(resample(x[None, None], [12, 9], (True, False))[0, 0], expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(ShapeError, match="axes"):
        resample(x[None, None], [4], (True,))
