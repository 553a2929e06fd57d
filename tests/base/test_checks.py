"""The checks: what passes comes back as it is, what does not is named."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.checks import check_finite, check_one_of, check_positive, check_shape, per_axis
from physdiff.base.errors import InputError, ShapeError


def test_shape() -> None:
    x = torch.zeros(2, 3)
    assert check_shape(x, (None, 3), "x") is x
    with pytest.raises(ShapeError, match=r"x: expected shape \(any, 4\), got \(2, 3\)"):
        check_shape(x, (None, 4), "x")
    with pytest.raises(ShapeError, match=r"expected shape \(2, 3, 1\)"):
        check_shape(x, (2, 3, 1), "x")


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("zero", [True, False])
def test_what_is_not_positive(value: float, zero: bool) -> None:
    with pytest.raises(InputError, match="viscosity: expected a"):
        check_positive(value, "viscosity", zero=zero)


def test_zero_where_it_is_allowed() -> None:
    assert check_positive(0.0, "viscosity", zero=True) == 0
    assert check_positive(1e-300, "viscosity") == 1e-300
    with pytest.raises(InputError, match="expected a positive finite number, got 0"):
        check_positive(0.0, "viscosity")


def test_finite_counts_what_is_not() -> None:
    x = torch.tensor([1.0, torch.nan, torch.inf, 2.0])
    assert check_finite(x[::3], "x").tolist() == [1, 2]
    with pytest.raises(InputError, match="x: expected finite numbers, got 2 of 4 entries NaN or infinite; fill them"):
        check_finite(x, "x", "fill them")


def test_one_of_names_the_nearest() -> None:
    assert check_one_of("db2", ("haar", "db2"), "wavelet") == "db2"
    with pytest.raises(InputError, match="expected one of db2, db4, haar; got 'har'; did you mean haar?"):
        check_one_of("har", ("haar", "db2", "db4"), "wavelet")
    with pytest.raises(InputError, match=r"got 'zzz'$"):
        check_one_of("zzz", ("haar",), "wavelet")


def test_per_axis_repeats_or_checks() -> None:
    assert per_axis(1.5, 3, "extent") == (1.5, 1.5, 1.5)
    assert per_axis([1.0, 2.0], 2, "extent") == (1.0, 2.0)
    assert per_axis("haar", 2, "wavelet") == ("haar", "haar")
    with pytest.raises(InputError, match=r"extent: expected one value or 2 .* got 3"):
        per_axis((1, 2, 3), 2, "extent")
