r"""Diffusivities that are a number, differ by direction or are a tensor; constant or varying in space and time.

$$\nabla\cdot(K\nabla c) = \sum_{ij}\partial_i\big(K_{ij}\,\partial_j c\big)$$

with K one coefficient, a tuple of them (the diagonal, order x, y, z) or a symmetric matrix as a tuple of rows. What is constant can be given to
an exponential integrator (`constant_spread`), the rest cannot (`varying_spread`); both together are the whole term.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import Coefficient, check_parameter, value_of

__all__ = ["Diffusivity", "check_diffusivity", "constant_spread", "gradient_flux", "is_function", "varying_spread"]

Diffusivity = Coefficient | tuple[Coefficient, ...] | tuple[tuple[Coefficient, ...], ...]
"""One coefficient for all directions, one for each (x, y, z), or the rows of a symmetric matrix; length squared per time."""


def is_function(value: object) -> bool:
    """Whether a coefficient is a function of the coordinates and the time."""
    return callable(value) and not isinstance(value, Tensor)


def check_diffusivity(value: object, directions: int, what: str) -> None:
    """Check a diffusivity: its numbers finite, its size that of the velocity, a matrix symmetric and not negative.

    Values of functions are not checked: a negative one makes the law ill-posed, and solvers diverge.

    Raises:
        InputError: If a number is negative or not finite, or a matrix is not symmetric or has a negative eigenvalue.
        ShapeError: If the size is not the number of directions.
    """
    if not isinstance(value, tuple):
        check_parameter(value, what, sign=-1)
        return
    if len(value) != directions:
        raise ShapeError(f"{what}: expected {directions} entries, one for each direction of the velocity, got {len(value)}")
    if not any(isinstance(row, tuple) for row in value):
        for name, entry in zip("xyz", value, strict=False):
            check_parameter(entry, f"{what} along {name}", sign=-1)
        return
    if not all(isinstance(row, tuple) and len(row) == directions for row in value):
        raise ShapeError(f"{what}: expected {directions} rows of {directions} entries, got {value!r}")
    for i, row in enumerate(value):
        for j, entry in enumerate(row):
            check_parameter(entry, f"{what} {'xyz'[i]}{'xyz'[j]}", sign=-1 if i == j else 0)
            if not _equal(entry, value[j][i]):
                raise InputError(f"{what}: expected a symmetric matrix, got {entry!r} at {'xyz'[i]}{'xyz'[j]} and {value[j][i]!r} across")
    if any(is_function(entry) for row in value for entry in row):
        return
    entries = [torch.as_tensor(entry, dtype=torch.float64).detach().cpu() for row in value for entry in row]
    whole = sum(entries[1:], entries[0])  # of the shape all entries broadcast to
    matrix = torch.stack([entry.expand_as(whole) for entry in entries], -1).reshape(*whole.shape, directions, directions)
    smallest = torch.linalg.eigvalsh(matrix).min()
    if float(smallest) < -1e-12 * float(matrix.abs().max()):
        raise InputError(f"{what}: expected a matrix without negative eigenvalues, got one of {float(smallest):g}; diffusion would run backwards")


def constant_spread(diffusivity: Diffusivity, c: Tensor, D: Operators) -> Tensor:
    """The part of div(K grad c) whose coefficients are constant: linear and diagonal in Fourier space."""
    if not isinstance(diffusivity, tuple):
        if is_function(diffusivity):
            return torch.zeros_like(c)
        return diffusivity * D.lap(c)  # type: ignore[operator]
    rows = _rows(diffusivity)
    if rows is None:
        total = torch.zeros_like(c)
        for i, k in enumerate(diffusivity):
            if not is_function(k):
                total = total + k * D.partial(c, i, 2)  # type: ignore[operator]
        return total
    if _varies(rows):
        return torch.zeros_like(c)
    straight = [rows[i][i] * D.partial(c, i, 2) for i in range(len(rows))]  # type: ignore[operator]
    mixed = [2 * rows[i][j] * D.partial(D.partial(c, i), j) for i in range(len(rows)) for j in range(i) if not _nothing(rows[i][j])]  # type: ignore[operator]
    return sum(mixed, sum(straight[1:], straight[0]))


def varying_spread(diffusivity: Diffusivity, c: Tensor, D: Operators, *, t: float | Tensor) -> Tensor | None:
    """The rest of div(K grad c); None if there is none. A matrix with one entry that varies is here as a whole."""
    rows = _rows(diffusivity)
    if rows is None:
        entries = diffusivity if isinstance(diffusivity, tuple) else (diffusivity,) * D.ndim
        if not any(is_function(k) for k in entries):
            return None
        slopes = D.grad(c)
        flux = [value_of(k, D, t, like=c) * s if is_function(k) else torch.zeros_like(c) for k, s in zip(entries, slopes, strict=True)]  # type: ignore[arg-type]
        return D.div(tuple(flux))
    return D.div(gradient_flux(diffusivity, D.grad(c), D, t=t)) if _varies(rows) else None


def gradient_flux(diffusivity: Diffusivity, slopes: Vector, D: Operators, *, t: float | Tensor) -> Vector:
    """K grad c, components x, y, z, from the slopes of c: the whole of it."""
    like = slopes[0]
    rows = _rows(diffusivity)
    if rows is None:
        entries = diffusivity if isinstance(diffusivity, tuple) else (diffusivity,) * len(slopes)
        return tuple(value_of(k, D, t, like=like) * s for k, s in zip(entries, slopes, strict=True))  # type: ignore[arg-type]
    return tuple(sum((value_of(k, D, t, like=like) * s for k, s in zip(row, slopes, strict=True)), torch.zeros_like(like)) for row in rows)


def _rows(diffusivity: Diffusivity) -> tuple[tuple[Coefficient, ...], ...] | None:
    if isinstance(diffusivity, tuple) and isinstance(diffusivity[0], tuple):
        return diffusivity
    return None


def _varies(rows: tuple[tuple[Coefficient, ...], ...]) -> bool:
    return any(is_function(k) for row in rows for k in row)


def _nothing(k: object) -> bool:
    return isinstance(k, int | float) and k == 0


def _equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool((a == b).all())
    return a is b or (isinstance(a, int | float) and isinstance(b, int | float) and a == b)
