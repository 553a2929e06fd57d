"""The errors: one family, still the kinds that Python code expects, messages that name what went wrong."""

from __future__ import annotations

import pytest

from physdiff.base import errors
from physdiff.base.errors import Diverged, PhysdiffError, UnsupportedOperator

KINDS = {
    "CollapsedWeights": ArithmeticError,
    "DataError": ValueError,
    "Diverged": ArithmeticError,
    "GridMismatch": ValueError,
    "InputError": ValueError,
    "NotFitted": RuntimeError,
    "PhysdiffError": Exception,
    "SavedError": ValueError,
    "ShapeError": ValueError,
    "Stopped": RuntimeError,
    "UnitError": ValueError,
    "UnsupportedOperator": TypeError,
}


def test_the_list_is_complete() -> None:
    assert sorted(KINDS) == errors.__all__


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_of_the_family_and_of_a_builtin_kind(name: str) -> None:
    cls = getattr(errors, name)
    assert issubclass(cls, PhysdiffError)
    assert issubclass(cls, KINDS[name])
    assert cls.__doc__


def test_unsupported_operator_names_operator_backend_and_remedy() -> None:
    error = UnsupportedOperator("inv_lap", "FiniteDifference", "use Spectral")
    assert (error.operator, error.backend) == ("inv_lap", "FiniteDifference")
    assert str(error) == "FiniteDifference cannot give `inv_lap`: use Spectral"


def test_diverged_names_field_time_and_remedy() -> None:
    error = Diverged("vorticity", 0.25, "halve the step")
    assert (error.field, error.time) == ("vorticity", 0.25)
    assert str(error) == "field `vorticity` is not finite at time 0.25: halve the step"
