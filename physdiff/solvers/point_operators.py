"""Operators that know places and no neighbours: what a law's flux is evaluated with at faces.

A flux depends on fields, coordinates and time at a point, so this is all it may ask for; a derivative raises.
"""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from physdiff.base.errors import UnsupportedOperator
from physdiff.operators.operators import Operators, Vector

__all__ = ["PointOperators"]


class PointOperators(Operators):
    """Coordinates only.

    Args:
        coordinates: Of the points, in the order x, y, z, each of the fields' shape in space.
    """

    def __init__(self, coordinates: Vector) -> None:
        self._coordinates = tuple(coordinates)

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return len(self._coordinates)

    @property
    def coordinates(self) -> Vector:
        """The coordinates x, y, z."""
        return self._coordinates

    def dt(self, f: Tensor) -> Tensor:
        """Refused; see the class."""
        self._refuse("dt")

    def grad(self, f: Tensor) -> Vector:
        """Refused; see the class."""
        self._refuse("grad")

    def div(self, v: Vector) -> Tensor:
        """Refused; see the class."""
        self._refuse("div")

    def lap(self, f: Tensor) -> Tensor:
        """Refused; see the class."""
        self._refuse("lap")

    def _refuse(self, operator: str) -> NoReturn:
        raise UnsupportedOperator(operator, "PointOperators", "a flux is taken at faces, from values at a point; move derivatives to `production`")
