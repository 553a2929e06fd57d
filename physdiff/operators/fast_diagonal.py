r"""Poisson's and Helmholtz' equations on a box with any pair of ends on each axis, solved at once by eigenvectors.

The (2 d + 1)-point Laplacian is a sum of one symmetric matrix per axis, $\sum_a T_a$, $T_a = V_a\Lambda_a V_a^T$, so that

$$g = V\,(\Lambda_1 + \dots + \Lambda_d)^{-1}\,V^T f ,$$

2 d products with small matrices. Where both ends of an axis are of one kind, cosines and sines do the same (`WallPoisson`); here the ends may
differ, as those of a channel do, and at a few hundred points a product is as fast as a transform. Reference: Lynch, Rice and Thomas, Direct
solution of partial difference equations by tensor product methods (1964).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError, ShapeError

__all__ = ["FastDiagonal", "Line"]

_BEYOND = {"closed": 1.0, "node": 0.0, "face": -1.0}  # the value beyond an end as a multiple of the last one


@dataclass(frozen=True)
class Line:
    """The points of one axis and what holds beyond its ends.

    Args:
        points: Number of points.
        spacing: Distance between them.
        ends: For the lower and the upper end: ``"closed"`` (no slope half a spacing beyond the last point), ``"face"`` (zero there) or ``"node"``
            (zero a whole spacing beyond); ``"periodic"`` for both.
    """

    points: int
    spacing: float
    ends: tuple[str, str]

    def __post_init__(self) -> None:
        if self.ends == ("periodic", "periodic"):
            return
        for end in self.ends:
            check_one_of(end, _BEYOND, "Line ends")

    @property
    def holds(self) -> bool:
        """Whether an end holds the value, so that no constant solves the equation."""
        return any(end in ("node", "face") for end in self.ends)

    def matrix(self) -> Tensor:
        """The second difference, (n, n), float64."""
        n = self.points
        made = torch.zeros(n, n, dtype=torch.float64)
        at = torch.arange(n)
        made[at, at] = -2.0
        made[at[1:], at[:-1]] = made[at[:-1], at[1:]] = 1.0
        if self.ends[0] == "periodic":
            made[0, -1] += 1.0
            made[-1, 0] += 1.0
        elif n == 1:
            made[0, 0] += sum(_BEYOND[end] for end in self.ends)
        else:
            made[0, 0], made[-1, -1] = (_BEYOND[end] - 2.0 for end in self.ends)
        return made / self.spacing**2


class FastDiagonal:
    """Solves with the Laplacian of lines (storage order), for fields (..., *S).

    Args:
        lines: One for each axis.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = tuple(lines)
        pairs = [torch.linalg.eigh(line.matrix()) for line in self.lines]
        self.singular = not any(line.holds for line in self.lines)
        total = torch.zeros((), dtype=torch.float64)
        for axis, ((values, _), line) in enumerate(zip(pairs, self.lines, strict=True)):
            if not line.holds:
                values[-1] = 0.0  # constants, whose eigenvalue rounding makes a small number
            total = total + values.reshape([-1 if a == axis else 1 for a in range(len(pairs))])
        self._symbol, self._vectors = total, [vectors for _, vectors in pairs]
        self._kept: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, list[Tensor]]] = {}

    def poisson(self, f: Tensor) -> Tensor:
        """The g with lap g = f; where constants are solutions too, lap g = f - mean(f) with g of zero mean."""
        _, inverse, vectors = self._on(f)
        return self._turned(self._turned(f, vectors, back=False) * inverse, vectors, back=True)

    def helmholtz(self, f: Tensor, a: float | Tensor) -> Tensor:
        """The g with g - a lap g = f.

        Args:
            f: Right-hand side (..., *S).
            a: At least zero, length squared (a viscosity times a step); a number or a Tensor that broadcasts against f.
        """
        if bool((torch.as_tensor(a) < 0).any()):
            raise InputError(f"FastDiagonal helmholtz: expected a of at least zero, got {a!r}; below, the equation may have no solution")
        symbol, _, vectors = self._on(f)
        return self._turned(self._turned(f, vectors, back=False) / (1 - a * symbol), vectors, back=True)

    def laplacian(self, f: Tensor) -> Tensor:
        """The sum of the second differences along all axes."""
        self._on(f)
        total = torch.zeros_like(f)
        for k, line in enumerate(self.lines):
            axis, n = f.ndim - len(self.lines) + k, line.points
            first, last = f.narrow(axis, 0, 1), f.narrow(axis, n - 1, 1)
            low, high = (last, first) if line.ends[0] == "periodic" else (_BEYOND[line.ends[0]] * first, _BEYOND[line.ends[1]] * last)
            wide = torch.cat([low, f, high], axis)
            total = total + (wide.narrow(axis, 0, n) - 2 * f + wide.narrow(axis, 2, n)) / line.spacing**2
        return total

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        shape = tuple(line.points for line in self.lines)
        if tuple(like.shape[like.ndim - len(shape) :]) != shape:
            raise ShapeError(f"FastDiagonal: expected a field of shape (..., {', '.join(map(str, shape))}), got {tuple(like.shape)}")
        key = (like.dtype, like.device)
        if key not in self._kept:
            inverse = torch.where(self._symbol == 0, 0.0, 1 / torch.where(self._symbol == 0, 1.0, self._symbol))
            self._kept[key] = (self._symbol.to(like), inverse.to(like), [v.to(like) for v in self._vectors])
        return self._kept[key]

    def _turned(self, f: Tensor, vectors: list[Tensor], *, back: bool) -> Tensor:
        for k, v in enumerate(vectors):
            axis = f.ndim - len(vectors) + k
            v = v if back else v.T
            f = f @ v.T if axis == f.ndim - 1 else (v @ f if axis == f.ndim - 2 else torch.movedim(torch.tensordot(v, f, ([1], [axis])), 0, axis))
        return f
