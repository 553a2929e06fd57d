"""Windows come back from their coordinates, which have the variances of the training windows."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.patterns import PatternCondition, Patterns

SHAPE, RANK = (2, 3, 4, 5), 6


def windows(count: int, key: int = 0) -> torch.Tensor:
    """Of rank 6 about a mean, with standard deviations 1/(k + 1)."""
    rows = torch.linalg.qr(Rng(7).normal((120, RANK)))[0].T
    sizes = 1 / torch.arange(1.0, RANK + 1)
    return 3.0 + ((Rng(key).normal((count, RANK)) * sizes) @ rows).reshape(count, *SHAPE)


@pytest.mark.parametrize("count", [40, 400])  # fewer windows than entries, and more
def test_windows_come_back(count: int) -> None:
    made = Patterns(share=0.0).fitted(windows(count))
    assert made.out_shape(SHAPE) == (RANK, 1, 1, 1)
    x = windows(9, key=1)
    z = made.encode(x)
    assert z.shape == (9, RANK, 1, 1, 1)
    torch.testing.assert_close(made.decode(z), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(made.encode(windows(count)).flatten(1).var(0), made.variances, rtol=1e-3, atol=1e-6)
    assert float(made.variances.mean()) == pytest.approx(1.0, rel=1e-5)
    assert bool((made.variances.diff() < 0).all())
    # one scale for all coordinates: distances are kept
    torch.testing.assert_close((z[0] - z[1]).norm() * made.scale, (x[0] - x[1]).norm(), rtol=1e-4, atol=0)
    again = build(describe(made))
    torch.testing.assert_close(again.encode(x), z, rtol=0, atol=1e-6)


def test_no_more_patterns_than_asked_for() -> None:
    x = windows(200)
    assert Patterns(2).fitted(x).out_shape(SHAPE)[0] == 2
    # variances 1, 1/4, 1/9, 1/16, 1/25, 1/36: the first three hold 0.91 of their sum, give or take the sample
    assert Patterns(share=0.15).fitted(x).out_shape(SHAPE)[0] == 3
    assert float(Patterns(2).fitted(x).weight(torch.full((1, *SHAPE), 0.25)).mean()) == 0.25


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(NotFitted, match="expected fitted patterns"):
        Patterns().encode(windows(2))
    with pytest.raises(InputError, match="two or more windows that differ"):
        Patterns().fitted(windows(1).expand(3, *SHAPE))
    with pytest.raises(InputError, match="a share of the variance"):
        Patterns(share=1.0)
    with pytest.raises(ShapeError, match=r"expected windows of \(2, 3, 4, 5\), got"):
        Patterns().fitted(windows(9)).encode(windows(2)[:, :1])


def test_a_condition_in_coordinates_of_unit_variance() -> None:
    inner = ConditionTransform(1, mean=torch.full((1, 1, 1, 1), 3.0), std=torch.ones(1, 1, 1, 1), each=True)
    cond = torch.cat([windows(300)[:, :1], torch.ones(300, 1, *SHAPE[1:])], 1)
    told = PatternCondition(inner, Patterns(share=0.0).fitted(inner.encode(cond)))
    assert told.out_shape((2, *SHAPE[1:])) == (RANK, 1, 1, 1)
    torch.testing.assert_close(told.encode(cond).flatten(1).var(0), torch.ones(RANK), rtol=1e-2, atol=0)
