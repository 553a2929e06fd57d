"""Random points: uniform ranks in any dimension, entries that do not count, ties, worded errors."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.base.rng import Rng
from physdiff.scores.tarp import tarp_rank
from physdiff.scores.uniformity import rank_p_value

LIKE = torch.zeros((), dtype=torch.float64)


def test_ranks_are_uniform_when_the_law_is_right_and_not_when_dependence_is_lost() -> None:
    """300 cases of two numbers correlated by 0.95, 39 members; marginals are right in both."""
    noise = Rng(0).normal((41, 300, 2), like=LIKE)
    right = torch.stack([noise[..., 0], 0.95 * noise[..., 0] + (1 - 0.95**2) ** 0.5 * noise[..., 1]], -1)
    members, truth, point = right[:39], right[39], right[40]
    scale = torch.ones(2).double()
    assert rank_p_value(tarp_rank(members, truth, point, scale=scale), 39) > 0.01
    assert rank_p_value(tarp_rank(noise[:39], truth, point, scale=scale), 39) < 1e-3


def test_counting() -> None:
    members = torch.tensor([[0.0, 1.0], [2.0, 2.0], [0.5, -3.0], [1.0, 0.0]])
    truth, point = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])
    # squared distances 1, 8, 9.25, 1 against 1: two ties, of which one counts
    assert int(tarp_rank(members, truth, point)) == 1
    # the first entry alone: 0, 4, 0.25, 1 against 1
    assert int(tarp_rank(members, truth, point, scale=torch.tensor([1.0, torch.inf]))) == 2
    assert tarp_rank(members[:, None].expand(4, 3, 2), truth.expand(3, 2), point.expand(3, 2), scale=torch.ones(2)).tolist() == [1, 1, 1]


def test_shapes() -> None:
    with pytest.raises(ShapeError, match="members"):
        tarp_rank(torch.zeros(4, 3), torch.zeros(4), torch.zeros(4))
    with pytest.raises(ShapeError, match="scale of the last dimensions"):
        tarp_rank(torch.zeros(4, 3), torch.zeros(3), torch.zeros(3), scale=torch.ones(2))
