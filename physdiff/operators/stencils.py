r"""Finite differences along one axis: weights of any order, periodic or one-sided at the ends.

The weights are those of the derivative of the polynomial through the points (Lagrange), found in exact
rational arithmetic. A derivative of order d with accuracy p takes 2 floor((d + 1)/2) - 1 + p points in the
middle of an axis and d + p points at an open end, so that both carry an error of order $h^p$. Reference:
Fornberg, Generation of finite difference formulas on arbitrarily spaced grids (1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import factorial

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.grid import Grid

__all__ = ["Stencil", "TimeDifference", "check_field", "lagrange_weights", "wrap"]


def lagrange_weights(points: Sequence[int], derivative: int) -> tuple[float, ...]:
    """Weights w with f^(derivative)(0) = sum of w_j f(points_j), exact for polynomials of degree below the number of points."""
    weights = []
    for j, here in enumerate(points):
        polynomial = [Fraction(1)]
        for m, other in enumerate(points):
            if m != j:
                scale = Fraction(1, here - other)
                shifted = [Fraction(0), *polynomial]
                polynomial = [scale * (s - other * c) for s, c in zip(shifted, [*polynomial, Fraction(0)], strict=True)]
        weights.append(float(polynomial[derivative] * factorial(derivative)))
    return tuple(weights)


class Stencil:
    """The derivative of one order along one axis of unit spacing.

    Args:
        derivative: Order of the derivative.
        accuracy: Even order p of the error $h^p$.
    """

    def __init__(self, derivative: int, accuracy: int) -> None:
        self.derivative, self.accuracy = derivative, accuracy
        self.reach = (derivative - 1) // 2 + accuracy // 2
        self.centre = lagrange_weights(range(-self.reach, self.reach + 1), derivative)
        self.width = derivative + accuracy
        rows = [lagrange_weights(range(-i, self.width - i), derivative) for i in range(self.reach)]
        self._start = torch.tensor(rows, dtype=torch.float64, device="cpu")

    @property
    def smallest(self) -> int:
        """Points an axis must have at least."""
        return max(self.width, 2 * self.reach + 1)

    def inner(self, f: Tensor, axis: int) -> Tensor:
        """The derivative where the whole centred stencil fits: `reach` points fewer at both ends.

        An axis that is periodic, or has ghost points beyond its ends, is extended by `reach` points on both
        sides before.
        """
        n = f.shape[axis] - 2 * self.reach
        total: Tensor | None = None
        for offset, weight in enumerate(self.centre):
            if weight != 0:
                term = f.narrow(axis, offset, n) * weight
                total = term if total is None else total + term
        assert total is not None  # a derivative has at least two weights
        return total

    def periodic(self, f: Tensor, axis: int) -> Tensor:
        """The derivative on an axis that closes on itself."""
        return self.inner(wrap(f, axis, self.reach), axis)

    def open(self, f: Tensor, axis: int) -> Tensor:
        """The derivative on an axis with ends, one-sided there."""
        start = self._start.to(f)
        sign = -1.0 if self.derivative % 2 else 1.0
        first = _apply(start, f.narrow(axis, 0, self.width), axis)
        last = _apply(sign * start.flip(0, 1), f.narrow(axis, f.shape[axis] - self.width, self.width), axis)
        return torch.cat([first, self.inner(f, axis), last], dim=axis)


def wrap(f: Tensor, axis: int, reach: int) -> Tensor:
    """Extend f by `reach` periodic copies beyond both ends of an axis."""
    n = f.shape[axis]
    return torch.cat([f.narrow(axis, n - reach, reach), f, f.narrow(axis, 0, reach)], dim=axis)


def _apply(matrix: Tensor, f: Tensor, axis: int) -> Tensor:
    return torch.movedim(torch.movedim(f, axis, -1) @ matrix.mT, -1, axis)


class TimeDifference:
    """Time derivative of frames: fourth order from five frames on, second order below, one-sided at both ends.

    Args:
        dt: Time between frames; None if the fields have no time axis.
        backend: Name of the operators, for messages.
    """

    def __init__(self, dt: float | None, backend: str) -> None:
        if dt is not None and not dt > 0:
            raise InputError(f"{backend}: expected dt > 0 (time between frames), got {dt!r}")
        self.dt, self.backend = dt, backend
        self._second, self._fourth = Stencil(1, 2), Stencil(1, 4)

    def __call__(self, f: Tensor, grid: Grid) -> Tensor:
        """Derivative of (..., T, *S) along T.

        Raises:
            UnsupportedOperator: If the operators were built without dt.
            ShapeError: If there are fewer than three frames.
        """
        if self.dt is None:
            raise UnsupportedOperator("dt", self.backend, f"build it with the time between frames, {self.backend}(grid, dt=...)")
        check_field(f, grid, f"{self.backend}.dt")
        axis = f.ndim - grid.ndim - 1
        frames = f.shape[axis] if axis >= 0 else 0
        if frames < self._second.smallest:
            raise ShapeError(
                f"{self.backend}.dt: expected (..., time, {_sizes(grid)}) with at least {self._second.smallest} frames, "
                f"got {tuple(f.shape)}; give longer windows"
            )
        stencil = self._fourth if frames >= self._fourth.smallest else self._second
        return stencil.open(f, axis) / self.dt


def check_field(f: Tensor, grid: Grid, what: str) -> Tensor:
    """Return `f` if its last axes are those of the grid, else raise ShapeError."""
    if f.ndim < grid.ndim or tuple(f.shape[-grid.ndim :]) != grid.shape:
        raise ShapeError(f"{what}: expected a field (..., {_sizes(grid)}), got {tuple(f.shape)}; use the grid of the data")
    return f


def _sizes(grid: Grid) -> str:
    return ", ".join(str(n) for n in grid.shape)
