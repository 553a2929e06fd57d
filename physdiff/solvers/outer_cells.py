r"""Cells beyond the ends of a grid, filled from boundary conditions.

Periodic axes wrap. At an open end, with $f_j$ the j-th cell from the wall and $g_j$ the j-th ghost beyond it:

$$\text{Outflow } g_j = f_1, \qquad \text{Reflecting } g_j = \pm f_j, \qquad \text{Neumann } g_j = f_j + (2j-1)\,h\,\partial_n f,$$

and `Dirichlet` is the state outside, $g_j = f_b$, of which a Riemann solver lets in what moves inwards; for derivatives (`mirrored`) it is the value
at the wall, $g_j = 2 f_b - f_j$. `Reflecting` turns the sign of components across the wall, known by their names (`momentum_x`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.boundary import Boundary, BoundaryValue, Condition, Dirichlet, Ends, Neumann, Outflow, Reflecting, ends_of
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Vector

__all__ = ["OuterCells"]


class OuterCells:
    """Extends fields (B, *S) of a uniform grid beyond its ends.

    Args:
        grid: The grid.
        fields: Names of the fields.
        boundary: Conditions at the open ends; None where there are none.

    Raises:
        InputError: If an open end has no condition, one that cannot be had, or a field of a mapping is unknown.
    """

    def __init__(self, grid: CartesianGrid, fields: Sequence[str], boundary: Boundary | None) -> None:
        self.grid = grid
        self._ends = {name: {} if boundary is None else ends_of(boundary, grid, name) for name in fields}
        if boundary is not None and not isinstance(boundary, Condition):
            unknown = [key for key in boundary if key not in grid.dims and key not in fields]
            if unknown:
                raise InputError(f"FiniteVolume boundary: expected axes ({', '.join(grid.dims)}) or fields ({', '.join(fields)}), got {unknown[0]!r}")
        for name in fields:
            for axis, closed in zip(grid.dims, grid.periodic, strict=True):
                if not closed:
                    self._check(name, axis)

    def _check(self, field: str, axis: str) -> None:
        if axis not in self._ends[field]:
            raise InputError(
                f"FiniteVolume: the axis {axis} is open and nothing is said about `{field}` at its ends; give boundary=Outflow(), "
                "Reflecting(), or conditions by axis or field, or make the grid periodic"
            )
        for condition in self._ends[field][axis]:
            if not isinstance(condition, Outflow | Reflecting | Dirichlet | Neumann):
                raise InputError(f"FiniteVolume: expected Outflow, Reflecting, Dirichlet or Neumann for `{field}` along {axis}, got {condition!r}")

    def extend(self, u: Fields, direction: int, depth: int, *, t: float, wider: Sequence[int] = (), mirrored: bool = False) -> dict[str, Tensor]:
        """The fields with `depth` more cells at both ends of one direction.

        Args:
            u: Fields (B, *S), possibly extended along other axes already.
            direction: 0, 1, 2 for x, y, z.
            depth: Ghost cells at either end, at most as many as there are cells.
            t: Time, for conditions that depend on it.
            wider: By how many cells each axis (storage order) has been extended at either end; none if empty.
            mirrored: Whether `Dirichlet` is the value at the wall, for derivatives, and not the state outside.
        """
        axis = self.grid.ndim - 1 - direction
        name, closed = self.grid.dims[axis], self.grid.periodic[axis]
        if depth > self.grid.shape[axis]:
            raise InputError(f"FiniteVolume: expected at least {depth} cells along {name}, got {self.grid.shape[axis]}; take a larger grid")
        made = {}
        for field, f in u.items():
            if closed:
                made[field] = _wrapped(f, -1 - direction, depth)
                continue
            sign = -1.0 if field.endswith(f"_{name}") else 1.0
            parts = []
            for side, condition in enumerate(self._ends[field][name]):
                value = self._value(condition, direction, side, t=t, wider=wider, like=f)
                parts.append(_beyond(f, condition, -1 - direction, depth=depth, side=side, sign=sign, value=value, mirrored=mirrored))
            made[field] = torch.cat([parts[0], f, parts[1]], dim=-1 - direction)
        return made

    def places(self, direction: int, depth: int) -> Vector:
        """Coordinates of the extended cells: those of the cells which the ghosts are copies of, so that ground is mirrored like water."""
        axis = self.grid.ndim - 1 - direction
        made = []
        for i, x in enumerate(self.grid.coordinates()):
            if self.grid.periodic[axis]:
                made.append(_wrapped(x, -1 - direction, depth))
                continue
            ends: Ends = next(iter(self._ends.values()))[self.grid.dims[axis]]
            parts = []
            for side, condition in enumerate(ends):
                wall = self.grid.origin[axis] + side * self.grid.extent[axis]
                at = torch.full_like(x.narrow(-1 - direction, 0, 1), wall) if i == direction else x.narrow(-1 - direction, 0, 1)
                flat = Neumann(0.0) if isinstance(condition, Neumann) else condition
                parts.append(_beyond(x, flat, -1 - direction, depth=depth, side=side, sign=1.0, value=at, mirrored=False))
            made.append(torch.cat([parts[0], x, parts[1]], dim=-1 - direction))
        return tuple(made)

    def _value(self, condition: Condition, direction: int, side: int, *, t: float, wider: Sequence[int], like: Tensor) -> float | Tensor:
        """What a condition prescribes, ready to broadcast; slopes are times the distance of each ghost from its mirror image."""
        grid, axis = self.grid, self.grid.ndim - 1 - direction
        if not isinstance(condition, Dirichlet | Neumann):
            return 0.0
        value: BoundaryValue = condition.value if isinstance(condition, Dirichlet) else condition.slope
        if callable(value) and not isinstance(value, Tensor):
            axes = []
            for k, x in enumerate(grid.axes()):
                more = wider[k] if wider else 0
                if k == axis:
                    axes.append(torch.tensor([grid.origin[k] + side * grid.extent[k]], dtype=x.dtype))
                else:
                    axes.append(x[0] + (torch.arange(len(x) + 2 * more, dtype=x.dtype) - more) * grid.spacing[k])
            points = reversed(torch.meshgrid(*axes, indexing="ij"))
            value = value(*(p.to(like) for p in points), t)
        elif isinstance(value, Tensor):
            value = value.to(like)
            value = value.reshape(-1, *([1] * grid.ndim)) if value.ndim == 1 else value
        return value * grid.spacing[axis] if isinstance(condition, Neumann) else value


def _wrapped(f: Tensor, axis: int, depth: int) -> Tensor:
    n = f.shape[axis]
    return torch.cat([f.narrow(axis, n - depth, depth), f, f.narrow(axis, 0, depth)], dim=axis)


def _beyond(
    f: Tensor, condition: Condition, axis: int, *, depth: int, side: int, sign: float, value: float | Tensor, mirrored: bool
) -> Tensor:
    """The ghost cells of one end, in storage order."""
    n = f.shape[axis]
    image = f.narrow(axis, n - depth if side else 0, depth).flip(axis)
    if isinstance(condition, Outflow):
        return f.narrow(axis, n - 1 if side else 0, 1).expand_as(image)
    if isinstance(condition, Reflecting):
        return sign * image
    if isinstance(condition, Neumann):
        away = torch.arange(1, depth + 1, dtype=f.dtype, device=f.device)
        distance = (2 * (away if side else away.flip(0)) - 1).reshape(-1, *([1] * (-1 - axis)))
        return image + value * distance
    return 2 * value - image if mirrored else value + torch.zeros_like(image)
