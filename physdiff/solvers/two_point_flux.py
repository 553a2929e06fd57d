r"""Fluxes between neighbouring cells: the divergence of a diffusive flux on a box, conserving to rounding.

$$q_{i+1/2} = \bar a_{i+1/2}\,\frac{p_{i+1} - p_i}{h}, \qquad (\nabla\cdot a\nabla p)_i = \sum_{axes} \frac{q_{i+1/2} - q_{i-1/2}}{h}$$

with values at the centres of the cells and $\bar a$ the harmonic mean of both sides (exact for layers: two half cells in series) or the arithmetic
one. A wall is half a cell from the outermost centre, where $\alpha p + \beta\,\partial_n p = g$ gives
$\partial_n p = (g - \alpha p_0)/(\alpha h/2 + \beta)$. With constant coefficients the map is a sum of one matrix per axis and is inverted by their
eigenvectors, which makes a preconditioner whose iterations do not grow with the grid.

References: Eymard, Gallouet and Herbin, Finite volume methods, 2000; Lynch, Rice and Thomas, 1964 (fast diagonalisation).
"""

from __future__ import annotations

from functools import cached_property
from math import prod

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import GridMismatch, InputError, ShapeError
from physdiff.grids.boundary import Boundary, BoundaryValue, Condition, Dirichlet, Neumann, Reflecting, Robin, ends_of
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid

__all__ = ["TwoPointFlux", "face_mean"]

_MEANS = ("arithmetic", "harmonic")


def face_mean(left: Tensor, right: Tensor, mean: str) -> Tensor:
    """Coefficient of a face from those of the cells on both sides (at least zero): ``"harmonic"`` or ``"arithmetic"``."""
    if mean == "arithmetic":
        return (left + right) / 2
    total = left + right
    return 2 * left * right / torch.where(total > 0, total, torch.ones_like(total))


