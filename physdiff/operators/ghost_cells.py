r"""Ghost cells: values beyond a wall, from the polynomial that meets the wall's condition.

With s the distance from the wall in spacings, the points of an open axis lie at s = 1/2, 3/2, ... and the ghosts at s = -1/2, -3/2, ... Let P
be the polynomial through the m nearest points and $W(s) = \prod_j (s - s_j)$. Then $P + C\,W$ passes through them too, and the condition
$a f + b\,\partial_n f = g$ at s = 0 gives

$$C = \frac{g - a P(0) + \tfrac{b}{h} P'(0)}{a W(0) - \tfrac{b}{h} W'(0)}.$$

So a ghost is linear in the points and in g, with weights found in exact rational arithmetic. Where nothing is imposed, C = 0. Reference:
LeVeque, Finite Difference Methods for Ordinary and Partial Differential Equations (2007), chapter 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from physdiff.base.errors import InputError

__all__ = ["extended", "extrapolated", "wall_weights"]

Weights = tuple[tuple[float, ...], float]


@lru_cache(maxsize=256)
def wall_weights(points: int, at: Fraction, a: float | None, *, b: float = 0.0) -> Weights:
    """Weights w_j and c of f(at) = sum of w_j f_j + c g, for the condition a f + b df/dn = g at the wall.

    Args:
        points: Number m of points used, at 1/2, 3/2, ... from the wall.
        at: Where f is wanted, in spacings from the wall; ghosts are at -1/2, -3/2, ..., the wall is 0.
        a: Weight of the value; None if nothing is imposed (then c = 0).
        b: Weight of the outward normal derivative, per spacing.

    Raises:
        InputError: If the condition does not determine the polynomial.
    """
    places = [Fraction(2 * j + 1, 2) for j in range(points)]
    nodal = _product(places)
    rows = [_lagrange(places, j) for j in range(points)]
    if a is None:
        return tuple(float(_value(row, at)) for row in rows), 0.0
    fa, fb = Fraction(a), Fraction(b)
    pivot = fa * nodal[0] - fb * nodal[1]
    if abs(pivot) <= Fraction(1, 1000) * (abs(fa * nodal[0]) + abs(fb * nodal[1])):
        raise InputError(
            f"Robin: a = {a:g} with b / spacing = {b:g} leaves the field beyond the wall undetermined; give a and b one sign, or change the spacing"
        )
    beyond = _value(nodal, at) / pivot
    weights = tuple(float(_value(row, at) + beyond * (-fa * row[0] + fb * _slope(row))) for row in rows)
    return weights, float(beyond)


def extended(f: Tensor, axis: int, ghosts: Sequence[Sequence[Weights]], *, values: Sequence[Tensor | float]) -> Tensor:
    """F with ghost cells beyond both ends of an axis.

    Args:
        f: Field.
        axis: Number of the axis in f.
        ghosts: Weights of the ghosts at the lower and at the upper end, the nearest first, each from `wall_weights`.
        values: g at the lower and at the upper end: numbers, or tensors that broadcast with f where the axis has size 1.
    """
    lower = [extrapolated(f, axis, 0, weights=w, value=values[0]) for w in ghosts[0]]
    upper = [extrapolated(f, axis, 1, weights=w, value=values[1]) for w in ghosts[1]]
    return torch.cat([*reversed(lower), f, *upper], dim=axis)


def extrapolated(f: Tensor, axis: int, side: int, *, weights: Weights, value: Tensor | float) -> Tensor:
    """The value at one place near one end (0 lower, 1 upper) of an axis, which then has size 1."""
    of_points, of_value = weights
    n = f.shape[axis]
    total = torch.zeros_like(f.narrow(axis, 0, 1))
    for j, weight in enumerate(of_points):
        if weight != 0:
            total = total + f.narrow(axis, n - 1 - j if side else j, 1) * weight
    if of_value == 0 or (isinstance(value, float) and value == 0):
        return total
    return total + of_value * value


def _product(places: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (s - place), the constant first."""
    out = [Fraction(1)]
    for place in places:
        out = [s - place * c for s, c in zip([Fraction(0), *out], [*out, Fraction(0)], strict=True)]
    return out


def _lagrange(places: Sequence[Fraction], j: int) -> list[Fraction]:
    others = [p for i, p in enumerate(places) if i != j]
    scale = Fraction(1)
    for other in others:
        scale *= places[j] - other
    return [c / scale for c in _product(others)]


def _value(polynomial: Sequence[Fraction], at: Fraction) -> Fraction:
    total = Fraction(0)
    for c in reversed(polynomial):
        total = total * at + c
    return total


def _slope(polynomial: Sequence[Fraction]) -> Fraction:
    return polynomial[1] if len(polynomial) > 1 else Fraction(0)
