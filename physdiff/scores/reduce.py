r"""From a map of values to numbers: the score signature, weighted means, regions, averaged scores.

Every score has one signature, ``score(members, truth, weights=None)`` with members (m, \*batch, \*S), truth
(\*batch, \*S) and weights of the shape \*S of one field (cell areas; they need not sum to one). Weights None
gives the map (\*batch, \*S); weights give

$$\langle v \rangle = \sum_i w_i v_i \Big/ \sum_i w_i \qquad \text{over the cells with a value},$$

of shape (\*batch), a 0-d tensor without batch. A cell is missing where the truth or any member is NaN; the
map keeps NaN there. Scores of whole fields (energy score, spectra, ranks, anomaly correlation) have no map:
weights None means equal weights over all of the truth's dims, or over its last `space` dims.

A root or a ratio must be taken after the mean over cases, not before (WeatherBench 2, Rasp et al. 2024). Such
a score is an `Averaged`: its parts are scores to average over cases, and `combine` makes the number. Called
like any score it gives the single-case value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError

__all__ = [
    "Averaged",
    "Score",
    "check_case",
    "field_weights",
    "reduced",
    "region_weights",
    "shared_weights",
    "weighted_mean",
    "within",
]

Score = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Averaged:
    """A score whose parts are averaged over cases before they are combined; itself a `Score`.

    ``rmse = Averaged((squared_error,), torch.sqrt)``. Over many cases: average each part, then
    ``combine(*averages)``. Give `combine` as a named function, so that the score can be pickled.

    Args:
        parts: The scores to average.
        combine: From one tensor per part to the result, elementwise.
    """

    parts: tuple[Score, ...]
    combine: Callable[..., Tensor]

    def __call__(self, members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        """The value of a single case: members (m, *batch, *S), truth (*batch, *S), weights (*S) or None."""
        return self.combine(*(part(members, truth, weights) for part in self.parts))


def check_case(
    members: Tensor, truth: Tensor, weights: Tensor | None, *, least: int = 1, what: str = "score"
) -> tuple[Tensor, Tensor]:
    """Members and truth in one floating dtype (float32 at least), after checks.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S) or None.
        least: Smallest number of members the score is defined for.
        what: Name for messages.

    Raises:
        ShapeError: If members is not truth with one leading dim, weights are not of truth's last dims, or
            there are too few members.
        InputError: If values are not floating point or weights are negative or NaN.
    """
    if members.shape[1:] != truth.shape or members.ndim != truth.ndim + 1:
        raise ShapeError(
            f"{what}: expected members (m, *{tuple(truth.shape)}) for a truth of {tuple(truth.shape)}, "
            f"got {tuple(members.shape)}; put the members first (members[None] for one forecast)"
        )
    if members.shape[0] < least:
        raise ShapeError(f"{what}: expected at least {least} members, got {members.shape[0]}; draw more")
    if not (members.is_floating_point() and truth.is_floating_point()):
        raise InputError(f"{what}: expected floating point values, got {members.dtype} and {truth.dtype}")
    if weights is not None:
        _check_weights(weights, truth.shape, what)
    dtype = torch.promote_types(torch.promote_types(members.dtype, truth.dtype), torch.float32)
    return members.to(dtype), truth.to(dtype)


def _check_weights(weights: Tensor, shape: torch.Size, what: str) -> None:
    if weights.ndim > len(shape) or weights.shape != shape[len(shape) - weights.ndim :]:
        raise ShapeError(
            f"{what}: expected weights of the last dims of {tuple(shape)}, got {tuple(weights.shape)}; "
            "give one weight per cell of a field"
        )
    if not bool((weights >= 0).all()):
        raise InputError(f"{what}: expected weights >= 0 without NaN; use 0 where a cell must not count")


def field_weights(truth: Tensor, weights: Tensor | None, space: int | None = None) -> Tensor:
    """Weights of one field for a score without a map.

    Args:
        truth: (*batch, *S).
        weights: (*S); None gives equal weights.
        space: Number of dims of S where weights are None; None takes all of truth's dims.

    Raises:
        InputError: If `space` contradicts the weights or exceeds truth's dims.
    """
    if weights is not None:
        if space not in (None, weights.ndim):
            raise InputError(f"space: expected {weights.ndim}, the weights' dims, got {space}; leave it out")
        return weights
    count = truth.ndim if space is None else space
    if not 0 <= count <= truth.ndim:
        raise InputError(f"space: expected 0 to {truth.ndim}, got {count}")
    return truth.new_ones(truth.shape[truth.ndim - count :])


def shared_weights(members: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Weights (*batch, *S), zero where the truth or any member is missing, for all terms alike."""
    missing = truth.isnan()
    for member in members.unbind(0):
        missing = missing | member.isnan()
    return weights.to(truth).expand(truth.shape).masked_fill(missing, 0.0)


def weighted_mean(values: Tensor, weights: Tensor, *, axes: tuple[int, ...] | None = None) -> Tensor:
    """Weighted mean over the cells that are not NaN.

    Args:
        values: (..., *W).
        weights: (*W), broadcast against the last dims of values.
        axes: The axes to average over; None takes the last ``weights.ndim``.

    Returns:
        Values' dtype, without the axes; NaN where no cell with positive weight is left.
    """
    over = tuple(range(-weights.ndim, 0)) if axes is None else axes
    if not over:
        return values
    share = weights.to(values).expand(values.shape).masked_fill(values.isnan(), 0.0)
    # where nothing is weighed nothing counts: zero times an infinite value would be NaN
    return (values.masked_fill(share == 0, 0.0) * share).sum(over) / share.sum(over)


def reduced(values: Tensor, weights: Tensor | None) -> Tensor:
    """The map itself without weights, else its weighted mean; the last step of every score that has a map."""
    return values if weights is None else weighted_mean(values, weights)


def within(coordinate: Tensor, lower: float, upper: float, *, period: float | None = None) -> Tensor:
    """Where a coordinate lies in [lower, upper]; combine with ``&`` and ``|`` to a region.

    Args:
        coordinate: Any shape, in the units of the bounds.
        lower: Lower bound.
        upper: Upper bound; with a period it may be passed the seam, as in ``within(longitude, 350, 10,
            period=360)``.
        period: Period of the coordinate.

    Raises:
        InputError: If the bounds are reversed and there is no period.
    """
    if period is None:
        if lower > upper:
            raise InputError(f"within: expected lower <= upper, got {lower:g} > {upper:g}; or give period=")
        return (coordinate >= lower) & (coordinate <= upper)
    width = upper - lower
    if width >= period:
        return torch.ones_like(coordinate, dtype=torch.bool)
    return torch.remainder(coordinate - lower, period) <= width % period


def region_weights(weights: Tensor, region: Tensor) -> Tensor:
    """Weights (*S) with zero outside a boolean region (*S).

    Raises:
        ShapeError: If the shapes differ.
        InputError: If the region holds no weight.
    """
    if region.shape != weights.shape:
        raise ShapeError(f"region: expected the shape {tuple(weights.shape)}, got {tuple(region.shape)}")
    inside = weights.masked_fill(~region.bool(), 0.0)
    if not bool((inside > 0).any()):
        raise InputError("region: expected a cell with positive weight, got none; check bounds and units")
    return inside
