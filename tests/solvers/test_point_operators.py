"""Operators of single points: coordinates, and no derivative."""

import pytest
import torch

from physdiff.base.errors import UnsupportedOperator
from physdiff.solvers.point_operators import PointOperators


def test_they_give_coordinates_and_nothing_else():
    x = torch.arange(3.0)
    D = PointOperators((x, 2 * x))
    assert D.ndim == 2 and D.coordinates[1] is not x
    for call in (D.dt, D.grad, D.lap, D.inv_lap):
        with pytest.raises(UnsupportedOperator, match="PointOperators cannot give"):
            call(x)
    with pytest.raises(UnsupportedOperator, match="move derivatives to `production`"):
        D.div((x, x))
