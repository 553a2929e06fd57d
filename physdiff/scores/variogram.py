r"""Do neighbouring values differ by as much as they should: variogram score and structure functions.

Over pairs of cells a distance h apart along one axis, $\langle\cdot\rangle$ the mean over all such pairs of a field,

$$\mathrm{VS}_p = \sum_h w_h \Big\langle\big(|y_i-y_{i+h}|^p - \tfrac1m\sum_k |x_{k,i}-x_{k,i+h}|^p\big)^2\Big\rangle, \qquad
  S_p(h) = \langle |x_i-x_{i+h}|^p \rangle .$$

The score sees wrong correlations, which scores of single cells do not. References: Scheuerer and Hamill (2015), "Variogram-based proper scoring
rules", weights 1/h here; Frisch (1995), structure functions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.scores.reduce import check_case, field_weights, shared_weights

__all__ = ["structure_function", "variogram_score"]


def variogram_score(
    members: Tensor, truth: Tensor, weights: Tensor | None = None, *, order: float = 0.5, reach: int = 4, space: int | None = None
) -> Tensor:
    """Variogram score over pairs of up to `reach` cells apart along each axis, in units to the power 2 p; a score of whole fields.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S); a pair weighs the product of its two; None means equal weights.
        order: p; 0.5 is robust, 2 is the classical variogram.
        reach: Largest distance in cells.
        space: Number of dims of S where weights are None (default: all).

    Returns:
        (*batch); pairs with a missing cell are left out.

    Raises:
        ShapeError: If shapes do not fit.
        InputError: If order or reach are not positive.
    """
    members, truth = check_case(members, truth, weights, what="variogram_score")
    if not order > 0 or reach < 1:
        raise InputError(f"variogram_score: expected a positive order and a reach of at least one cell, got {order!r} and {reach!r}")
    area = field_weights(truth, weights, space)
    share = shared_weights(members, truth, area)
    dims = tuple(range(-area.ndim, 0))
    total = truth.new_zeros(truth.shape[: truth.ndim - area.ndim])
    for axis in dims:
        for h in range(1, min(reach, truth.shape[axis] - 1) + 1):
            weight = _pair_weights(share, axis, h)
            seen = _difference(truth, axis, h).abs() ** order
            expected = torch.stack([_difference(x, axis, h).abs() ** order for x in members.unbind(0)]).mean(0)
            gap = (seen - expected).square().masked_fill(weight == 0, 0.0)
            total = total + (weight * gap).sum(dims) / weight.sum(dims) / h
    return total


def structure_function(field: Tensor, *, order: float = 2.0, axis: int = -1, reach: int | None = None, periodic: bool = False) -> Tensor:
    """Mean power of increments along one axis for distances of 1 to `reach` cells; for pictures and spectra-like comparisons.

    Args:
        field: (..., n, ...).
        order: p.
        axis: The axis of the distance.
        reach: Largest distance, None takes half the axis.
        periodic: Whether the axis closes on itself.

    Returns:
        (reach,), in units to the power p, over all other dims and pairs; missing cells are left out.

    Raises:
        InputError: If the axis is too short for the reach or the order is not positive.
    """
    n = field.shape[axis]
    limit = n - 1
    wanted = n // 2 if reach is None else reach
    if not order > 0 or not 1 <= wanted <= limit:
        raise InputError(f"structure_function: expected a positive order and a reach of 1 to {limit} cells, got {order!r} and {wanted}")

    def increments() -> Iterator[Tensor]:
        for h in range(1, wanted + 1):
            d = field.roll(-h, axis) - field if periodic else _difference(field, axis, h)
            yield (d.abs() ** order).nanmean()

    return torch.stack(list(increments()))


def _difference(x: Tensor, axis: int, h: int) -> Tensor:
    n = x.shape[axis]
    return x.narrow(axis, h, n - h) - x.narrow(axis, 0, n - h)


def _pair_weights(share: Tensor, axis: int, h: int) -> Tensor:
    n = share.shape[axis]
    return share.narrow(axis, h, n - h) * share.narrow(axis, 0, n - h)
