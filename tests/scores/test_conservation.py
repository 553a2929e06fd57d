"""Drift of integrals: exactly conserved, exactly growing, moving gaps, and the score."""

import math

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.grids.latlon import LatLonGrid
from physdiff.scores.conservation import integral_drift, integral_error

F64 = torch.float64


def test_a_shifted_wave_keeps_its_integral_and_a_decaying_one_does_not():
    n, frames = 24, 5
    x = torch.arange(n, dtype=F64) / n
    w = torch.full((3, n), 1.0, dtype=F64)
    shifted = torch.stack([2 + torch.sin(2 * math.pi * (x - 0.13 * t)) for t in range(frames)])
    field = shifted[:, None].expand(frames, 3, n)
    # the trapezoid rule integrates a wave exactly: rounding of order eps
    assert float(integral_drift(field, w).abs().max()) < 1e-14
    decay = torch.exp(-0.1 * torch.arange(frames, dtype=F64))
    drift = integral_drift(decay[:, None, None] * field, w, relative=True)
    torch.testing.assert_close(drift, decay - 1, rtol=1e-12, atol=1e-14)
    absolute = integral_drift(decay[:, None, None] * field, w)
    torch.testing.assert_close(absolute, 2 * drift, rtol=1e-12, atol=1e-14)


def test_weights_are_areas():
    grid = LatLonGrid(latitude=(90, 45, 0, -45, -90), longitude=(0, 120, 240))
    field = torch.zeros(2, 5, 3, dtype=F64)
    field[1, 0] = 1.0
    # sin(90) - sin(67.5) over the sphere's 2
    share = (1 - math.sin(math.radians(67.5))) / 2
    assert float(integral_drift(field, grid.weights())[1]) == pytest.approx(share, rel=1e-12)


def test_a_moving_gap_is_not_a_drift():
    field = torch.arange(6, dtype=F64).repeat(4, 1)
    for t in range(4):
        field[t, t] = float("nan")
    assert integral_drift(field, torch.ones(6)).tolist() == [0, 0, 0, 0]


def test_relative_drift_of_a_signed_field_is_in_units_of_its_size():
    field = torch.tensor([[3.0, -1.0], [3.5, -1.0]], dtype=F64)
    # the mean grows from 1 to 1.25, the mean absolute value at first is 2
    assert integral_drift(field, torch.ones(2), relative=True).tolist() == [0, 0.125]


def test_errors_of_opposite_sign_do_not_cancel():
    y = torch.tensor([1.0, 3.0], dtype=F64)
    assert float(integral_error(torch.stack([y + 1, y - 1]), y)) == 1.0


def test_score_is_the_loop_over_members():
    g = torch.Generator().manual_seed(0)
    x, y, w = (torch.rand(s, generator=g, dtype=F64) for s in ((3, 4, 5), (4, 5), (4, 5)))
    means = [float((m * w).sum() / w.sum()) for m in x]
    expected = sum(abs(m - float((y * w).sum() / w.sum())) for m in means) / 3
    assert float(integral_error(x, y, w)) == pytest.approx(expected, rel=1e-12)


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError, match="integral_drift"):
        integral_drift(torch.zeros(4, 5), torch.ones(4, 5))
