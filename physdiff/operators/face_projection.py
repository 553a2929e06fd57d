r"""Velocities on the faces of cells, made free of divergence to rounding: in boxes with walls, inflow and outflow, around obstacles.

The divergence at centres and the difference on faces are each other's negative transpose, so that $\nabla_h\cdot\nabla_h$ is the
(2 d + 1)-point Laplacian and $u - \nabla_h\phi$, $\Delta_h\phi = \nabla_h\cdot u$, has no divergence (Harlow and Welch, 1965). Faces whose
velocity is given (walls, inflow) have no difference of $\phi$; at an open end $\phi$ is zero on the face itself.

Obstacles close faces. With $g_f^T$ the difference across a closed face f, the Laplacian loses $\sum g_f g_f^T$, and

$$\phi = A^{-1}\big(b + G^T q\big), \qquad (I - G A^{-1} G^T)\,q = G A^{-1} b, \qquad A = -\Delta_h,$$

two solves in the whole box and one small system, the capacitance matrix, which is as good as independent of the spacing: solved by its inverse up
to some thousand faces, by conjugate gradients beyond. Reference: Buzbee, Dorr, George and Golub, The direct solution of the discrete Poisson
equation on irregular regions (1971).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.linalg import cg
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.operators.fast_diagonal import FastDiagonal, Line
from physdiff.operators.operators import Vector

__all__ = ["FaceProjection"]

_DENSE = 2048  # 32 MiB of inverse; its eigenvectors take some seconds, once


class FaceProjection:
    """Projects face velocities: component i (..., *S) with one face more along its own axis; a periodic axis has its first face twice.

    Args:
        grid: A uniform CartesianGrid.
        open_ends: For each direction (x, y, z) whether its lower and its upper end let the flow out at zero pressure; False for what is given there.
        solid: Cells that are obstacles, bool of the grid's shape; none if not given.

    Attributes:
        fluid: For each direction 1.0 on faces between two cells of fluid, 0.0 on closed ones, with one face more along its axis, float64.
        dense: Whether the system of the obstacles' faces is solved by its inverse.

    Raises:
        InputError: If the grid is another one, an open end is on a periodic axis, or the obstacles leave no fluid.
        ShapeError: If the obstacles have another shape.
    """

    def __init__(self, grid: Grid, open_ends: tuple[tuple[bool, bool], ...], solid: Tensor | None = None, *, dense: bool | None = None) -> None:
        if not isinstance(grid, CartesianGrid) or not grid.uniform:
            raise InputError(f"FaceProjection: expected a uniform CartesianGrid, got {grid.summary()}; regrid")
        self.grid, self.open_ends, self._spacings = grid, tuple(open_ends), grid.spacing
        for i, ends in enumerate(self.open_ends):
            if any(ends) and self._periodic(i):
                raise InputError(f"FaceProjection: {'xyz'[i]} is a periodic axis and has no end to let the flow out; make the grid open along it")
        self.solid = torch.zeros(grid.shape, dtype=torch.bool) if solid is None else _checked(solid, grid)
        self._box = FastDiagonal([Line(self._cells(i), self._spacing(i), self._kinds(i)) for i in reversed(range(grid.ndim))])
        self._kept: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self.fluid = tuple(self._open_faces(i) for i in range(grid.ndim))
        self._rows = self._closed_rows()
        self.dense = self._rows[0].numel() <= _DENSE if dense is None else dense
        self._regions = self._labels()
        self._constants = self._orthogonal_jumps()
        self._inverse = self._made_inverse() if self.dense and self._rows[0].numel() else None
        wet = [self._regions == v for v in self._closed_regions()]
        self._sealed = [part for part in wet if not bool((part & self.solid).any())]

    def divergence(self, faces: Vector) -> Tensor:
        """At centres, (..., *S)."""
        total: Tensor | None = None
        for i, f in enumerate(faces):
            axis, n = self._along(f, i), self._cells(i)
            part = (f.narrow(axis, 1, n) - f.narrow(axis, 0, n)) / self._spacing(i)
            total = part if total is None else total + part
        assert total is not None
        return total

    def gradient(self, phi: Tensor) -> Vector:
        """Differences on all faces of a field at centres: zero at given ends and on closed faces."""
        return tuple(self._difference(phi, i) * self._placed(f"fluid {i}", m, phi) for i, m in enumerate(self.fluid))

    def project(self, faces: Vector) -> tuple[Vector, Tensor]:
        """The part without divergence of velocities that are zero on closed faces, and the potential that was taken away."""
        phi = self.potential(self.divergence(faces))
        return tuple(f - g for f, g in zip(faces, self.gradient(phi), strict=True)), phi

    def potential(self, b: Tensor) -> Tensor:
        """The phi whose gradient has the divergence b."""
        first = self._box.poisson(b)
        if not self._rows[0].numel():
            return first
        jumps = self._jumps(first)
        if self._inverse is not None:
            q = jumps @ self._placed("inverse", self._inverse, jumps)
        else:
            rtol = 8 * torch.finfo(jumps.dtype).eps
            q = cg(self._system, jumps.reshape(-1, jumps.shape[-1]), rtol=rtol, max_iter=500).reshape(jumps.shape)
        return first - self._box.poisson(self._spread(q))

    def _system(self, q: Tensor) -> Tensor:
        """I - G A^-1 G^T, with ones in place of its zeros: potentials that are constant in each region have no difference inside them."""
        z = self._placed("constants", self._constants, q)
        return q + self._jumps(self._box.poisson(self._spread(q))) + (q @ z) @ z.T

    def check_balance(self, faces: Vector, when: float) -> None:
        """Raise InputError unless what flows into each closed region flows out of it.

        Args:
            faces: Velocities whose given ends are set.
            when: Time, for the message.
        """
        if not self._sealed:
            return
        b = self.divergence(faces).detach()
        size = sum(f.detach().abs().amax() for f in faces) / min(self.grid.spacing)
        for part in self._sealed:
            excess = (b * part.to(b)).flatten(b.ndim - self.grid.ndim).sum(-1)
            # sums of rounded numbers on both sides; a profile that is off by a per mille is far above
            allowed = 1e4 * torch.finfo(b.dtype).eps * size * float(part.sum()) ** 0.5
            if bool((excess.abs() > allowed).any()):
                net = float(excess.abs().max()) * math.prod(self.grid.spacing)
                raise InputError(
                    f"flow at t = {when:g}: expected inflow and outflow that balance where no end is open, got {net:.3g} too much "
                    "through the given ends; make one end Outflow(), or scale the profile that leaves"
                )

    def _placed(self, name: str, m: Tensor, like: Tensor) -> Tensor:
        """A tensor of this object in the dtype (indices keep theirs) and on the device of a field, moved once."""
        key = (name, like.dtype, like.device)
        if key not in self._kept:
            self._kept[key] = m.to(like) if m.is_floating_point() else m.to(like.device)
        return self._kept[key]

    def _kinds(self, i: int) -> tuple[str, str]:
        low, high = self.open_ends[i]
        return ("periodic", "periodic") if self._periodic(i) else ("face" if low else "closed", "face" if high else "closed")

    def _periodic(self, i: int) -> bool:
        return self.grid.periodic[self.grid.ndim - 1 - i]

    def _cells(self, i: int) -> int:
        return self.grid.shape[self.grid.ndim - 1 - i]

    def _spacing(self, i: int) -> float:
        return self._spacings[self.grid.ndim - 1 - i]

    def _along(self, f: Tensor, i: int) -> int:
        return f.ndim - 1 - i

    def _difference(self, phi: Tensor, i: int) -> Tensor:
        axis, n = self._along(phi, i), self._cells(i)
        first, last = phi.narrow(axis, 0, 1), phi.narrow(axis, n - 1, 1)
        if self._periodic(i):
            ends = (first - last,) * 2
        else:
            low, high = self.open_ends[i]
            ends = (2 * first if low else torch.zeros_like(first), -2 * last if high else torch.zeros_like(last))
        return torch.cat([ends[0], phi.narrow(axis, 1, n - 1) - phi.narrow(axis, 0, n - 1), ends[1]], axis) / self._spacing(i)

    def _open_faces(self, i: int) -> Tensor:
        axis = self.grid.ndim - 1 - i
        wet = ~self.solid
        first, last = wet.narrow(axis, 0, 1), wet.narrow(axis, wet.shape[axis] - 1, 1)
        low, high = (last, first) if self._periodic(i) else (first, last)
        wide = torch.cat([low, wet, high], axis)
        return (wide.narrow(axis, 1, wet.shape[axis] + 1) & wide.narrow(axis, 0, wet.shape[axis] + 1)).double()

    def _closed_rows(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The faces between fluid and obstacles that the box's Laplacian has: the cells (lower, upper) of each and its weights."""
        number = torch.arange(self.solid.numel()).reshape(self.solid.shape)
        rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for i in range(self.grid.ndim):
            axis, n, h = self.grid.ndim - 1 - i, self._cells(i), self._spacing(i)
            upper = torch.roll(number, -1, axis)
            pairs = slice(0, n) if self._periodic(i) else slice(0, n - 1)
            a, b = (m.narrow(axis, 0, len(range(*pairs.indices(n)))).reshape(-1) for m in (number, upper))
            flat = self.solid.reshape(-1)
            at = flat[a] != flat[b]
            one = torch.full((int(at.sum()),), 1 / h, dtype=torch.float64)
            rows.append((a[at], b[at], -one, one))
            for open_end, place in zip(self.open_ends[i], (0, n - 1), strict=True):
                if open_end:
                    edge = number.narrow(axis, place, 1).reshape(-1)
                    edge = edge[flat[edge]]
                    weight = torch.full((edge.numel(),), math.sqrt(2) / h, dtype=torch.float64)
                    rows.append((edge, edge, weight, torch.zeros_like(weight)))
        return tuple(torch.cat([r[k] for r in rows]) for k in range(4))  # type: ignore[return-value]

    def _jumps(self, phi: Tensor) -> Tensor:
        """G phi, (..., faces)."""
        a, b, wa, wb = (self._placed(f"row {k}", r, phi) for k, r in enumerate(self._rows))
        flat = phi.flatten(phi.ndim - self.grid.ndim)
        return flat[..., a] * wa + flat[..., b] * wb

    def _spread(self, q: Tensor) -> Tensor:
        """The transpose, (..., *S)."""
        a, b, wa, wb = (self._placed(f"row {k}", r, q) for k, r in enumerate(self._rows))
        flat = q.new_zeros(*q.shape[:-1], self.solid.numel())
        flat = flat.index_add(-1, a, q * wa).index_add(-1, b, q * wb)
        return flat.reshape(*q.shape[:-1], *self.grid.shape)

    def _made_inverse(self) -> Tensor:
        one = torch.eye(self._rows[0].numel(), dtype=torch.float64)
        system = torch.cat([self._system(one[k : k + 128]) for k in range(0, len(one), 128)])
        inverse: Tensor = torch.linalg.inv((system + system.T) / 2)
        return inverse

    def _orthogonal_jumps(self) -> Tensor:
        """An orthonormal basis (faces, k) of the jumps of what is constant in each region without an open end."""
        regions = [self._jumps((self._regions == v).double()) for v in self._closed_regions()]
        if not regions or not self._rows[0].numel():
            return torch.zeros(self._rows[0].numel(), 0, dtype=torch.float64)
        u, values, _ = torch.linalg.svd(torch.stack(regions, 1), full_matrices=False)
        basis: Tensor = u[:, values > 1e-9 * values[0]]
        return basis

    def _labels(self) -> Tensor:
        """Number of the region of fluid or of obstacle that each cell belongs to, from 1."""
        label = torch.arange(1, self.solid.numel() + 1).reshape(self.solid.shape)
        while True:
            spread = label
            for i in range(self.grid.ndim):
                axis = self.grid.ndim - 1 - i
                for step in (1, -1):
                    moved, kind = torch.roll(spread, step, axis), torch.roll(self.solid, step, axis)
                    if not self._periodic(i):
                        moved.narrow(axis, 0 if step == 1 else self._cells(i) - 1, 1).zero_()
                    spread = torch.maximum(spread, torch.where(kind == self.solid, moved, 0))
            if bool((spread == label).all()):
                return label
            label = spread

    def _closed_regions(self) -> list[int]:
        """Regions no open end lets the flow out of: fluid that does not reach one, and all obstacles."""
        drained: set[int] = set()
        for i, ends in enumerate(self.open_ends):
            axis = self.grid.ndim - 1 - i
            for place, end in zip((0, self._cells(i) - 1), ends, strict=True):
                if end:
                    edge = self._regions.narrow(axis, place, 1)
                    drained |= set(edge[~self.solid.narrow(axis, place, 1)].tolist())
        return sorted(set(self._regions.reshape(-1).tolist()) - drained)


def _checked(solid: Tensor, grid: CartesianGrid) -> Tensor:
    mask = torch.as_tensor(solid).detach().cpu()
    if mask.dtype != torch.bool:
        raise InputError(f"obstacles: expected a mask of bool, True in solid cells, got {mask.dtype}; write solid > 0.5")
    if tuple(mask.shape) != tuple(grid.shape):
        raise ShapeError(f"obstacles: expected a mask of the grid's shape {tuple(grid.shape)} in storage order, got {tuple(mask.shape)}")
    if bool(mask.all()):
        raise InputError("obstacles: expected some cells of fluid, got a mask that is True everywhere; is it turned round?")
    return mask
