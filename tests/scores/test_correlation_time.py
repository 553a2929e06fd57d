"""When a correlation is lost, of curves whose crossing is known."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.scores.correlation_time import high_correlation_time

F64 = torch.float64


def test_of_an_exponential_it_is_the_next_time_after_the_crossing():
    times = torch.arange(1, 200, dtype=F64) * 0.05
    scales = torch.tensor([1.0, 3.0, 10.0], dtype=F64)
    found = high_correlation_time(torch.exp(-times / scales[:, None]), times)
    crossing = -scales * math.log(0.8)
    assert bool(((found >= crossing) & (found < crossing + 0.05)).all())


def test_it_is_the_first_loss_and_missing_values_are_not_passed_over():
    times = torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    nan = float("nan")
    rows = torch.tensor([[0.9, 0.7, 0.9], [0.9, 0.9, 0.8], [0.9, nan, 0.1], [0.1, nan, nan]], dtype=F64)
    found = high_correlation_time(rows, times)
    assert found[0] == 2.0 and found[1] == math.inf and found[2].isnan() and found[3] == 1.0
    assert high_correlation_time(rows[0], times, level=0.95) == 1.0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="correlations"):
        high_correlation_time(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(InputError, match="increasing"):
        high_correlation_time(torch.zeros(2, 3), torch.tensor([1.0, 1.0, 2.0]))
