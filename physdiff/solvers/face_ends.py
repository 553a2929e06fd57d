r"""What holds at the ends of a box for velocities on faces and scalars at centres, from boundary conditions as values.

The component across an end is held on the end's own face: given (`Dirichlet`: a wall, an inflow), zero (`Reflecting`), or free (`Outflow`). For
everything else the end lies half a cell outside the first value $f_1$, whose mirror image is

$$g = 2 f_b - f_1\;(\texttt{Dirichlet}), \qquad g = f_1 + h\,\partial_n f\;(\texttt{Neumann}), \qquad
g = f_1\;(\texttt{Reflecting}, \texttt{Outflow}).$$
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.boundary import Boundary, BoundaryValue, Condition, Dirichlet, Ends, Neumann, Outflow, Reflecting, ends_of
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.operators import Vector

__all__ = ["FaceEnds"]


class FaceEnds:
    """The conditions of a flow's fields, read once and asked at each stage.

    Args:
        grid: A uniform grid.
        boundary: For its open axes, in any form `ends_of` takes.
        velocity: Names of the components.
        scalars: Names of what lives at centres.

    Attributes:
        open_ends: For each direction whether its lower and its upper end let the flow out.

    Raises:
        InputError: If a field has no condition at an open end, or one that cannot be had.
    """

    def __init__(self, grid: CartesianGrid, boundary: Boundary | None, *, velocity: Sequence[str], scalars: Sequence[str] = ()) -> None:
        self.grid, self._velocity = grid, tuple(velocity)
        names = (*velocity, *scalars)
        if boundary is not None and not isinstance(boundary, Condition):
            unknown = [key for key in boundary if key not in grid.dims and key not in names]
            if unknown:
                raise InputError(f"boundary: expected axes ({', '.join(grid.dims)}) or fields ({', '.join(names)}), got {unknown[0]!r}")
        self._ends = {name: {} if boundary is None else ends_of(boundary, grid, name) for name in names}
        for name in names:
            for axis, closed in zip(grid.dims, grid.periodic, strict=True):
                if not closed:
                    self._check(name, axis)
        self.open_ends = self._open_ends()

    def _check(self, name: str, axis: str) -> None:
        if axis not in self._ends[name]:
            raise InputError(
                f"boundary: the axis {axis} is open and nothing is said about `{name}` at its ends; give Dirichlet (a wall, an inflow), Reflecting() "
                "(slip) or Outflow(), by axis or by field, or make the grid periodic"
            )
        across = name in self._velocity and name.endswith(f"_{axis}")
        allowed: tuple[type[Condition], ...] = (Dirichlet, Reflecting, Outflow) if across else (Dirichlet, Reflecting, Outflow, Neumann)
        for end in self._ends[name][axis]:
            if not isinstance(end, allowed):
                what = "the component across the end" if across else "a field"
                words = ", ".join(kind.__name__ for kind in allowed)
                raise InputError(f"boundary: expected one of {words} for `{name}` along {axis} ({what}), got {end!r}")

    def pair(self, name: str, direction: int) -> Ends | None:
        """The conditions at the lower and the upper end of a direction; None where it is periodic."""
        return self._ends[name].get("xyz"[direction])

    def _open_ends(self) -> tuple[tuple[bool, bool], ...]:
        found = []
        for i, name in enumerate(self._velocity):
            ends = self.pair(name, i)
            found.append((False, False) if ends is None else (isinstance(ends[0], Outflow), isinstance(ends[1], Outflow)))
        return tuple(found)

    def brings_in(self) -> bool:
        """Whether a velocity other than zero is given across an end."""
        ends = [end for i, name in enumerate(self._velocity) for end in self.pair(name, i) or ()]
        return any(isinstance(end, Dirichlet) and not (isinstance(end.value, int | float) and end.value == 0) for end in ends)

    def fastest(self, component: int, t: float, *, like: Tensor) -> float:
        """The largest speed given anywhere at the ends for a component."""
        found = [0.0]
        for direction in range(self.grid.ndim):
            for side, end in enumerate(self.pair(self._velocity[component], direction) or ()):
                if isinstance(end, Dirichlet):
                    value = self._value(end.value, component, (direction, side), t=t, like=like)
                    found.append(float(torch.as_tensor(value).detach().abs().max()))
        return max(found)

    def positions(self, component: int | None) -> list[Tensor]:
        """Coordinates along x, y, z of a component's faces (one more along its own direction), or of centres for None; float64."""
        lines = list(reversed(self.grid.axes()))
        if component is not None:
            axis = self.grid.ndim - 1 - component
            start, h, n = self.grid.axes()[axis][0], self.grid.spacing[axis], self.grid.shape[axis]
            lines[component] = start + h * (torch.arange(n + 1, dtype=torch.float64) - 0.5)
        return lines

    def points(self, component: int | None) -> Vector:
        """The same as fields x, y, z."""
        return tuple(reversed(torch.meshgrid(*reversed(self.positions(component)), indexing="ij")))

    def across(self, component: int, side: int, t: float, *, like: Tensor) -> Tensor | float | None:
        """The velocity across an end, to be put on its face; None where it is free or the axis periodic."""
        name = self._velocity[component]
        ends = self.pair(name, component)
        if ends is None or isinstance(ends[side], Outflow):
            return None
        end = ends[side]
        return self._value(end.value, component, (component, side), t=t, like=like) if isinstance(end, Dirichlet) else 0.0

    def extended(self, f: Tensor, name: str, direction: int, *, t: float) -> Tensor:
        """F with two values beyond both ends of a direction; across an end, and for the second value, what lies next to it again."""
        component = self._velocity.index(name) if name in self._velocity else None
        axis, ends = f.ndim - 1 - direction, self.pair(name, direction)
        n = f.shape[axis]
        if ends is None:
            skip = 1 if component == direction else 0  # the first face and the last are one
            low, high = f.narrow(axis, n - 2 - skip, 2), f.narrow(axis, skip, 2)
            return torch.cat([low, f, high], axis)
        outer = []
        for side, end in enumerate(ends):
            near = f.narrow(axis, side * (n - 1), 1)
            outer.append(near if component == direction else self._mirrored(near, end, component, (direction, side), t=t))
        low, high = outer
        return torch.cat([low, low, f, high, high], axis)

    def _mirrored(self, near: Tensor, end: Condition, component: int | None, place: tuple[int, int], *, t: float) -> Tensor:
        if isinstance(end, Dirichlet):
            return 2 * self._value(end.value, component, place, t=t, like=near) - near
        if isinstance(end, Neumann):
            return near + self.grid.spacing[self.grid.ndim - 1 - place[0]] * self._value(end.slope, component, place, t=t, like=near)
        return near

    def _value(self, value: BoundaryValue, component: int | None, place: tuple[int, int], *, t: float, like: Tensor) -> Tensor | float:
        if isinstance(value, Tensor):
            if value.ndim > 1 or (value.ndim == 1 and value.shape[0] not in (1, like.shape[0])):
                raise ShapeError(
                    f"boundary: expected a value of shape () or (B,) for fields of {like.shape[0]} samples, got {tuple(value.shape)}; "
                    "what varies along the end is a function of the coordinates and t"
                )
            return value.to(like) if value.ndim == 0 else value.to(like).reshape(-1, *([1] * self.grid.ndim))
        if not callable(value):
            return float(value)
        direction, side = place
        lines = self.positions(component)
        axis = self.grid.ndim - 1 - direction
        start, h = self.grid.axes()[axis][0], self.grid.spacing[axis]
        lines[direction] = (start - h / 2 + side * self.grid.extent[axis]).reshape(1)
        points = reversed(torch.meshgrid(*reversed(lines), indexing="ij"))
        return torch.as_tensor(value(*(p.to(like) for p in points), t)).to(like)
