"""The errors physdiff raises on purpose.

Every message says what was expected, what came, and what to do. All inherit `PhysdiffError`, so that the command line can tell a user's
mistake (exit code 2, one line) from a bug (exit code 1, traceback).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "CollapsedWeights",
    "DataError",
    "Diverged",
    "GridMismatch",
    "InputError",
    "NotFitted",
    "PhysdiffError",
    "SavedError",
    "ShapeError",
    "Stopped",
    "UnitError",
    "UnsupportedOperator",
]


class PhysdiffError(Exception):
    """Base of all errors that physdiff raises on purpose."""


class InputError(PhysdiffError, ValueError):
    """An argument has a value that makes no sense (a negative viscosity, an unknown name)."""


class ShapeError(PhysdiffError, ValueError):
    """A tensor has another shape than the one expected."""


class GridMismatch(PhysdiffError, ValueError):
    """Two things that must live on one grid do not."""


class UnitError(PhysdiffError, ValueError):
    """The units of a variable are missing or are not those expected."""


class DataError(PhysdiffError, ValueError):
    """A file or data set cannot be used as it is."""


class SavedError(PhysdiffError, ValueError):
    """A saved object cannot be described, written, or built again."""


class NotFitted(PhysdiffError, RuntimeError):
    """A transform or a first guess was used before its statistics were known."""


class Stopped(PhysdiffError, RuntimeError):
    """A run was ended from outside (a signal, a lost process); what it had is saved, and the same call goes on."""


class UnsupportedOperator(PhysdiffError, TypeError):
    """A law asks for an operator which this backend cannot give.

    Args:
        operator: Name of the operator, as in ``"inv_lap"``.
        backend: Name of the operators class, as in ``"FiniteDifference"``.
        remedy: What to do instead.
    """

    def __init__(self, operator: str, backend: str, remedy: str) -> None:
        self.operator, self.backend = operator, backend
        super().__init__(f"{backend} cannot give `{operator}`: {remedy}")


class Diverged(PhysdiffError, ArithmeticError):
    """A computation left the finite numbers, or lost its way.

    Args:
        field: Name of the first field that is not finite.
        time: Time (or step) at which it was seen.
        remedy: What to try.
        event: What happened to the field.

    Attributes:
        last_good: The fields (B, *S) at the last time at which all were finite; None where there are none.
        last_time: That time.
        entry: Which entry of a vector of residuals it was seen in; None where there is no such vector.
    """

    def __init__(self, field: str, time: float, remedy: str, *, event: str = "is not finite") -> None:
        self.field, self.time = field, time
        self.last_good: Mapping[str, Any] | None = None
        self.last_time: float | None = None
        self.entry: int | None = None
        super().__init__(f"field `{field}` {event} at time {time:g}: {remedy}")

    def keep(self, fields: Mapping[str, Any], time: float) -> Diverged:
        """This error, which holds the last good fields and their time from now on, unless it holds some already."""
        if self.last_good is None:
            self.last_good, self.last_time = fields, time
        return self


class CollapsedWeights(PhysdiffError, ArithmeticError):
    """All particles of a weighted ensemble have weight zero (log-weights -inf or NaN)."""
