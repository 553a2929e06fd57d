r"""Viscosity taken implicitly on staggered cells: $(1 - a\Delta_h)\,\delta = r$ for each component of the velocity.

Without obstacles by eigenvectors per axis (`FastDiagonal`): the change is zero on faces whose velocity is given, half a cell beyond a wall it is
turned round, beyond an end that holds no value it goes on. Obstacles take faces out and add what their surfaces hold; the same solve is then the
preconditioner of conjugate gradients, whose derivative is that of the root.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.linalg import cg
from physdiff.grids.boundary import Dirichlet, Outflow
from physdiff.operators.fast_diagonal import FastDiagonal, Line
from physdiff.solvers.face_ends import FaceEnds
from physdiff.solvers.implicit_derivative import attach_derivative

__all__ = ["FaceViscosity"]


class FaceViscosity:
    """Solves for the change of one component that its viscosity spreads.

    Args:
        ends: What holds at the ends.
        component: 0, 1, 2 for x, y, z.
        name: Of the component.
        fluid: 1.0 on faces between cells of fluid, of the component's shape.
        beside: What obstacles beside a face add to its own weight, per length squared; None without obstacles.
    """

    def __init__(self, ends: FaceEnds, component: int, name: str, *, fluid: Tensor, beside: Tensor | None) -> None:
        self._grid, self._component, self._fluid, self._beside = ends.grid, component, fluid, beside
        self._axis = -1 - component
        self._closed = ends.pair(name, component) is None
        self._free = (False, False) if self._closed else ends.open_ends[component]
        lines = []
        for direction in reversed(range(ends.grid.ndim)):
            axis = ends.grid.ndim - 1 - direction
            n, h, pair = ends.grid.shape[axis], ends.grid.spacing[axis], ends.pair(name, direction)
            if pair is None:
                lines.append(Line(n, h, ("periodic", "periodic")))
            elif direction == component:
                kinds = tuple("closed" if isinstance(end, Outflow) else "node" for end in pair)
                lines.append(Line(n - 1 + sum(self._free), h, (kinds[0], kinds[1])))
            else:
                kinds = tuple("face" if isinstance(end, Dirichlet) else "closed" for end in pair)
                lines.append(Line(n, h, (kinds[0], kinds[1])))
        self._solver = FastDiagonal(lines)

    def solve(self, r: Tensor, a: float | Tensor) -> Tensor:
        """The change on all faces, zero where the velocity is given and on closed faces.

        Args:
            r: Right-hand side on all faces.
            a: Viscosity times a part of the step, a number or (B, 1, ...).
        """
        inner = self._cut(r)
        found = self._solver.helmholtz(inner, a) if self._beside is None else self._around(inner, a)
        return self._padded(found)

    def _around(self, r: Tensor, a: float | Tensor) -> Tensor:
        assert self._beside is not None
        fluid, beside = self._cut(self._fluid).to(r), self._cut(self._beside).to(r)
        b = r * fluid

        def system(f: Tensor) -> Tensor:
            return f - a * fluid * (self._solver.laplacian(f * fluid) - beside * f)

        def solved(g: Tensor) -> Tensor:
            rtol = 1e-2 * torch.finfo(g.dtype).eps ** 0.75
            return cg(system, g, rtol=rtol, max_iter=500, precondition=lambda f: fluid * self._solver.helmholtz(f * fluid, a) + (1 - fluid) * f)

        with torch.no_grad():
            root = solved(b)
        return attach_derivative(root, lambda f: system(f) - b, solved)

    def _cut(self, f: Tensor) -> Tensor:
        """The faces that are solved for."""
        n = f.shape[self._axis]
        low = 1 if self._closed or not self._free[0] else 0
        high = 0 if self._closed or self._free[1] else 1
        return f.narrow(self._axis, low, n - low - high)

    def _padded(self, f: Tensor) -> Tensor:
        axis = self._axis
        nothing = torch.zeros_like(f.narrow(axis, 0, 1))
        if self._closed:
            return torch.cat([f.narrow(axis, f.shape[axis] - 1, 1), f], axis)
        parts = [] if self._free[0] else [nothing]
        return torch.cat([*parts, f, *([] if self._free[1] else [nothing])], axis)
