r"""Poisson's and Helmholtz' equations on uniform grids with walls, solved at once by transforms.

The operator is the (2 d + 1)-point Laplacian, with the field periodic, mirrored (`"cosine"`, no slope) or turned round (`"sine"`, no value) at
the faces where each axis ends. Its eigenvalues are the discrete ones, so that it is exactly the divergence, at centres, of the difference,
on faces. Reference: Schumann and Sweet, Fast Fourier transforms for direct solution of Poisson's equation with staggered boundary
conditions (1988).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.operators.cosine_transform import (
    cosine_transform,
    inverse_cosine_transform,
    inverse_sine_transform,
    second_difference_symbol,
    sine_transform,
)
from physdiff.operators.stencils import check_field

__all__ = ["WallPoisson"]

_Transform = Callable[[Tensor, int], Tensor]
_PAIRS: dict[str, tuple[_Transform, _Transform]] = {
    "cosine": (cosine_transform, inverse_cosine_transform),
    "sine": (sine_transform, inverse_sine_transform),
}


class WallPoisson:
    """Solves with the second-order Laplacian of a grid.

    Args:
        grid: A CartesianGrid with uniform axes.
        kinds: "cosine" (no slope at the walls) or "sine" (no value there) for each open axis, by name; "cosine" where nothing is said.

    Raises:
        UnsupportedOperator: If an axis is not uniform.
        InputError: If a name is no open axis, or a kind is none of these.
    """

    def __init__(self, grid: Grid, kinds: dict[str, str] | None = None) -> None:
        if not isinstance(grid, CartesianGrid) or not grid.uniform:
            raise UnsupportedOperator("inv_lap", "WallPoisson", f"it needs uniform axes, got {grid.summary()}; regrid")
        opened = [name for name, closed in zip(grid.dims, grid.periodic, strict=True) if not closed]
        for name, kind in (kinds or {}).items():
            if name not in opened or kind not in _PAIRS:
                raise InputError(
                    f"WallPoisson: expected cosine or sine for open axes ({', '.join(opened) or 'there are none'}), got {name!r}: {kind!r}"
                )
        self.grid = grid
        self._walls = [(a, (kinds or {}).get(grid.dims[a], "cosine")) for a in range(grid.ndim) if not grid.periodic[a]]
        self._closed = [a for a in range(grid.ndim) if grid.periodic[a]]
        self._symbol = self._made()

    def solve(self, f: Tensor) -> Tensor:
        """The g (..., *S) with lap g = f; where constants are solutions too, lap g = f - mean(f) with g of zero mean."""
        return self._divided(f, torch.where(self._symbol == 0, 0.0, 1.0 / torch.where(self._symbol == 0, 1.0, self._symbol)))

    def solve_helmholtz(self, f: Tensor, a: float) -> Tensor:
        """The g (..., *S) with g - a lap g = f.

        Args:
            f: Right-hand side.
            a: At least zero, length squared (a viscosity times a step).
        """
        if not a >= 0:
            raise InputError(f"solve_helmholtz: expected a of at least zero, got {a!r}; below, the equation may have no solution")
        return self._divided(f, 1 / (1 - a * self._symbol))

    def _divided(self, f: Tensor, factor: Tensor) -> Tensor:
        check_field(f, self.grid, "WallPoisson")
        axes = [f.ndim - self.grid.ndim + a for a in range(self.grid.ndim)]
        for a, kind in self._walls:
            f = _PAIRS[kind][0](f, axes[a])
        around = [axes[a] for a in self._closed]
        if around:
            waves = torch.fft.rfftn(f, dim=around) * factor.to(f)
            f = torch.fft.irfftn(waves, s=[self.grid.shape[a] for a in self._closed], dim=around)
        else:
            f = f * factor.to(f)
        for a, kind in self._walls:
            f = _PAIRS[kind][1](f, axes[a])
        return f

    def _made(self) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        kinds = dict(self._walls)
        for a, (n, h) in enumerate(zip(self.grid.shape, self.grid.spacing, strict=True)):
            line = second_difference_symbol(n, h, kinds.get(a, "periodic"))
            if a in self._closed and a != self._closed[-1]:  # only the last transformed axis is a half-spectrum
                m = torch.arange(n, device="cpu")
                line = line[torch.minimum(m, n - m)]
            total = total + line.reshape([-1 if b == a else 1 for b in range(self.grid.ndim)])
        return total
