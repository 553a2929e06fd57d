"""The abstract transform: what its doors promise for every final class."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.transform import Sample, Shape, Transform


class Double(Transform):
    """The smallest final class."""

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return 2 * x if cond is None else 2 * x + cond

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return z / 2 if cond is None else (z - cond) / 2

    def out_shape(self, shape: Shape) -> Shape:
        return shape


class Half(Transform):
    """Not final: no inverse."""

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return x / 2

    def out_shape(self, shape: Shape) -> Shape:
        return shape


def test_a_class_without_an_inverse_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="abstract.*_decode"):
        Half()


def test_encode_and_decode_hand_the_condition_on() -> None:
    x, cond = torch.ones(2, 1, 3, 4), torch.full((2, 1, 3, 4), 5.0)
    assert torch.equal(Double().encode(x), 2 * x)
    assert torch.equal(Double().encode(x, cond), 2 * x + cond)
    assert torch.equal(Double().decode(Double().encode(x, cond), cond), x)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_encode_refuses_what_is_missing(value: float) -> None:
    x = torch.ones(2, 1, 3, 4)
    x[1, 0, 2, 3] = value
    with pytest.raises(InputError, match=r"Double.encode: expected finite numbers, got 1 of 24 .* fill missing values"):
        Double().encode(x)


def test_by_default_a_transform_is_pointwise_and_needs_no_fit() -> None:
    known = torch.rand(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    transform = Double()
    assert torch.equal(transform.weight(known), known)
    spec = FieldSpec(("t",), ("K",), CartesianGrid(4), 1.0)

    def never() -> None:
        raise AssertionError("no pass over the data is needed")

    assert transform.fitted_from(never, spec) is transform


def test_a_sample_holds_what_it_was_given() -> None:
    sample = Sample(torch.zeros(1))
    assert sample.cond is None
    assert sample.known is None
