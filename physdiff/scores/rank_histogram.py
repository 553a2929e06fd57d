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

from physdiff.scores.reduce import check_case, field_weights, reduced

__all__ = ["rank_bounds", "rank_histogram", "ranks"]

_BLOCK = 2**20  # member values compared at a time


def rank_bounds(members: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest rank of the truth, equal without ties.

    Args:
        members: (m, *batch, *S), floating.
        truth: (*batch, *S), floating.

    Returns:
        Two tensors (*batch, *S) of truth's dtype, NaN where the truth or any member is missing.
    """
    count = members.shape[0]
    flat, target = members.detach().reshape(count, -1), truth.detach().reshape(-1)
    low, high = torch.empty_like(target), torch.empty_like(target)
    width = max(1, _BLOCK // count)
    for a in range(0, len(target), width):
        x, y = flat[:, a : a + width], target[a : a + width]
        below, up_to, not_below = (_count(compare(x, y)) for compare in (torch.lt, torch.le, torch.ge))
        # whatever is missing is neither below nor not below
        missing = below + not_below < count
        low[a : a + width] = below.masked_fill_(missing, float("nan"))
        high[a : a + width] = up_to.masked_fill_(missing, float("nan"))
    return low.reshape(truth.shape), high.reshape(truth.shape)


def _count(found: Tensor) -> Tensor:
    # bytes add up fastest, where they cannot overflow
    return found.sum(0, dtype=torch.uint8 if len(found) < 256 else torch.int32).float()


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
    bins, first = members.shape[0] + 1, truth.ndim - weights.ndim
    low, high = (v.flatten(first) if weights.ndim else v[..., None] for v in (low, high))
    known = low.isfinite()
    share = weights.to(truth).reshape(-1).expand(low.shape).masked_fill(~known, 0.0).double()
    ties = torch.where(known, high - low, 0.0).long()
    lowest = torch.where(known, low, 0.0).long()
    total = share.new_zeros(*low.shape[:-1], bins)
    each = share / (ties + 1)
    for k in range(int(ties.max()) + 1 if ties.numel() else 0):
        # hardly any cell is left after the first turn, but all may be
        total.scatter_add_(-1, (lowest + k).clamp_(max=bins - 1), each.masked_fill(ties < k, 0.0))
    return (total / share.sum(-1, keepdim=True)).to(truth.dtype)
