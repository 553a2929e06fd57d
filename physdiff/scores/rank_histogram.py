r"""Rank of the truth among the members, and the histogram of ranks.

The rank is the number of members below the truth, 0 to m. For exchangeable members and truth each of the m+1
ranks has probability 1/(m+1); of n independent cases a bin's frequency has a relative standard error
$\sqrt{m/n}$ (cells of one field are not independent). A truth equal to k members is split evenly over the k+1
ranks it could take: the expectation of ties broken at random, without the dice. References: Hamill (2001);
Talagrand et al. (1997).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.scores.reduce import check_case, field_weights, reduced, weighted_mean

__all__ = ["rank_bounds", "rank_histogram", "ranks"]


def rank_bounds(members: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest rank of the truth, equal without ties.

    Args:
        members: (m, *batch, *S), floating.
        truth: (*batch, *S), floating.

    Returns:
        Two tensors (*batch, *S) of truth's dtype, NaN where the truth or any member is missing.
    """
    low, ties, missing = torch.zeros_like(truth), torch.zeros_like(truth), truth.isnan()
    # member by member: a sum over booleans of all members would first turn them into int64
    for member in members.unbind(0):
        low += member < truth
        ties += member == truth
        missing |= member.isnan()
    low = low.masked_fill(missing, float("nan"))
    return low, low + ties


def ranks(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Rank of the truth, 0 to m, the middle of its possible ranks at a tie; a perfect ensemble expects m/2.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.

    Raises:
        ShapeError: If shapes do not fit.
    """
    members, truth = check_case(members, truth, weights, what="ranks")
    low, high = rank_bounds(members, truth)
    return reduced((low + high) / 2, weights)


def rank_histogram(
    members: Tensor, truth: Tensor, weights: Tensor | None = None, *, space: int | None = None
) -> Tensor:
    """Share of cells at each rank, a score of whole fields; a perfect ensemble expects 1/(m+1) in every bin.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S); None means equal weights.
        space: Number of dims of S where weights are None (default: all).

    Returns:
        (*batch, m+1), sums to one; average it over cases as it is.

    Raises:
        ShapeError: If shapes do not fit.
    """
    members, truth = check_case(members, truth, weights, what="rank_histogram")
    weights = field_weights(truth, weights, space)
    low, high = rank_bounds(members, truth)
    split = (high - low + 1).reciprocal()
    # one bin at a time: a one-hot array would be as large as the ensemble
    bins = [
        weighted_mean(split.where(((low <= b) & (b <= high)) | low.isnan(), torch.zeros_like(split)), weights)
        for b in range(members.shape[0] + 1)
    ]
    return torch.stack(bins, dim=-1)
