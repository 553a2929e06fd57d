r"""Velocities at points, made free of the divergence that differences of neighbours see: with open ends, around obstacles.

The nearest velocity without divergence, $v - D^T\lambda$ with $D D^T\lambda = D v$, where D is the divergence of `FiniteDifference`, one-sided at
open ends. With one difference matrix $D_a$ per axis,

$$D D^T = \sum_a D_a D_a^T ,$$

each turned to a diagonal by the singular vectors of its own axis. Rows exist only where every difference takes points of the fluid alone. Those
that an obstacle takes away (R) are held at $\lambda_R = 0$ by q, with $A = D D^T$ of the whole box and Z what it maps to zero,

$$\lambda = A^{+}(b + E_R q) + Z c, \qquad
\begin{pmatrix} A^{+}_{RR} & Z_R \\ Z_R^T & 0 \end{pmatrix}\begin{pmatrix} q \\ c \end{pmatrix}
= -\begin{pmatrix} (A^{+} b)_R \\ Z^T b \end{pmatrix},$$

the capacitance matrix of Buzbee, Dorr, George and Golub (1971), for up to some thousand points beside obstacles; conjugate gradients beyond.

It is an orthogonal projection, so that no velocity comes farther from one without divergence. Differences of neighbours on both sides see no
checkerboard, nor can they take one away. Nothing is imposed at ends or obstacles: points beside an obstacle, of which no centred difference is
known, move with those around them. Where velocities live on faces, `FaceProjection` has the compact Laplacian and heeds walls.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.base.linalg import cg
from physdiff.grids.grid import Grid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.operators import Vector
from physdiff.operators.stencils import Stencil

__all__ = ["PointProjection"]

_DENSE = 2048  # 32 MiB of inverse


class PointProjection:
    """Projects velocities at points: components (..., *S) in the order x, y, z.

    Args:
        grid: A uniform CartesianGrid.
        mask: True in the fluid, bool of the grid's shape; everywhere if not given.
        order: Order of the differences, as in FiniteDifference.
        dense: Whether obstacles are met by a dense inverse; chosen by the number of points beside them if not given.

    Attributes:
        seen: Points whose divergence is taken, bool of the grid's shape: all their differences lie in the fluid.

    Raises:
        UnsupportedOperator: If an axis is not uniform.
        InputError: If the order is none of FiniteDifference's, an axis is too short for it, or no point is seen.
        ShapeError: If the mask has another shape.
    """

    def __init__(self, grid: Grid, mask: Tensor | None = None, *, order: int = 2, dense: bool | None = None) -> None:
        self.operators, self.grid = FiniteDifference(grid, order=order), grid
        self.fluid = torch.ones(grid.shape, dtype=torch.bool) if mask is None else _checked(mask, grid)
        self._lines = [self._line(axis, Stencil(1, order)) for axis in range(grid.ndim)]
        self.seen = self.fluid & ~self._reached([line != 0 for line in self._lines], ~self.fluid)
        if not bool(self.seen.any()):
            raise InputError(f"PointProjection: expected points whose neighbours are fluid, got {int(self.fluid.sum())} points of fluid without any")
        parts = [torch.linalg.svd(line) for line in self._lines]
        self._vectors = [u for u, _, _ in parts]
        total = torch.zeros((), dtype=torch.float64)
        for axis, (_, values, _) in enumerate(parts):
            values = torch.where(values > 1e-12 * len(values) * values[0], values, 0.0)  # D_a maps constants to zero, to rounding
            total = total + values.square().reshape([-1 if a == axis else 1 for a in range(grid.ndim)])
        self._inverse = torch.where(total == 0, 0.0, 1 / torch.where(total == 0, 1.0, total))
        self._beside = self._reached([(line @ line.T).abs() > 0 for line in self._lines], self.seen) & ~self.seen
        self.dense = int(self._beside.sum()) <= _DENSE if dense is None else dense
        self._null = self._null_fields(total)
        self._border = self._bordered() if self.dense and bool(self._beside.any()) else None
        self._kept: dict[tuple[str, torch.device], Tensor] = {}

    def divergence(self, v: Vector) -> Tensor:
        """At the points that are seen, zero elsewhere, (..., *S) float64."""
        fluid = self._on("fluid", self.fluid, v[0])
        filled = tuple(torch.where(fluid, c, 0.0).double() for c in self.operators.check_vector(v, "divergence"))
        return torch.where(self._on("seen", self.seen, v[0]), self.operators.div(filled), 0.0)

    def project(self, v: Vector) -> Vector:
        """The nearest velocity without divergence; what is not fluid stays as it is, NaN too. Inside is float64, the result has v's dtype.

        Raises:
            Diverged: If the iteration of many points beside obstacles does not come down to rounding.
        """
        multiplier = self._solve(self.divergence(v))
        # rows that are seen have no column outside the fluid: what is there moves by an exact zero
        moves = [self._apply(line.T, multiplier, axis, name=f"line {axis}") for axis, line in enumerate(self._lines)]
        return tuple((c.double() - m).to(c) for c, m in zip(v, reversed(moves), strict=True))

    def _solve(self, b: Tensor) -> Tensor:
        """Lambda, zero where nothing is seen."""
        first, beside = self._pseudo(b), self._on("beside", self._beside, b)
        if not bool(self._beside.any()):
            return first
        if self._border is None:
            return self._iterated(b)
        null = self._on("null", self._null, b)
        border, flat = self._on("border", self._border, b), b.flatten(b.ndim - self.grid.ndim)
        known = torch.cat([first[..., beside], flat @ null.flatten(1).T], -1)
        found = -known @ border
        count = found.shape[-1] - len(null)
        held = torch.zeros_like(b)
        held[..., beside] = found[..., :count]
        whole = first + self._pseudo(held) + torch.tensordot(found[..., count:], null, 1)
        return torch.where(self._on("seen", self.seen, b), whole, 0.0)

    def _iterated(self, b: Tensor) -> Tensor:
        seen, null = self._on("seen", self.seen, b), self._on("null", self._null, b)
        rows = b.reshape(-1, *self.grid.shape)

        def normal(x: Tensor) -> Tensor:
            return torch.where(seen, self._normal(x), 0.0)

        def nearly(x: Tensor) -> Tensor:  # of A + Z Z^T, which has an inverse
            return torch.where(seen, self._pseudo(x) + torch.tensordot(x.flatten(1) @ null.flatten(1).T, null, 1), 0.0)

        found = cg(normal, rows, rtol=1e-13, max_iter=2000, precondition=nearly)
        left, size = (rows - normal(found)).abs().max(), rows.abs().max()
        if float(left) > 1e-9 * float(size):
            raise Diverged("divergence", 2000.0, f"{float(left / size):.2g} of it is left; PointProjection(..., dense=True) needs no iteration")
        return found.reshape(b.shape)

    def _normal(self, x: Tensor) -> Tensor:
        """D D^T."""
        parts = [self._apply(line @ line.T, x, axis, name=f"square {axis}") for axis, line in enumerate(self._lines)]
        return sum(parts[1:], parts[0])

    def _pseudo(self, b: Tensor) -> Tensor:
        """A^+ b."""
        for axis, u in enumerate(self._vectors):
            b = self._apply(u.T, b, axis, name=f"to {axis}")
        b = b * self._on("inverse", self._inverse, b)
        for axis, u in enumerate(self._vectors):
            b = self._apply(u, b, axis, name=f"from {axis}")
        return b

    def _apply(self, matrix: Tensor, f: Tensor, axis: int, *, name: str) -> Tensor:
        placed, along = self._on(name, matrix, f), f.ndim - self.grid.ndim + axis
        return torch.movedim(torch.movedim(f, along, -1) @ placed.T, -1, along)

    def _on(self, name: str, m: Tensor, like: Tensor) -> Tensor:
        """A tensor of this object on the device of a field, moved once."""
        if like.device == m.device:
            return m
        if (name, like.device) not in self._kept:
            self._kept[name, like.device] = m.to(like.device)
        return self._kept[name, like.device]

    def _line(self, axis: int, stencil: Stencil) -> Tensor:
        one = torch.eye(self.grid.shape[axis], dtype=torch.float64)
        made = stencil.periodic(one, 0) if self.grid.periodic[axis] else stencil.open(one, 0)
        return made / self.operators.grid.spacing[axis]

    def _reached(self, patterns: list[Tensor], points: Tensor) -> Tensor:
        """Points that one of the patterns, along its axis, joins to some of these."""
        found = torch.zeros_like(points)
        for axis, pattern in enumerate(patterns):
            found |= torch.movedim(torch.movedim(points.double(), axis, -1) @ pattern.double().T, -1, axis) > 0
        return found

    def _null_fields(self, total: Tensor) -> Tensor:
        """Z, an orthonormal basis (k, *S) of what A maps to zero."""
        fields = []
        for at in (total == 0).nonzero().tolist():
            z = torch.ones((), dtype=torch.float64)
            for axis, i in enumerate(at):
                z = z[..., None] * self._vectors[axis][:, i]
            fields.append(z)
        return torch.stack(fields) if fields else torch.zeros(0, *self.grid.shape, dtype=torch.float64)

    def _bordered(self) -> Tensor:
        """The inverse of the small system, (R + k, R + k)."""
        places = self._beside.reshape(-1).nonzero()[:, 0]
        rows = []
        for part in torch.split(places, 128):
            unit = torch.zeros(len(part), self._beside.numel(), dtype=torch.float64)
            unit[torch.arange(len(part)), part] = 1.0
            rows.append(self._pseudo(unit.reshape(-1, *self.grid.shape))[:, self._beside])
        side = self._null[:, self._beside]
        corner = torch.zeros(len(side), len(side), dtype=torch.float64)
        system = torch.cat([torch.cat([torch.cat(rows), side.T], 1), torch.cat([side, corner], 1)])
        inverse: Tensor = torch.linalg.pinv((system + system.T) / 2, hermitian=True)
        return inverse


def _checked(mask: Tensor, grid: Grid) -> Tensor:
    found = torch.as_tensor(mask).detach().cpu()
    if found.dtype != torch.bool:
        raise InputError(f"PointProjection mask: expected booleans (True in the fluid), got {found.dtype}; write fluid > 0.5")
    if tuple(found.shape) != tuple(grid.shape):
        raise ShapeError(f"PointProjection mask: expected the grid's shape {tuple(grid.shape)} in storage order, got {tuple(found.shape)}")
    return found