class TwoPointFlux:
    """Divergence of a grad p and the fluxes through faces, for fields (B, *S) on a uniform CartesianGrid.

    Args:
        grid: Periodic axes close; open ones have their walls half a cell outside the outermost centres.
        boundary: Conditions at the walls for p: Dirichlet, Neumann, Robin, Reflecting (no flux), in any form `ends_of` takes.
        mean: Of the coefficient at a face, ``"harmonic"`` or ``"arithmetic"``.

    Attributes:
        ends: For each axis the factors a, b and the value of a p + b dp/dn = value at its lower and upper end; () where it closes.

    Raises:
        GridMismatch: If the grid is not a uniform CartesianGrid, or has a single cell along an axis.
        InputError: If an open end has no condition or one this flux cannot hold.
    """

    def __init__(self, grid: Grid, boundary: Boundary, *, mean: str = "harmonic") -> None:
        if not isinstance(grid, CartesianGrid) or not grid.uniform or min(grid.shape) < 2:
            raise GridMismatch(f"TwoPointFlux: expected a uniform CartesianGrid with at least two cells along each axis, got {grid.summary()}")
        self.grid, self.mean = grid, check_one_of(mean, _MEANS, "TwoPointFlux mean")
        ends = ends_of(boundary, grid)
        self.ends: list[tuple[tuple[float, float, BoundaryValue], ...]] = []
        for name, closed in zip(grid.dims, grid.periodic, strict=True):
            if not closed and name not in ends:
                raise InputError(f"TwoPointFlux boundary: expected a condition for both ends of the open axis {name}, got none; name it")
            self.ends.append(() if closed else tuple(_robin(end, name) for end in ends[name]))

    @property
    def singular(self) -> bool:
        """Whether a constant may be added to p: no wall holds its value."""
        return all(a == 0 for ends in self.ends for a, _, _ in ends)

    def fluxes(self, a: Tensor, p: Tensor, *, t: float = 0.0, homogeneous: bool = False) -> list[Tensor]:
        """A times the derivative of p at all faces, one tensor per axis in storage order, with n + 1 faces along it.

        Args:
            a: Coefficient at the centres, at least zero, (B or 1, *S).
            p: Field (B, *S).
            t: Time, for walls that change with it.
            homogeneous: With zero in place of the walls' values: the linear part.
        """
        return [self._along(axis, a, p, t=t, homogeneous=homogeneous) for axis in range(self.grid.ndim)]

    def divergence(self, a: Tensor, p: Tensor, *, t: float = 0.0, homogeneous: bool = False) -> Tensor:
        """The divergence of a grad p in each cell, (B, *S)."""
        total = torch.zeros_like(p)
        for axis, q in enumerate(self.fluxes(a, p, t=t, homogeneous=homogeneous)):
            k, n = self._place(axis), self.grid.shape[axis]
            total = total + (q.narrow(k, 1, n) - q.narrow(k, 0, n)) / self.grid.spacing[axis]
        return total

    def through_walls(self, a: Tensor, p: Tensor, *, t: float = 0.0) -> Tensor:
        """Integral of a dp/dn over all walls, (B,): what the divergence of all cells sums up to."""
        total = p.new_zeros(p.shape[0])
        cell = prod(self.grid.spacing)
        for axis, q in enumerate(self.fluxes(a, p, t=t)):
            k = self._place(axis)
            net = q.select(k, -1) - q.select(k, 0)  # zero around a circle
            total = total + net.reshape(net.shape[0], -1).sum(1) * (cell / self.grid.spacing[axis])
        return total

    def inverse_of_constant(self, b: Tensor) -> Tensor:
        """The p with minus the divergence of grad p equal to b, walls at zero values; of zero mean where `singular`."""
        modes = self._modes
        for axis, (vectors, _) in enumerate(modes):
            b = _apply(vectors.mT.to(b), b, self._place(axis))
        decay = sum((v.reshape(-1, *([1] * (self.grid.ndim - 1 - axis))) for axis, (_, v) in enumerate(modes)), torch.zeros((), dtype=torch.float64))
        decay = decay.to(b)
        kept = decay > 1e-10 * decay.max()
        b = torch.where(kept, b / torch.where(kept, decay, torch.ones_like(decay)), torch.zeros_like(b))
        for axis, (vectors, _) in enumerate(modes):
            b = _apply(vectors.to(b), b, self._place(axis))
        return b

    def _place(self, axis: int) -> int:
        return axis - self.grid.ndim

    def _along(self, axis: int, a: Tensor, p: Tensor, *, t: float, homogeneous: bool) -> Tensor:
        k, h, n = self._place(axis), self.grid.spacing[axis], self.grid.shape[axis]
        a = a.expand(torch.broadcast_shapes(a.shape, p.shape))
        inner = face_mean(a.narrow(k, 0, n - 1), a.narrow(k, 1, n - 1), self.mean) * (p.narrow(k, 1, n - 1) - p.narrow(k, 0, n - 1)) / h
        if self.grid.periodic[axis]:
            seam = face_mean(a.narrow(k, n - 1, 1), a.narrow(k, 0, 1), self.mean) * (p.narrow(k, 0, 1) - p.narrow(k, n - 1, 1)) / h
            return torch.cat([seam, inner, seam], dim=k)
        walls = []
        for side, (alpha, beta, value) in enumerate(self.ends[axis]):
            cell = side * (n - 1)
            given = 0.0 if homogeneous else self._value(value, axis, side, like=p, t=t)
            slope = (given - alpha * p.narrow(k, cell, 1)) / (alpha * h / 2 + beta)
            walls.append((1 if side else -1) * a.narrow(k, cell, 1) * slope)
        return torch.cat([walls[0], inner, walls[1]], dim=k)

    def _value(self, value: BoundaryValue, axis: int, side: int, *, like: Tensor, t: float) -> float | Tensor:
        """The wall's value, ready for products with a layer of cells (B, ..., 1, ...)."""
        if callable(value) and not isinstance(value, Tensor):
            grid, k = self.grid, self._place(axis)
            wall = grid.origin[axis] + side * grid.extent[axis]
            cells = [c.narrow(k, side * (grid.shape[axis] - 1), 1).to(like) for c in grid.coordinates()]
            cells[grid.ndim - 1 - axis] = torch.full_like(cells[grid.ndim - 1 - axis], wall)
            return value(*cells, t)
        if isinstance(value, Tensor):
            if value.ndim > 1:
                raise ShapeError(f"boundary value: expected a number, a Tensor () or (B,), or a function of (x, ..., t), got {tuple(value.shape)}")
            return value.to(like).reshape(-1, *([1] * self.grid.ndim)) if value.ndim else value.to(like)
        return value

    @cached_property
    def _modes(self) -> list[tuple[Tensor, Tensor]]:
        """Eigenvectors and eigenvalues of minus the second difference along each axis."""
        made = []
        for axis, (n, h, closed) in enumerate(zip(self.grid.shape, self.grid.spacing, self.grid.periodic, strict=True)):
            one = torch.eye(n, dtype=torch.float64, device="cpu")
            matrix = 2 * one - one.roll(1, 0) - one.roll(-1, 0)
            if not closed:
                matrix = (one[1:] - one[:-1]).mT @ (one[1:] - one[:-1])
                for cell, (alpha, beta, _) in zip((0, n - 1), self.ends[axis], strict=True):
                    matrix[cell, cell] += alpha * h / (alpha * h / 2 + beta)
            values, vectors = torch.linalg.eigh(matrix / h**2)
            made.append((vectors, values))
        return made


def _robin(end: Condition, name: str) -> tuple[float, float, BoundaryValue]:
    """Factors a, b and the value of a p + b dp/dn = value."""
    if isinstance(end, Dirichlet):
        return 1.0, 0.0, end.value
    if isinstance(end, Neumann):
        return 0.0, 1.0, end.slope
    if isinstance(end, Reflecting):
        return 0.0, 1.0, 0.0
    if isinstance(end, Robin):
        if end.a * end.b < 0:
            raise InputError(f"boundary {name}: expected a Robin condition with a and b of one sign (the wall resists), got a = {end.a}, b = {end.b}")
        return end.a, end.b, end.value
    raise InputError(f"boundary {name}: expected Dirichlet, Neumann, Robin or Reflecting for a diffusive flux, got {type(end).__name__}")


def _apply(matrix: Tensor, f: Tensor, axis: int) -> Tensor:
    return torch.movedim(torch.movedim(f, axis, -1) @ matrix.mT, -1, axis)
