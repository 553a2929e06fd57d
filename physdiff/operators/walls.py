r"""Which condition holds for which field at which end, and its value there and then.

Conditions belong to fields, not to what is computed from them: where c = 2 at a wall, v c is not 2. Tensors are known as fields by identity,
through `Operators.of`. A condition at the wall, half a cell beyond the last point, is brought to the form $a f + b\,\partial_n f = g$.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple, Self

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.boundary import Boundary, BoundaryValue, Condition, Dirichlet, Ends, Neumann, Outflow, Reflecting, Robin, ends_of
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.ghost_cells import extended, extrapolated, wall_weights
from physdiff.operators.operators import Operators, Vector

__all__ = ["Walls"]

# a parabola: higher ones amplify what leaves
_OUTFLOW_POINTS = 3


class _Imposed(NamedTuple):
    """The condition a f + b df/dn = value; a is None if nothing is imposed."""

    a: float | None
    b: float
    value: BoundaryValue


class Walls:
    """The boundary of a grid, told (`told`) which tensor is which field and the time.

    Args:
        grid: With at least one open axis.
        boundary: In any of its forms: one condition, by axis, or by field.
        backend: Name of the operators, for messages.

    Raises:
        InputError: If the boundary names no open axis of the grid, or is no boundary.
    """

    def __init__(self, grid: CartesianGrid, boundary: Boundary, backend: str) -> None:
        self.grid, self.boundary, self.backend = grid, boundary, backend
        if all(grid.periodic):
            raise InputError(f"{backend} boundary: every axis of {grid.summary()} is periodic and has no ends; leave the boundary out")
        self.by_field = isinstance(boundary, Mapping) and bool(boundary) and not any(key in grid.dims for key in boundary)
        names = tuple(boundary) if self.by_field and isinstance(boundary, Mapping) else (None,)
        self._ends = {name: ends_of(boundary, grid, name) for name in names}
        self._fields: tuple[tuple[Tensor, str], ...] | None = None
        self._t: float | Tensor | None = None

    def told(self, u: Mapping[str, Tensor], t: float | Tensor) -> Self:
        """A copy that knows the fields and the time.

        Raises:
            InputError: If the conditions are given by field and one is missing, or one tensor stands for two fields of different conditions.
        """
        made = copy.copy(self)
        if self.by_field:
            missing = [name for name in u if name not in self._ends]
            if missing:
                raise InputError(
                    f"{self.backend} boundary: expected conditions for each field, got them for {', '.join(map(str, self._ends))}; "
                    f"missing {', '.join(missing)} (give {{}} to leave its ends one-sided)"
                )
        for i, (name, f) in enumerate(u.items()):
            for other in list(u)[:i]:
                if u[other] is f and self._of_field(name) != self._of_field(other):
                    raise InputError(f"{self.backend} boundary: {other} and {name} are one tensor but have different conditions; clone() one of them")
        made._fields, made._t = tuple((f, name) for name, f in u.items()), t
        return made

    def extended(self, f: Tensor, direction: int, *, reach: int, points: int) -> Tensor | None:
        """F with `reach` ghost cells at both ends along a direction (x, y, z), from polynomials through `points` points.

        None where nothing is known about f: a derived tensor, or an axis without conditions.
        """
        name, known = self._name(f)
        ends = self._imposed(name, direction) if known else None
        if ends is None:
            return None
        values = [self._value(end.value, direction, side, f=f) for side, end in enumerate(ends)]
        return self._with_ghosts(f, direction, ends, reach=reach, points=points, values=values)

    def extended_flux(self, f: Tensor, direction: int, at_walls: tuple[Tensor | None, Tensor | None], *, reach: int, points: int) -> Tensor:
        """A flux with ghost cells, from its values at both walls; None: it goes on as it is inside."""
        ends = tuple(_Imposed(None if w is None else 1.0, 0.0, 0.0) for w in at_walls)
        return self._with_ghosts(f, direction, (ends[0], ends[1]), reach=reach, points=points, values=[0.0 if w is None else w for w in at_walls])

    def bounds(self, u: Mapping[str, Tensor], direction: int) -> bool:
        """Whether a field has conditions at the ends of a direction."""
        return any("xyz"[direction] in self._of_field(name) for name in u)

    def fields_at_wall(self, u: Mapping[str, Tensor], direction: int, side: int, *, points: int) -> tuple[dict[str, Tensor], Operators]:
        """All fields on one wall, where the axis has size 1, none if no field has a condition there but to go on; and the wall's points."""
        place = _WallPoints(self._coordinates(direction, side))
        if all(self._free(name, direction, side) for name in u):
            return {}, place
        out = {}
        for name, f in u.items():
            ends = self._imposed(name, direction)
            end = _Imposed(None, 0.0, 0.0) if ends is None else ends[side]
            weights = wall_weights(_OUTFLOW_POINTS if end.a is None else points, Fraction(0), end.a, b=self._per_spacing(end.b, direction))
            out[name] = extrapolated(f, f.ndim - 1 - direction, side, weights=weights, value=self._value(end.value, direction, side, f=f))
        return out, place

    def _coordinates(self, direction: int, side: int) -> tuple[Tensor, ...]:
        """Coordinates x, y, z of the points of one wall: of the grid's shape, with size 1 along the axis."""
        axis = self.grid.ndim - 1 - direction
        lines = list(self.grid.axes())
        place = self.grid.origin[axis] + side * self.grid.extent[axis]
        lines[axis] = torch.tensor([place], dtype=torch.float64, device="cpu")
        return tuple(reversed(torch.meshgrid(*lines, indexing="ij")))

    def _with_ghosts(
        self, f: Tensor, direction: int, ends: tuple[_Imposed, _Imposed], *, reach: int, points: int, values: list[Tensor | float]
    ) -> Tensor:
        ghosts = []
        for end in ends:
            used, b = _OUTFLOW_POINTS if end.a is None else points, self._per_spacing(end.b, direction)
            ghosts.append([wall_weights(used, Fraction(-2 * k - 1, 2), end.a, b=b) for k in range(reach)])
        return extended(f, f.ndim - 1 - direction, ghosts, values=values)

    def _per_spacing(self, b: float, direction: int) -> float:
        return b / self.grid.spacing[self.grid.ndim - 1 - direction]

    def _name(self, f: Tensor) -> tuple[str | None, bool]:
        """The field that a tensor is, and whether conditions hold for it."""
        if self._fields is not None:
            found = [name for tensor, name in self._fields if tensor is f]
            return (found[0], True) if found else (None, False)
        if self.by_field:
            raise InputError(f"{self.backend}: the boundary is given by field; say which tensor is which, with D.of(fields, t), or go through a law")
        return None, True

    def _of_field(self, name: str | None) -> dict[str, Ends]:
        ends = self._ends.get(name) if self.by_field else self._ends[None]
        return {axis: (_named(low, axis, name), _named(high, axis, name)) for axis, (low, high) in (ends or {}).items()}

    def _free(self, name: str, direction: int, side: int) -> bool:
        ends = self._of_field(name).get("xyz"[direction])
        return ends is None or isinstance(ends[side], Outflow)

    def _imposed(self, name: str | None, direction: int) -> tuple[_Imposed, _Imposed] | None:
        axis = "xyz"[direction]
        ends = self._ends.get(name if self.by_field else None, {}).get(axis)
        if ends is None:
            return None
        if name is None and any(isinstance(end, Reflecting) for end in ends):
            raise InputError(
                f"{self.backend}: Reflecting turns the component across the wall and must know the field's name; "
                "say which tensor is which, with D.of(fields, t), or go through a law"
            )
        low, high = (_as_robin(_named(end, axis, name)) for end in ends)
        return low, high

    def _value(self, value: BoundaryValue, direction: int, side: int, *, f: Tensor) -> Tensor | float:
        if isinstance(value, Tensor):
            if value.ndim == 0:
                return value.to(f)
            if value.ndim != 1 or f.ndim <= self.grid.ndim or value.shape[0] not in (1, f.shape[0]):
                raise ShapeError(
                    f"{self.backend} boundary: expected a value of shape () or (B,) for fields (B, ...), got {tuple(value.shape)} "
                    f"for {tuple(f.shape)}; what varies along the wall is a function of the coordinates and t"
                )
            return value.to(f).reshape(-1, *([1] * (f.ndim - 1)))
        if callable(value):
            if self._t is None:
                raise InputError(f"{self.backend}: a boundary value is a function of time; say the time with D.of(fields, t), or go through a law")
            return torch.as_tensor(value(*(c.to(f) for c in self._coordinates(direction, side)), self._t)).to(f)
        return float(value)


