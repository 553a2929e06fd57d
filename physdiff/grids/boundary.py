r"""What holds at the ends of an open axis: boundary conditions as values.

With the outward normal derivative $\partial_n f$ at a wall, half a cell beyond the last point,

$$f = g \;(\texttt{Dirichlet}), \qquad \partial_n f = g \;(\texttt{Neumann}), \qquad a f + b\,\partial_n f = g \;(\texttt{Robin}),$$

`Outflow` lets whatever arrives leave (the field is continued from inside), and `Reflecting` is a slip wall: mirrored, with the normal component of a
vector turned round. Laws know nothing of them: grids get them with the operators or the stepper, which fill ghost cells from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.saved import Saved
from physdiff.grids.grid import Grid

__all__ = ["Boundary", "BoundaryValue", "Condition", "Dirichlet", "Ends", "Neumann", "Outflow", "Reflecting", "Robin", "ends_of"]

BoundaryValue = float | Tensor | Callable[..., Tensor]
"""A number, a Tensor () or (B,), or a function of the coordinates (x, [y, [z,]] t) of the wall."""


class Condition(Saved):
    """Abstract condition at one end of an axis."""


@dataclass(frozen=True)
class Dirichlet(Condition):
    """The field has this value at the wall, in units of the field."""

    value: BoundaryValue = 0.0


@dataclass(frozen=True)
class Neumann(Condition):
    """The derivative along the outward normal has this value at the wall, in units of the field per length."""

    slope: BoundaryValue = 0.0


@dataclass(frozen=True)
class Robin(Condition):
    """a f + b df/dn = value at the wall, with n the outward normal.

    Raises:
        InputError: If a and b are both zero.
    """

    a: float
    b: float
    value: BoundaryValue = 0.0

    def __post_init__(self) -> None:
        if self.a == 0 and self.b == 0:
            raise InputError("Robin: expected a or b different from zero, got a = b = 0; nothing would be imposed")


@dataclass(frozen=True)
class Outflow(Condition):
    """Nothing is imposed: the field goes on beyond the wall as it is inside."""


@dataclass(frozen=True)
class Reflecting(Condition):
    """A slip wall: scalars and tangential components mirrored (no slope), the normal component zero at the wall.

    Components are known by their names: `velocity_x`, `momentum_y`, anything that ends in `_x`, `_y`, `_z`.
    """


Ends = tuple[Condition, Condition]
"""Conditions at the lower and at the upper end of one axis."""
Boundary = Condition | Mapping[str, "Condition | Ends | Mapping[str, Condition | Ends]"]
"""One condition for every open end; or by axis, as in {"x": Dirichlet(0.0), "y": (Neumann(), Outflow())}; or by field, each as before."""


def ends_of(boundary: Boundary, grid: Grid, field: str | None = None) -> dict[str, Ends]:
    """Conditions at both ends of every open axis of the grid, for one field.

    Args:
        boundary: In any of its three forms.
        grid: Whose axes are meant.
        field: Name of the field; needed where the conditions are given by field.

    Returns:
        Name of each open axis and its (lower, upper) conditions; axes that nothing is said about are left out.

    Raises:
        InputError: If a name is no open axis of the grid, or something else than a condition is given.
    """
    opened = [name for name, closed in zip(grid.dims, grid.periodic, strict=True) if not closed]
    if isinstance(boundary, Condition):
        return dict.fromkeys(opened, (boundary, boundary))
    if not isinstance(boundary, Mapping):
        raise InputError(f"boundary: expected a condition like Dirichlet(0.0), or a mapping by axis or by field, got {boundary!r}")
    if boundary and not any(key in grid.dims for key in boundary):
        own = boundary.get(field) if field is not None else None
        return {} if own is None else ends_of(own, grid, field)  # type: ignore[arg-type]
    made = {}
    for name, value in boundary.items():
        if name not in opened:
            what = "a periodic axis, which has no ends" if name in grid.dims else "no axis"
            raise InputError(f"boundary: expected open axes of the grid ({', '.join(opened) or 'it has none'}), got {name!r}, {what}")
        ends = (value, value) if isinstance(value, Condition) else value
        if not (isinstance(ends, tuple) and len(ends) == 2 and all(isinstance(end, Condition) for end in ends)):
            raise InputError(f"boundary {name}: expected a condition or a pair (lower, upper) of them, got {value!r}")
        made[name] = ends
    return made
