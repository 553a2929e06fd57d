r"""What Runge-Kutta methods share, explicit or diagonally implicit: the checks of their coefficients, $R(z)$, and sums over stages.

$$k_i = f\Big(u + \Delta t\sum_{j \le i} a_{ij} k_j\Big), \quad u^+ = u + \Delta t\sum_i b_i k_i, \qquad
R(z) = 1 + \sum_i b_i\kappa_i, \quad \kappa_i = z\,\frac{1 + \sum_{j<i} a_{ij}\kappa_j}{1 - a_{ii} z}.$$
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields

__all__ = ["Rows", "check_stages", "moved", "stability"]

Rows = tuple[tuple[float, ...], ...]


def check_stages(what: str, a: Rows, b: tuple[float, ...], *, implicit: bool) -> None:
    """Check that row i has i weights, or i + 1 with a diagonal of at least zero, that b has one for each row, and that b sums to one.

    Raises:
        InputError: If not.
    """
    wanted = "i + 1 entries, the last at least zero," if implicit else "i entries"
    if len(a) != len(b) or any(len(row) != i + implicit or (implicit and row[-1] < 0) for i, row in enumerate(a)):
        raise InputError(f"{what}: expected row i of `a` with {wanted} and as many rows as `b`, got a = {a!r}")
    if abs(sum(b) - 1) > 1e-12:
        raise InputError(f"{what}: expected weights b that sum to 1, got {b!r}")


def stability(a: Rows, b: tuple[float, ...], z: Tensor) -> Tensor:
    """R(z), the factor by which one step multiplies u' = lambda u with z = lambda dt; complex128 of z's shape."""
    z = z.to(torch.complex128)
    stages: list[Tensor] = []
    for i, row in enumerate(a):
        known = 1 + sum((w * k for w, k in zip(row, stages, strict=False)), torch.zeros_like(z))
        stages.append(z * known / (1 - row[i] * z) if len(row) > i else z * known)
    return 1 + sum((w * k for w, k in zip(b, stages, strict=True)), torch.zeros_like(z))


def moved(u: Fields, dt: float, weights: tuple[float, ...], *, slopes: Sequence[Fields]) -> Fields:
    """The fields plus dt times the weighted slopes; a weight beyond the last slope (an implicit stage's own) is left out."""
    out = dict(u)
    for w, slope in zip(weights, slopes, strict=False):
        if w != 0:
            out = {name: out[name] + (w * dt) * slope[name] for name in slope}
    return out
