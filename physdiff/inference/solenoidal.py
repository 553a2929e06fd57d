r"""The nearest flow without divergence, or with that of another: an orthogonal projection of windows.

$$P v = v - D^T (D D^T)^{+} D v, \qquad u = w + P(v - w)$$

u has the divergence of w, and is the nearest to v that has it. In a periodic box D is spectral; with open ends or an obstacle it is that of
`FiniteDifference` at all points whose neighbours are fluid (`PointProjection`). Frames of a flow that is free of divergence are that only up to the
error of D: beside an obstacle a few points wide this is no small number, and to take the divergence of a known frame as what is due costs less than
zero does. Reference: Chorin, Numerical solution of the Navier-Stokes equations (1968), for the projection.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, UnitError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.operators.operators import Vector
from physdiff.operators.point_projection import PointProjection
from physdiff.operators.spectral import Spectral

__all__ = ["Solenoidal"]


class Solenoidal:
    """Moves the velocity of windows (B, C, T, *S) to the nearest one without divergence; other fields stay, and what the mask leaves out.

    Also what `constrained_flow` takes as `correct`, and what cleans training windows.

    Args:
        spec: What the windows are, on a uniform CartesianGrid.
        names: The components of the velocity, in the order x, y, z.
        order: Order of the differences where the box is not periodic along all axes or has a mask: 2, 4, 6 or 8.

    Raises:
        InputError: If a component is missing or named twice, they are not one for each axis, or the grid is another one.
        UnitError: If their units differ.
    """

    def __init__(self, spec: FieldSpec, names: tuple[str, ...] = ("u", "v"), *, order: int = 4) -> None:
        self.spec, self.names, grid = spec, tuple(names), spec.grid
        self._channels = [spec.channel(name) for name in self.names]
        if len(set(self.names)) != grid.ndim or len(self.names) != grid.ndim:
            raise InputError(f"Solenoidal: expected {grid.ndim} components (order x, y, z), one for each axis, got {', '.join(self.names)}")
        units = {spec.units[c] for c in self._channels}
        if len(units) > 1:
            raise UnitError(f"Solenoidal: expected {', '.join(self.names)} in one unit, got {', '.join(sorted(units))}; convert them")
        if not isinstance(grid, CartesianGrid) or not grid.uniform:
            raise InputError(f"Solenoidal: expected a uniform CartesianGrid, got {grid.summary()}; on the sphere and on uneven axes nothing projects")
        self._at_once = Spectral(grid) if all(grid.periodic) and spec.mask is None else None
        self._points = None if self._at_once is not None else PointProjection(grid, spec.mask, order=order)

    def __call__(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        """The nearest windows without divergence.

        Args:
            x: (B, C, T, *S).
            like: Windows or single frames (T = 1) whose divergence is kept in place of none.

        Returns:
            A new tensor of x's shape and dtype.
        """
        moved, kept = self._velocity(x), None if like is None else self._velocity(like)
        start = moved if kept is None else tuple(a - b for a, b in zip(moved, kept, strict=True))
        free = self._project(start)
        out, mask = x.clone(), self.spec.mask
        for c, a, b, v in zip(self._channels, start, free, moved, strict=True):
            out[:, c] = (v - (a - b) if mask is None else torch.where(mask.to(v.device), v - (a - b), v)).to(x)
        return out

    def divergence(self, x: Tensor) -> Tensor:
        """The divergence that is taken away, (B, T, *S) float64: zero at points that have no difference in the fluid."""
        v = self._velocity(x)
        return self._points.divergence(v) if self._points is not None else self._spectral.div(v)

    @property
    def _spectral(self) -> Spectral:
        assert self._at_once is not None
        return self._at_once

    def _project(self, v: Vector) -> Vector:
        return self._points.project(v) if self._points is not None else self._spectral.project(v)

    def _velocity(self, x: Tensor) -> Vector:
        self.spec.check(x, "Solenoidal")
        return tuple(x[:, c].double() for c in self._channels)