def _named(condition: Condition, axis: str, name: str | None) -> Condition:
    """What a slip wall means for a field: zero for the component across it, no slope for everything else."""
    if not isinstance(condition, Reflecting) or name is None:
        return condition
    return Dirichlet(0.0) if name.endswith(f"_{axis}") else Neumann(0.0)


def _as_robin(condition: Condition) -> _Imposed:
    if isinstance(condition, Dirichlet):
        return _Imposed(1.0, 0.0, condition.value)
    if isinstance(condition, Neumann):
        return _Imposed(0.0, 1.0, condition.slope)
    if isinstance(condition, Robin):
        return _Imposed(float(condition.a), float(condition.b), condition.value)
    if isinstance(condition, Outflow):
        return _Imposed(None, 0.0, 0.0)
    raise InputError(f"boundary: expected Dirichlet, Neumann, Robin, Outflow or Reflecting, got {condition!r}")


class _WallPoints(Operators):
    """The points of one wall: coordinates without derivatives, which a flux has no use for."""

    def __init__(self, coordinates: Vector) -> None:
        self._coordinates = coordinates

    @property
    def ndim(self) -> int:
        return len(self._coordinates)

    @property
    def coordinates(self) -> Vector:
        return self._coordinates

    def dt(self, f: Tensor) -> Tensor:
        raise _no_derivative("dt")

    def grad(self, f: Tensor) -> Vector:
        raise _no_derivative("grad")

    def div(self, v: Vector) -> Tensor:
        raise _no_derivative("div")

    def lap(self, f: Tensor) -> Tensor:
        raise _no_derivative("lap")


def _no_derivative(operator: str) -> UnsupportedOperator:
    return UnsupportedOperator(operator, "a wall", "the flux of a law is taken at points; put terms with derivatives into `production`")
