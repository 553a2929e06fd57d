r"""Transport on staggered cells: what flows through the faces of a field's own cells.

A value f on cells is carried by velocities w on their faces, $\partial_t f = -\sum_j \delta_j(w_j \hat f_j)$, with $\hat f$ the mean of both sides
(Harlow and Welch, 1965: what is carried keeps its square sum where w has no divergence) or the value upwind with van Leer's slope (no new extrema).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.solvers.reconstruction import van_leer

__all__ = ["along", "carried", "second_difference"]


def along(f: Tensor, axis: int, cut: tuple[int, int]) -> Tensor:
    """Entries along an axis from cut[0] on, cut[1] of them fewer in all."""
    return f.narrow(axis, cut[0], f.shape[axis] - cut[1])


def carried(wide: Tensor, w: Tensor, axis: int, *, limited: bool, has_ends: bool, passed: Tensor | None = None) -> Tensor:
    """Flux through the faces along an axis, (..., n + 1).

    Args:
        wide: The field with two values beyond both ends, n + 4 along the axis.
        w: Velocity across the n + 1 faces.
        axis: The axis, counted from the end.
        limited: Whether to take the upwind value with a limited slope in place of the mean.
        has_ends: Whether the axis is open: what comes in through an end has the value there, the mean of the outermost value and its mirror image.
        passed: 1.0 where differences count and 0.0 across closed faces, (n + 3) along the axis; all count if None.
    """
    lower, upper = along(wide, axis, (1, 3)), along(wide, axis, (2, 3))
    if not limited:
        return w * (lower + upper) / 2
    step = along(wide, axis, (1, 1)) - along(wide, axis, (0, 1))
    if passed is not None:
        step = step * passed
    slopes = van_leer(along(step, axis, (0, 1)), along(step, axis, (1, 1)))
    from_below, from_above = lower + 0.5 * along(slopes, axis, (0, 1)), upper - 0.5 * along(slopes, axis, (1, 1))
    if has_ends:
        n = w.shape[axis]
        first, last = ((lower.narrow(axis, k, 1) + upper.narrow(axis, k, 1)) / 2 for k in (0, n - 1))
        from_below = torch.cat([first, from_below.narrow(axis, 1, n - 1)], axis)
        from_above = torch.cat([from_above.narrow(axis, 0, n - 1), last], axis)
    return w * torch.where(w > 0, from_below, from_above)


def second_difference(wide: Tensor, axis: int) -> Tensor:
    """Of a field with two values beyond both ends, not divided by the spacing's square."""
    return along(wide, axis, (1, 4)) - 2 * along(wide, axis, (2, 4)) + along(wide, axis, (3, 4))
